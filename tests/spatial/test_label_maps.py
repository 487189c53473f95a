import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.spatial import joint_histogram, nearest_labels, sampled_positions, warp

SHAPES = [(13, 9), (9, 8, 7)]


def random_pairs(
    shape: tuple[int, ...], labels: int = 3, count: int = 2
) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(len(shape))
    maps = torch.randint(0, labels + 1, (2, count, *shape), generator=generator)
    displacement = 2.5 * torch.randn(count, len(shape), *shape, generator=generator)
    return maps[0], maps[1], displacement


def one_hot_by_scipy(
    label_map: torch.Tensor, label: int, displacement: torch.Tensor
) -> NDArray[np.float64]:
    grid = np.indices(label_map.shape) + displacement.double().numpy()
    mask = (label_map == label).double().numpy()
    return ndimage.map_coordinates(mask, grid, order=1, mode="nearest")


@pytest.mark.parametrize("shape", SHAPES)
def test_joint_histogram_holds_the_volumes_of_fixed_and_moved_labels(
    shape: tuple[int, ...],
) -> None:
    moving, fixed, displacement = random_pairs(shape)
    histogram = joint_histogram(sampled_positions(displacement), moving, fixed, 3)
    for label in (1, 2, 3):
        moved = one_hot_by_scipy(moving[1], label, displacement[1])
        assert histogram[1, label].sum() == pytest.approx(
            float((fixed[1] == label).sum()), abs=1e-4
        )
        assert histogram[1, :, label].sum() == pytest.approx(moved.sum(), abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_nearest_labels_are_those_that_warping_gives(shape: tuple[int, ...]) -> None:
    moving, _, displacement = random_pairs(shape)
    expected = warp(moving[:, None].float(), displacement, "nearest")[:, 0]
    assert torch.equal(nearest_labels(moving, sampled_positions(displacement)).float(), expected)


def test_positions_that_are_no_numbers_give_a_histogram_that_is_none() -> None:
    moving, fixed, displacement = random_pairs((13, 9))
    displacement[0, :, 4, 4] = torch.nan
    fixed[0, 4, 4] = 2
    histogram = joint_histogram(sampled_positions(displacement), moving, fixed, 3)
    assert histogram[0, 2].isnan().any()
    assert histogram[1].isfinite().all()
