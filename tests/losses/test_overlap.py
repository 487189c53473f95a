import pytest
import torch
from monai.losses.dice import DiceLoss

from hmopt.losses import dice_loss, one_hot


def test_one_hot_gives_a_channel_to_each_asked_for_label() -> None:
    label_map = torch.tensor([[[0, 3], [3, 7]]])
    expected = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]])
    assert torch.equal(one_hot(label_map, [7, 3]), expected)


def test_dice_of_half_covered_labels_is_a_half() -> None:
    fixed = torch.zeros(1, 1, 4, 4)
    fixed[..., :2, :] = 1
    assert float(dice_loss(fixed.roll(1, 2), fixed)) == pytest.approx(0.5)
    assert float(dice_loss(fixed.roll(2, 2), fixed)) == pytest.approx(1)
    assert float(dice_loss(fixed, fixed)) == pytest.approx(0)


@pytest.mark.parametrize("shape", [(8, 7), (5, 6, 4)])
def test_dice_of_soft_labels_is_monais(shape: tuple[int, ...]) -> None:
    moved, fixed = torch.rand(2, 2, 3, *shape, generator=torch.Generator().manual_seed(0))
    expected = DiceLoss(smooth_nr=0, smooth_dr=0)(moved, fixed)
    torch.testing.assert_close(dice_loss(moved, fixed), expected)


def test_label_that_one_of_a_pair_lacks_does_not_count() -> None:
    label_map = torch.tensor([[[1, 1], [2, 2]], [[1, 1], [1, 1]]])
    moved, fixed = one_hot(label_map, [1, 2]), one_hot(label_map.roll(1, 2), [1, 2])
    fixed[1, 1, 0, 0] = 1  # only the fixed image of the second pair has label 2
    halves = one_hot(torch.tensor([[[1, 0], [2, 2]]]), [1, 2])
    assert float(dice_loss(moved, fixed)) == pytest.approx(0)
    # of label 1 one voxel of two is covered: 2 · 1 / (1 + 2); label 2 is whole
    assert float(dice_loss(halves, fixed[:1])) == pytest.approx(1 - (2 / 3 + 1) / 2)


def test_no_common_label_gives_the_largest_loss_and_a_finite_gradient() -> None:
    moved = torch.rand(1, 1, 4, 4, requires_grad=True)
    loss = dice_loss(moved, torch.zeros(1, 1, 4, 4))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 1
    assert moved.grad is not None
    assert torch.equal(moved.grad, torch.zeros(1, 1, 4, 4))


def test_gradient_is_that_of_finite_differences() -> None:
    moved, fixed = torch.rand(
        2, 2, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    assert torch.autograd.gradcheck(lambda one: dice_loss(one, fixed), moved.requires_grad_())
