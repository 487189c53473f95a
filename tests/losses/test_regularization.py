from collections.abc import Callable

import pytest
import torch
from monai.losses.deform import BendingEnergyLoss

from hmopt.declaration import LossOptions
from hmopt.losses import bending_energy, regularize, squared_gradient
from hmopt.spatial import identity_grid

SLOPES = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.5], [-1.0, 0.5, 2.0]], dtype=torch.float64)


def linear(d: int) -> torch.Tensor:
    """Return v_c(x) = Σ_a SLOPES[c, a] x_a + c."""
    grid = identity_grid((6, 5, 4)[:d]).double()
    return torch.einsum("ca,ba...->bc...", SLOPES[:d, :d], grid) + torch.arange(d).reshape(
        1, d, *[1] * d
    )


def quadratic(d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return v_c(x) = ½ xᵀ H_c x + 3 x_0 and the symmetric H, (d, d, d)."""
    hessian = torch.randn(d, d, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hessian = hessian + hessian.mT
    grid = identity_grid((6, 5, 4)[:d]).double()
    return torch.einsum("cij,bi...,bj...->bc...", hessian, grid, grid) / 2 + 3 * grid[
        :, :1
    ], hessian


def random_velocity(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, len(shape), *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("d", [2, 3])
def test_squared_gradient_of_a_linear_velocity_is_its_mean_squared_slope(d: int) -> None:
    expected = SLOPES[:d, :d].square().mean()
    torch.testing.assert_close(squared_gradient(linear(d)), expected)


@pytest.mark.parametrize("d", [2, 3])
def test_bending_energy_of_a_quadratic_velocity_is_that_of_its_hessian(d: int) -> None:
    velocity, hessian = quadratic(d)
    torch.testing.assert_close(bending_energy(velocity), hessian.square().sum((1, 2)).mean())


@pytest.mark.parametrize("shape", [(6, 5), (5, 4, 6)])
def test_bending_energy_is_monais(shape: tuple[int, ...]) -> None:
    velocity = random_velocity(*shape)
    torch.testing.assert_close(bending_energy(velocity), BendingEnergyLoss()(velocity))


@pytest.mark.parametrize("d", [2, 3])
def test_neither_regularization_minds_a_constant_and_bending_no_linear_velocity(d: int) -> None:
    constant = torch.ones(1, d, *(6, 5, 4)[:d])
    assert squared_gradient(constant) == 0
    assert bending_energy(constant) == 0
    torch.testing.assert_close(bending_energy(linear(d)), torch.zeros((), dtype=torch.float64))


def test_squared_gradient_on_long_voxels_is_that_of_lengths() -> None:
    """Slopes of lengths over lengths, ∂(s_c v_c)/∂(s_a x_a), whatever the unit of length."""
    spacing = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    expected = (SLOPES * spacing[:, None] / spacing[None]).square().mean()
    for unit in (1.0, 10.0):
        torch.testing.assert_close(squared_gradient(linear(3), (unit * spacing).tolist()), expected)


def test_bending_energy_on_long_voxels_is_that_of_lengths_in_units_of_the_shortest_side() -> None:
    velocity, hessian = quadratic(3)
    spacing = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    curvature = hessian * spacing[:, None, None] / (spacing[None, :, None] * spacing[None, None])
    for unit in (1.0, 0.5):
        energy = bending_energy(velocity, (unit * spacing).tolist())
        torch.testing.assert_close(energy, curvature.square().sum((1, 2)).mean())


@pytest.mark.parametrize("loss", [squared_gradient, bending_energy])
def test_equal_sides_count_as_none(loss: Callable[..., torch.Tensor]) -> None:
    velocity = random_velocity(5, 6)
    torch.testing.assert_close(loss(velocity, [0.7, 0.7]), loss(velocity))


def test_gradients_are_those_of_finite_differences() -> None:
    velocity = random_velocity(3, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: squared_gradient(v, [1, 2, 3]), velocity)
    assert torch.autograd.gradcheck(lambda v: bending_energy(v, [1, 2, 3]), velocity)


def test_declared_regularization_is_found() -> None:
    velocity, spacing = random_velocity(5, 6), [1.0, 2.0]
    for name, loss in (("gradient", squared_gradient), ("bending", bending_energy)):
        section = LossOptions.model_validate({"regularization": name})
        assert torch.equal(regularize(velocity, section, spacing), loss(velocity, spacing))
