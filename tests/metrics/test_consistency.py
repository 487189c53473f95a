"""Consistency of displacements there and back, and around three images, from closed forms."""

import numpy as np
import pytest
import torch

from hmopt.metrics.consistency import (
    cycle_inconsistency_mm,
    cycle_inconsistency_voxels,
    inverse_consistency_mm,
    inverse_consistency_voxels,
)

SIDE = 33
SCALE = 1.25


def scaling(factor: float) -> torch.Tensor:
    """Return the displacement of a scaling about the middle: (1, 2, SIDE, SIDE)."""
    middle = (SIDE - 1) / 2
    along = (torch.arange(SIDE) - middle) * (factor - 1)
    first, second = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([first, second])[None]


def constant(first: float, second: float) -> torch.Tensor:
    return torch.tensor([first, second]).reshape(1, 2, 1, 1).expand(1, 2, SIDE, SIDE)


def test_the_inverse_of_a_scaling_is_consistent_where_it_stays_on_the_grid() -> None:
    small = scaling(1 / SCALE)
    large = scaling(SCALE)
    there_and_back = inverse_consistency_voxels(small, large)
    # beyond the grid, where the larger one leads, a displacement is that of the border
    middle = (SIDE - 1) / 2
    along = np.arange(SIDE) - middle
    outside = np.clip(np.abs(along * SCALE) - middle, 0, None) * (1 - 1 / SCALE)
    left = np.hypot(*np.meshgrid(outside, outside)).mean() / 2
    assert there_and_back.item() == pytest.approx(left, rel=1e-4)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (2.0, 0.5)])
def test_what_translations_leave_is_their_sum_in_mm(spacing_mm: tuple[float, float]) -> None:
    there, back, onward = constant(1.0, -2.0), constant(-0.5, 1.0), constant(0.25, 0.5)
    sum_of_two = np.multiply([0.5, -1.0], spacing_mm)
    assert inverse_consistency_mm(there, back, spacing_mm).item() == pytest.approx(
        np.linalg.norm(sum_of_two)
    )
    sum_of_three = np.multiply([0.75, -0.5], spacing_mm)
    found = cycle_inconsistency_mm(there, torch.stack([back, onward], 1), spacing_mm)
    assert found.item() == pytest.approx(np.linalg.norm(sum_of_three))


def test_both_directions_of_a_pair_have_the_same_error() -> None:
    generator = torch.Generator().manual_seed(0)
    there, back = torch.randn(2, 3, 2, 9, 9, generator=generator)
    torch.testing.assert_close(
        inverse_consistency_voxels(there, back), inverse_consistency_voxels(back, there)
    )


def test_a_cycle_of_scalings_is_a_loop_over_points() -> None:
    first, second, third = scaling(0.9), scaling(0.8), scaling(1.1)
    found = cycle_inconsistency_voxels(first, torch.stack([second, third], 1))
    middle = (SIDE - 1) / 2
    lengths = []
    for x in range(SIDE):
        for y in range(SIDE):
            offset = np.hypot(x - middle, y - middle)
            lengths.append(offset * abs(0.9 * 0.8 * 1.1 - 1))
    assert found.item() == pytest.approx(np.mean(lengths), rel=1e-4)


def test_what_was_not_registered_is_missing_and_hides_no_other_pair() -> None:
    there = constant(1.0, 0.0).repeat(2, 1, 1, 1)
    back = -there
    back[0] = torch.nan
    errors = inverse_consistency_voxels(there, back)
    assert torch.isnan(errors).tolist() == [True, False]
    assert errors[1] == 0
    onward = torch.stack([back, torch.zeros_like(back)], 1)
    assert torch.isnan(cycle_inconsistency_voxels(there, onward)).tolist() == [True, False]


def test_without_spacing_there_are_no_mm() -> None:
    still = constant(0.0, 0.0)
    assert torch.isnan(inverse_consistency_mm(still, still, None)).all()
    assert torch.isnan(cycle_inconsistency_mm(still, torch.stack([still, still], 1), None)).all()
