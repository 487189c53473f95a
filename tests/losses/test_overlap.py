from collections.abc import Sequence

import pytest
import torch
from monai.losses.dice import DiceLoss
from monai.networks.utils import one_hot
from torch import Tensor

from hmopt.losses import overlap_loss
from hmopt.spatial import warp

SHAPES = [(13, 9), (9, 8, 7)]


def random_pairs(shape: tuple[int, ...], labels: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(shape))
    moving, fixed = torch.randint(0, labels + 1, (2, 2, *shape), generator=generator)
    displacement = 1.5 * torch.randn(2, len(shape), *shape, generator=generator)
    return moving, fixed, displacement.requires_grad_()


def by_monai(moving: Tensor, fixed: Tensor, labels: Sequence[int], displacement: Tensor) -> Tensor:
    most = int(max(moving.max(), fixed.max()))
    channels = one_hot(moving[:, None], most + 1)[:, list(labels)]
    targets = one_hot(fixed[:, None], most + 1)[:, list(labels)]
    loss: Tensor = DiceLoss(smooth_nr=0, smooth_dr=0)(warp(channels, displacement), targets)
    return loss


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("labels", [(1, 2, 3), (3, 1), (2,)])
def test_value_and_gradient_are_those_of_interpolated_channels(
    shape: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    moving, fixed, displacement = random_pairs(shape, labels=3)
    expected = by_monai(moving, fixed, labels, displacement)
    loss = overlap_loss(moving, fixed, labels, displacement)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, displacement)
    (of_expected,) = torch.autograd.grad(expected, displacement)
    torch.testing.assert_close(gradient, of_expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_label_maps_are_of_whole_numbers_of_any_size(dtype: torch.dtype) -> None:
    # so many that the cells of their joint histogram are more than 8 bits can count
    labels = range(1, 41)
    moving, fixed, displacement = random_pairs((9, 8, 7), labels=45)
    expected = by_monai(moving, fixed, labels, displacement)
    found = overlap_loss(moving.to(dtype), fixed.to(dtype), labels, displacement)
    torch.testing.assert_close(found, expected)


def test_labels_are_told_by_their_values() -> None:
    moving, fixed, displacement = random_pairs((9, 8, 7), labels=3)
    values = torch.tensor([0, 40, 7, 2001])
    found = overlap_loss(values[moving], values[fixed], values[1:].tolist(), displacement)
    assert torch.equal(found, overlap_loss(moving, fixed, (1, 2, 3), displacement))


def test_half_covered_label_has_a_loss_of_a_half() -> None:
    fixed = torch.zeros(1, 4, 4, dtype=torch.long)
    fixed[:, :2] = 1
    still = torch.zeros(1, 2, 4, 4)
    assert float(overlap_loss(fixed.roll(1, 1), fixed, [1], still)) == pytest.approx(0.5)
    assert float(overlap_loss(fixed.roll(2, 1), fixed, [1], still)) == pytest.approx(1)
    assert float(overlap_loss(fixed, fixed, [1], still)) == pytest.approx(0)


def test_label_that_one_of_a_pair_lacks_does_not_count() -> None:
    still = torch.zeros(2, 2, 2, 2)
    moving = torch.tensor([[[1, 1], [2, 2]], [[1, 1], [1, 1]]])
    # label 2 is missing in the second moving map, and label 1 is whole there but for a voxel
    fixed = torch.tensor([[[1, 1], [2, 2]], [[2, 1], [1, 1]]])
    expected = 1 - (1 + 1 + 2 * 3 / (4 + 3)) / 3
    assert float(overlap_loss(moving, fixed, [1, 2], still)) == pytest.approx(expected)


def test_no_common_label_gives_the_largest_loss_and_a_finite_gradient() -> None:
    label_map = torch.ones(1, 4, 4, dtype=torch.long)
    displacement = torch.full((1, 2, 4, 4), 0.3, requires_grad=True)
    loss = overlap_loss(label_map, torch.zeros_like(label_map), [1], displacement)
    (gradient,) = torch.autograd.grad(loss, displacement)
    assert loss == 1
    assert torch.equal(gradient, torch.zeros_like(displacement))


def test_labels_that_no_map_holds_give_the_largest_loss() -> None:
    label_map = torch.ones(1, 4, 4, dtype=torch.long)
    assert overlap_loss(label_map, label_map, [5, 9], torch.zeros(1, 2, 4, 4)) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_is_that_of_finite_differences(shape: tuple[int, ...]) -> None:
    moving, fixed, displacement = random_pairs(shape, labels=2)
    # away from whole numbers, where linear interpolation has a kink
    places = (displacement.double() * 2).floor() / 2 + 0.25
    inputs = places.detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda one: overlap_loss(moving, fixed, (1, 2), one), inputs, fast_mode=True
    )
