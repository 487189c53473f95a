"""How badly moved labels overlap fixed ones."""

from collections.abc import Sequence

import torch
from torch import Tensor


def one_hot(label_map: Tensor, labels: Sequence[int]) -> Tensor:
    """Give a channel of zeros and ones for each of some labels.

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
    values = torch.as_tensor(labels, device=label_map.device).reshape(
        1, -1, *[1] * (label_map.dim() - 1)
    )
    return (label_map[:, None] == values).float()


def dice_loss(moved: Tensor, fixed: Tensor) -> Tensor:
    """Give 1 - the mean soft Dice over the labels that both of a pair's label maps hold.

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
    voxels = tuple(range(2, moved.dim()))
    moved_volume, fixed_volume = moved.sum(voxels), fixed.sum(voxels)
    both = (moved_volume > 0) & (fixed_volume > 0)
    dice = 2 * (moved * fixed).sum(voxels) / (moved_volume + fixed_volume).clamp(min=1e-6)
    return 1 - (dice * both).sum() / both.sum().clamp(min=1)
