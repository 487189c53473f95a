from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.spatial import identity_grid, warp

SHAPES = [(11, 8), (8, 9, 7)]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def warped_by_scipy(
    image: torch.Tensor, displacement: torch.Tensor, order: Literal[0, 1]
) -> NDArray[np.float64]:
    shape = tuple(displacement.shape[2:])
    places = (identity_grid(shape) + displacement).numpy()
    return np.stack(
        [
            [
                ndimage.map_coordinates(channel, where, order=order, mode="nearest")
                for channel in one
            ]
            for one, where in zip(image.numpy(), places, strict=True)
        ]
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("mode", "order"), [("linear", 1), ("nearest", 0)])
def test_images_are_warped_as_by_scipy(
    shape: tuple[int, ...], mode: Literal["linear", "nearest"], order: Literal[0, 1]
) -> None:
    image, displacement = random(2, 3, *shape), 3 * random(2, len(shape), *shape, seed=1)
    expected = warped_by_scipy(image, displacement, order)
    np.testing.assert_allclose(warp(image, displacement, mode), expected, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_single_precision_is_off_by_rounding_only(shape: tuple[int, ...]) -> None:
    image, displacement = random(1, 1, *shape), random(1, len(shape), *shape, seed=1)
    np.testing.assert_allclose(
        warp(image.float(), displacement.float()),
        warped_by_scipy(image, displacement, 1),
        atol=2e-5,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_warping_by_zero_displacement_gives_the_image_back(shape: tuple[int, ...]) -> None:
    image, nothing = random(2, 2, *shape).float(), torch.zeros(2, len(shape), *shape)
    torch.testing.assert_close(warp(image, nothing), image, atol=1e-5, rtol=0)
    assert torch.equal(warp(image, nothing, "nearest"), image)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_whole_voxels_shift_the_image_and_repeat_its_border(axis: int) -> None:
    image = random(1, 1, 5, 6, 7)
    displacement = torch.zeros(1, 3, 5, 6, 7, dtype=torch.float64)
    displacement[:, axis] = 2
    size = image.shape[axis + 2]
    places = torch.arange(size).add(2).clamp(max=size - 1)
    torch.testing.assert_close(warp(image, displacement), image.index_select(axis + 2, places))


def test_axis_of_one_voxel_is_left_alone() -> None:
    image = random(1, 1, 4, 1)
    displacement = torch.full((1, 2, 4, 1), 3.0, dtype=torch.float64)
    displacement[:, 0] = 0
    torch.testing.assert_close(warp(image, displacement), image)


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 3)])
def test_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    image = random(1, 2, *shape).requires_grad_()
    # away from whole voxels and the border, where linear interpolation has kinks
    inside = (torch.tensor(shape) - 1.5).reshape(1, -1, *[1] * len(shape))
    places = (
        identity_grid(shape).clamp(max=inside) + 0.2 + 0.1 * random(1, len(shape), *shape).tanh()
    )
    displacement = (places - identity_grid(shape)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (image, displacement), eps=1e-6)


def test_gradient_of_a_displacement_alone_is_that_of_finite_differences() -> None:
    shape = (3, 4, 5)
    image = random(2, 1, *shape)
    # away from whole voxels and the border, where linear interpolation has kinks
    inside = (torch.tensor(shape) - 1.5).reshape(1, 3, 1, 1, 1)
    places = identity_grid(shape).clamp(max=inside) + 0.2 + 0.1 * random(2, 3, *shape).tanh()
    displacement = (places - identity_grid(shape)).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: warp(image, one), displacement, eps=1e-6)


def test_gradients_of_a_volume_and_of_its_squaring_are_those_of_finite_differences() -> None:
    shape = (3, 4, 5)
    # away from whole voxels and the border, where linear interpolation has kinks
    inside = (torch.tensor(shape) - 1.5).reshape(1, 3, 1, 1, 1)
    places = identity_grid(shape).clamp(max=inside) + 0.2 + 0.1 * random(1, 3, *shape).tanh()
    displacement = (places - identity_grid(shape)).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: one + warp(one, one), displacement, eps=1e-6)
    field = random(1, 3, *shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: warp(one, displacement.detach()), field, eps=1e-6)


def test_volumes_are_warped_alike_with_and_without_gradients() -> None:
    image = random(2, 3, 5, 6, 7)
    displacement = 3 * random(2, 3, 5, 6, 7)
    without = warp(image, displacement)
    with_gradient = warp(image, displacement.requires_grad_())
    torch.testing.assert_close(with_gradient, without)


def test_gradient_beyond_the_border_is_zero() -> None:
    image = random(1, 1, 4, 4, 4)
    displacement = torch.zeros(1, 3, 4, 4, 4, dtype=torch.float64)
    displacement[:, 0] = 9.5
    displacement[:, 1] = -9.5
    displacement.requires_grad_()
    warp(image, displacement).sum().backward()  # type: ignore[no-untyped-call]
    assert displacement.grad is not None
    assert not displacement.grad[:, :2].any()


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5)])
def test_every_voxel_holds_its_own_coordinates(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(identity_grid(shape)[0], np.indices(shape))


def test_grid_first_asked_for_in_inference_serves_where_gradients_are_taken() -> None:
    with torch.inference_mode():
        identity_grid((3, 11))
    scale = torch.ones(1, requires_grad=True)
    (identity_grid((3, 11)) * scale).sum().backward()  # type: ignore[no-untyped-call]
    assert scale.grad is not None
    assert (
        scale.grad.item() == 11 * 3 + 3 * 55
    )  # sums of 0..2 over 11 columns, and of 0..10 over 3 rows
