"""Both sides of the rows of refinement minimize the same loss over the same velocity."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.cohorts import SyntheticPair, make_synthetic_pair
from benchmarks.refined_pair import mean_dice, unmoved
from benchmarks.refinement import (
    by_adam,
    by_refinement,
    hmopt_loss,
    images_of,
    iterations_to,
    recorded_loss,
    voxelmorph_loss,
    zero_velocity,
)


@pytest.mark.parametrize("shape", [(64, 64), (32, 32, 32)], ids=["2-D", "3-D"])
def test_both_losses_agree_but_for_the_border(shape: tuple[int, ...]) -> None:
    """Neither images nor velocity change towards the border; NCC of constant images is 0 there."""
    torch.manual_seed(0)
    d = len(shape)
    quarter = shape[0] // 4
    middle = torch.rand(2, 1, 1, *[2 * quarter] * d)
    moving, fixed = functional.pad(middle, [quarter] * (2 * d))
    # at half the resolution
    eighth = quarter // 2
    velocity = functional.pad(torch.full((1, d, *[2 * eighth] * d), 0.4), [eighth] * (2 * d))
    assert velocity.shape == zero_velocity(fixed).shape
    ours = float(hmopt_loss(moving, fixed)(velocity))
    theirs = float(voxelmorph_loss(moving, fixed)(velocity))
    assert ours == pytest.approx(theirs, abs=0.02)


def test_every_evaluation_is_counted() -> None:
    moving, fixed = images_of((32, 32))
    losses = by_refinement(moving, fixed, iterations=4)
    assert len(losses) == 5
    with torch.no_grad():
        at_start = float(hmopt_loss(moving, fixed)(zero_velocity(fixed)))
    assert losses[0] == pytest.approx(at_start)
    assert min(losses) < losses[0]
    assert recorded_loss().found == []


def test_adam_moves_every_voxel_by_its_rate_in_the_first_step() -> None:
    start = torch.zeros(1, 2, 4, 4)
    moved = by_adam(lambda velocity: (velocity - 1).square().sum(), start, iterations=1)
    torch.testing.assert_close(moved, torch.full_like(start, 0.1))
    assert float(start.abs().max()) == 0


def test_the_first_loss_that_is_low_enough_counts() -> None:
    assert iterations_to(0.5, [1.0, 0.6, 0.7, 0.4, 0.3]) == 3
    assert iterations_to(1.0, [1.0, 0.6]) == 0
    assert iterations_to(0.1, [1.0, 0.6]) is None


def test_dice_is_the_mean_of_structures_that_both_images_have() -> None:
    image = np.zeros((4, 4), np.float32)
    moving = np.zeros((4, 4), np.uint8)
    fixed = np.zeros((4, 4), np.uint8)
    moving[0], fixed[0] = 1, 1
    moving[1], fixed[1, :2] = 2, 2
    moving[2] = 3
    pair = SyntheticPair(moving=image, fixed=image, moving_labels=moving, fixed_labels=fixed)
    # 2 · 4 / (4 + 4) and 2 · 2 / (4 + 2)
    assert mean_dice(pair, unmoved) == pytest.approx((1 + 2 / 3) / 2)


def test_synthetic_images_fill_the_unit_range_and_differ() -> None:
    pair = make_synthetic_pair((32, 32))
    for image in (pair.moving, pair.fixed):
        assert image.dtype == np.float32
        assert (float(image.min()), float(image.max())) == (0.0, 1.0)
    assert (pair.moving_labels != pair.fixed_labels).any()
