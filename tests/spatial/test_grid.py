from types import EllipsisType

import numpy as np
import pytest
import torch

from hmopt.spatial import identity_grid, refine_displacement


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
