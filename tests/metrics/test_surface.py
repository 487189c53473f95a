import math
import warnings

import pytest
import torch

from hmopt.metrics.originals import Originals
from hmopt.metrics.surface import hd95_mm


def box(
    shape: tuple[int, ...], low: tuple[int, ...], high: tuple[int, ...], label: int = 1
) -> torch.Tensor:
    labels = torch.zeros(1, *shape, dtype=torch.int32)
    sides = [slice(a, b) for a, b in zip(low, high, strict=True)]
    inside: tuple[int | slice, ...] = (0, *sides)
    labels[inside] = label
    return labels


def labelled(
    moving_labels: torch.Tensor,
    fixed_labels: torch.Tensor,
    label_count: int,
    spacing_mm: tuple[float, ...] | None,
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


def test_label_missing_in_either_original_map_gives_nan() -> None:
    one, two = box((8, 8), (2, 2), (5, 5)), box((8, 8), (2, 2), (5, 5), label=2)
    assert hd95_mm(one, labelled(one, two, 2, (1.0, 1.0))).isnan().all()


def test_label_that_vanished_by_warping_is_as_far_as_the_grid_is_wide() -> None:
    labels = box((8, 6), (2, 2), (5, 5))
    nothing = torch.zeros_like(labels)
    assert hd95_mm(nothing, labelled(labels, labels, 1, (1.0, 2.0))).item() == pytest.approx(
        math.hypot(8, 12)
    )
