import math
import warnings

import numpy as np
import pytest
import torch

from hmopt.metrics.originals import Originals, label_volumes
from hmopt.metrics.overlap import dice, dice_nearest, hd95_mm
from hmopt.spatial import nearest_labels, sampled_positions
from tests.spatial.test_label_maps import SHAPES, one_hot_by_scipy, random_pairs


def labelled(
    moving_labels: torch.Tensor,
    fixed_labels: torch.Tensor,
    label_count: int,
    spacing_mm: tuple[float, ...] | None = None,
) -> Originals:
    blank = torch.zeros(moving_labels.shape)[:, None]
    return Originals(
        moving=blank,
        fixed=blank,
        moving_labels=moving_labels,
        fixed_labels=fixed_labels,
        label_count=label_count,
        spacing_mm=spacing_mm,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_dice_is_that_of_one_hot_labels_interpolated_linearly(shape: tuple[int, ...]) -> None:
    moving, fixed, displacement = random_pairs(shape)
    values = dice(sampled_positions(displacement), labelled(moving, fixed, 3))
    for pair in range(len(moving)):
        for label in (1, 2, 3):
            moved = one_hot_by_scipy(moving[pair], label, displacement[pair])
            target = (fixed[pair] == label).numpy()
            expected = 2 * moved[target].sum() / (moved.sum() + target.sum())
            assert values[pair, label - 1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_nearest_dice_is_that_of_counted_voxels(shape: tuple[int, ...]) -> None:
    moving, fixed, displacement = random_pairs(shape)
    moved = nearest_labels(moving, sampled_positions(displacement))
    values = dice_nearest(moved, labelled(moving, fixed, 3))
    for label in (1, 2, 3):
        here, there = moved[0].numpy() == label, fixed[0].numpy() == label
        assert values[0, label - 1] == pytest.approx(
            2 * (here & there).sum() / (here.sum() + there.sum())
        )


def test_whole_voxel_shift_gives_equal_dice_both_ways() -> None:
    moving, fixed, _ = random_pairs((9, 8, 7))
    shift = torch.tensor([1.0, -2.0, 0.0]).reshape(1, 3, 1, 1, 1).expand(2, 3, 9, 8, 7)
    positions = sampled_positions(shift)
    nearest = dice_nearest(nearest_labels(moving, positions), labelled(moving, fixed, 3))
    assert torch.allclose(dice(positions, labelled(moving, fixed, 3)), nearest)


def test_label_missing_in_either_original_map_gives_nan() -> None:
    fixed = torch.zeros(2, 6, 6, dtype=torch.int32)
    fixed[:, :3] = 1
    moving = fixed.clone()
    moving[1, 0, 0], fixed[0, 0, 0] = 2, 2
    positions = sampled_positions(torch.zeros(2, 2, 6, 6))
    for values in (
        dice(positions, labelled(moving, fixed, 2)),
        dice_nearest(moving, labelled(moving, fixed, 2)),
    ):
        assert values.isnan().tolist() == [[False, True], [False, True]]


def test_label_that_vanished_by_warping_gives_zero() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.int32)
    labels[0, :2] = 1
    far_along_x = torch.tensor([50.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 8, 8)
    positions = sampled_positions(far_along_x)
    assert dice(positions, labelled(labels, labels, 1)).item() == 0
    assert dice_nearest(nearest_labels(labels, positions), labelled(labels, labels, 1)).item() == 0


def test_dice_is_continuous_where_nearest_dice_steps() -> None:
    labels = torch.zeros(1, 16, 16, dtype=torch.int32)
    labels[0, 4:12, 4:12] = 1
    for step in (0.4, 0.45, 0.55, 0.6):
        along_x = torch.tensor([step, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 16, 16)
        assert dice(
            sampled_positions(along_x), labelled(labels, labels, 1)
        ).item() == pytest.approx(1 - step / 8, abs=1e-6)


def test_volumes_are_counts_of_voxels() -> None:
    maps = torch.randint(0, 5, (3, 7, 6), generator=torch.Generator().manual_seed(0))
    expected = np.stack([np.bincount(one.numpy().ravel(), minlength=5)[1:] for one in maps])
    np.testing.assert_array_equal(label_volumes(maps, 4), expected)


def box(
    shape: tuple[int, ...], low: tuple[int, ...], high: tuple[int, ...], label: int = 1
) -> torch.Tensor:
    labels = torch.zeros(1, *shape, dtype=torch.int32)
    sides = [slice(a, b) for a, b in zip(low, high, strict=True)]
    inside: tuple[int | slice, ...] = (0, *sides)
    labels[inside] = label
    return labels


def test_shifted_box_is_as_far_as_its_shift_in_mm() -> None:
    fixed = box((12, 12, 12), (2, 2, 2), (5, 6, 7))
    moved = box((12, 12, 12), (2, 2, 5), (5, 6, 10))
    assert hd95_mm(moved, labelled(fixed, fixed, 1, (1.0, 2.0, 0.5))).item() == pytest.approx(1.5)


def test_distance_is_that_of_the_whole_grid() -> None:
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    generator = torch.Generator().manual_seed(0)
    moved = torch.randint(0, 3, (1, 9, 8, 7), generator=generator)
    fixed = torch.randint(0, 3, (1, 9, 8, 7), generator=generator)
    moved[:, 5:], fixed[:, :2] = 0, 0
    spacing = (1.0, 1.5, 2.0)
    values = hd95_mm(moved, labelled(fixed, fixed, 2, spacing))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        expected = compute_hausdorff_distance(
            torch.stack([moved == 1, moved == 2], 1).float(),
            torch.stack([fixed == 1, fixed == 2], 1).float(),
            include_background=True,
            percentile=95,
            spacing=list(spacing),
        )
    assert torch.allclose(values, expected.double())


def test_few_far_voxels_do_not_count() -> None:
    fixed = box((40, 40), (2, 2), (30, 30))
    moved = fixed.clone()
    moved[0, 39, 39] = 1
    assert hd95_mm(moved, labelled(fixed, fixed, 1, (1.0, 1.0))).item() == 0


def test_unknown_spacing_gives_nan() -> None:
    labels = box((8, 8), (2, 2), (5, 5))
    assert hd95_mm(labels, labelled(labels, labels, 1, None)).isnan().all()


def test_distance_of_a_label_missing_in_either_original_map_is_nan() -> None:
    one, two = box((8, 8), (2, 2), (5, 5)), box((8, 8), (2, 2), (5, 5), label=2)
    assert hd95_mm(one, labelled(one, two, 2, (1.0, 1.0))).isnan().all()


def test_label_that_vanished_by_warping_is_as_far_as_the_grid_is_wide() -> None:
    labels = box((8, 6), (2, 2), (5, 5))
    nothing = torch.zeros_like(labels)
    assert hd95_mm(nothing, labelled(labels, labels, 1, (1.0, 2.0))).item() == pytest.approx(
        math.hypot(8, 12)
    )
