from types import EllipsisType

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch.nn import functional

from hmopt.spatial import (
    identity_grid,
    integrate,
    refine_displacement,
    velocity_to_displacement,
    warp,
)

TURN = np.array([[0.05, -0.2], [0.25, -0.1]])
TURN_3D = np.array([[0.05, -0.2, 0.0], [0.2, -0.05, 0.1], [0.05, -0.1, 0.1]])


def linear_velocity(matrix: np.ndarray, offset: np.ndarray, size: int) -> torch.Tensor:
    """Return v(x) = matrix (x - centre) + offset, (1, d, *shape), float64."""
    d = len(matrix)
    from_centre = identity_grid((size,) * d).double() - (size - 1) / 2
    velocity = torch.einsum("ij,bj...->bi...", torch.from_numpy(matrix), from_centre)
    return velocity + torch.from_numpy(offset).reshape(1, d, *[1] * d)


def inner(field: torch.Tensor, margin: int) -> torch.Tensor:
    places: tuple[EllipsisType | slice, ...] = (..., *[slice(margin, -margin)] * (field.dim() - 2))
    return field[places]


@pytest.mark.parametrize(("matrix", "size"), [(TURN, 33), (TURN_3D, 17)])
def test_linear_velocity_integrates_to_the_matrix_exponential(
    matrix: np.ndarray, size: int
) -> None:
    """In homogeneous coordinates the flow of v(x) = A x + b at time 1 is expm([[A, b], [0, 0]])."""
    d, offset = len(matrix), np.linspace(-0.5, 0.5, len(matrix))
    generator = np.zeros((d + 1, d + 1))
    generator[:d, :d], generator[:d, d] = matrix, offset
    flow = expm(generator)
    expected = linear_velocity(flow[:d, :d] - np.eye(d), flow[:d, d], size)
    displacement = integrate(linear_velocity(matrix, offset, size), steps=12)
    margin = size // 2 - 3
    torch.testing.assert_close(
        inner(displacement, margin), inner(expected, margin), atol=1e-3, rtol=0
    )
    assert expected.abs().max() > 1.5


def test_error_halves_with_every_further_squaring() -> None:
    flow = torch.from_numpy(expm(TURN) - np.eye(2))
    centre = identity_grid((33, 33)).double() - 16
    expected = inner(torch.einsum("ij,bj...->bi...", flow, centre), 12)
    velocity = linear_velocity(TURN, np.zeros(2), 33)
    coarse, fine = (
        (inner(integrate(velocity, steps), 12) - expected).abs().max() for steps in (5, 6)
    )
    assert 1.8 < coarse / fine < 2.2


def test_backward_velocity_undoes_the_forward_one() -> None:
    """exp(v) after exp(-v) is the identity; v is smooth and vanishes towards the border."""
    axis = torch.linspace(0, torch.pi, 32, dtype=torch.float64)
    hill = axis.sin()[:, None] * axis.sin()[None] ** 2
    velocity = torch.stack([1.5 * hill, -hill.T])[None]
    forward, backward = integrate(velocity, 8), integrate(-velocity, 8)
    composed = backward + warp(forward, backward)
    assert forward.abs().max() > 1
    assert composed.abs().max() < 0.02


def test_no_squaring_gives_the_velocity_itself() -> None:
    velocity = torch.rand(1, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(integrate(velocity, 0), velocity)


def test_displacement_of_images_is_integrated_on_the_grid_of_the_velocity() -> None:
    velocity = torch.full((1, 2, 6, 5), 0.75)
    displacement = velocity_to_displacement(velocity, steps=4, stride=2)
    torch.testing.assert_close(displacement, torch.full((1, 2, 12, 10), 1.5))
    varying = torch.rand(1, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        velocity_to_displacement(varying, 0, 3), refine_displacement(varying, 3)
    )


def test_gradient_is_that_of_finite_differences() -> None:
    velocity = 0.3 * torch.rand(
        1, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    velocity = (
        velocity + 0.05
    ).requires_grad_()  # places stay between voxels, where interpolation has no kink
    assert torch.autograd.gradcheck(lambda v: integrate(v, 3)[..., :3, :3], velocity, eps=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("axes", [2, 3])
def test_coarse_voxel_is_centred_on_its_fine_voxels(axes: int, factor: int) -> None:
    """Of a X + b on coarse voxels X remains factor (a X + b) where X = (x - (factor - 1) / 2) / factor."""
    shape = (7, 6, 5)[:axes]
    matrix = torch.arange(1.0, 1 + axes**2).reshape(axes, axes) / 10
    offset = torch.arange(axes) - 0.5
    coarse = torch.einsum("ij,bj...->bi...", matrix, identity_grid(shape)) + offset.reshape(
        1, -1, *[1] * axes
    )
    fine = identity_grid(tuple(factor * size for size in shape))
    place = (fine - (factor - 1) / 2) / factor
    expected = factor * (
        torch.einsum("ij,bj...->bi...", matrix, place) + offset.reshape(1, -1, *[1] * axes)
    )
    inner: tuple[EllipsisType | slice, ...] = (..., *[slice(factor, -factor)] * axes)
    torch.testing.assert_close(refine_displacement(coarse, factor)[inner], expected[inner])


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_finer_volumes_and_their_gradients_are_those_of_torchs_interpolation(factor: int) -> None:
    torch.manual_seed(0)
    coarse = torch.randn(2, 3, 5, 7, 6, dtype=torch.float64, requires_grad=True)
    finer = refine_displacement(coarse, factor)
    expected = factor * functional.interpolate(
        coarse, scale_factor=factor, mode="trilinear", align_corners=False
    )
    torch.testing.assert_close(finer, expected, atol=1e-12, rtol=0)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad(field, coarse, weights)[0] for field in (finer, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-12, rtol=0)


def test_a_finer_volume_does_not_depend_on_the_others_of_its_batch() -> None:
    torch.manual_seed(0)
    coarse = torch.randn(4, 3, 12, 10, 9)
    together = refine_displacement(coarse, 2)
    for row in range(4):
        assert torch.equal(refine_displacement(coarse[row : row + 1], 2), together[row : row + 1])


def test_what_is_made_finer_in_inference_first_has_gradients_later() -> None:
    with torch.inference_mode():
        refine_displacement(torch.zeros(1, 3, 11, 13, 17), 2)
    coarse = torch.zeros(1, 3, 11, 13, 17, requires_grad=True)
    refine_displacement(coarse, 2).sum().backward()  # type: ignore[no-untyped-call]
    assert coarse.grad is not None
    # each coarse voxel is spread over 8 fine ones, in voxels half as large
    assert float(coarse.grad.sum()) == pytest.approx(2 * 8 * coarse.numel())
