"""How badly moved labels overlap fixed ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hmopt.spatial import warp


def one_hot(label_map: Tensor, labels: Sequence[int]) -> Tensor:
    """Return a channel of zeros and ones for each of some labels.

    Parameters
    ----------
    label_map
        (batch, *shape), whole numbers.
    labels
        Values in the map, c of them.

    Returns
    -------
    Tensor
        (batch, c, *shape), float32.

    Examples
    --------
    >>> one_hot(torch.tensor([[[0, 2]]]), [1, 2])[0, :, 0]
    tensor([[0., 0.],
            [0., 1.]])
    """
    _, *shape = label_map.shape
    each_voxel = [1] * len(shape)
    values = torch.as_tensor(labels, device=label_map.device)
    # (1, c, 1, ..., 1)
    values = values.reshape(1, -1, *each_voxel)
    # (batch, 1, *shape) against it
    channels = label_map.unsqueeze(1) == values
    return channels.float()


def dice_loss(moved: Tensor, fixed: Tensor) -> Tensor:
    """Compute 1 - the mean soft Dice over the labels that both of a pair's label maps hold.

    Parameters
    ----------
    moved, fixed
        (batch, c, *shape), each channel in [0, 1].

    Returns
    -------
    Tensor
        A number in [0, 1]; 1 where no label is in both.

    References
    ----------
    Balakrishnan et al., IEEE TMI 38, 2019, equations 9 and 10.

    Examples
    --------
    >>> labels = one_hot(torch.tensor([[[0, 1], [2, 2]]]), [1, 2])
    >>> dice_loss(labels, labels)
    tensor(0.)
    """
    grid_axes = tuple(range(2, moved.dim()))
    # (batch, c) each
    product = moved * fixed
    covered = product.sum(grid_axes)
    moved_volume = moved.sum(grid_axes)
    fixed_volume = fixed.sum(grid_axes)
    volumes = moved_volume + fixed_volume
    dice = 2 * covered / volumes.clamp(min=1e-6)

    in_moved = moved_volume > 0
    in_fixed = fixed_volume > 0
    in_both = in_moved & in_fixed
    dice_in_both = dice * in_both
    total = dice_in_both.sum()
    count = in_both.sum()
    mean_dice = total / count.clamp(min=1)
    return 1 - mean_dice


def overlap_loss(
    moving_labels: Tensor | None,
    fixed_labels: Tensor | None,
    overlap_labels: Sequence[int],
    displacement: Tensor,
) -> Tensor:
    """Compute the Dice loss of label maps, the moving ones warped channel by channel.

    Parameters
    ----------
    moving_labels, fixed_labels
        (batch, *shape), whole numbers; None: there are no label maps, and the loss is 0.
    overlap_labels
        Values in the maps that count.
    displacement
        (batch, d, *shape), in voxels.

    Returns
    -------
    Tensor
        A number in [0, 1].

    Examples
    --------
    >>> labels = torch.tensor([[[0, 1], [2, 2]]])
    >>> overlap_loss(labels, labels, [1, 2], torch.zeros(1, 2, 2, 2))
    tensor(0.)
    """
    if moving_labels is None or fixed_labels is None:
        return displacement.new_zeros(())
    moving = one_hot(moving_labels, overlap_labels)
    fixed = one_hot(fixed_labels, overlap_labels)
    moved = warp(moving, displacement)
    return dice_loss(moved, fixed)
