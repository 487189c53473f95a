"""How badly moved labels overlap fixed ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hmopt.spatial import joint_histogram, sampled_positions


def overlap_loss(
    moving_labels: Tensor | None,
    fixed_labels: Tensor | None,
    overlap_labels: Sequence[int],
    displacement: Tensor,
) -> Tensor:
    """Compute 1 - the mean Dice over the labels that both of a pair's label maps hold.

    With p_l(x) the share of label l in the moving map at x + u(x), by linear interpolation, and
    q_l(x) 1 where the fixed map has it, else 0, the Dice of l is 2 Σ p_l q_l / (Σ p_l + Σ q_l). All
    labels are computed at once: the cost does not grow with their number.

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
        A number in [0, 1]; 1 where no label is in both.

    References
    ----------
    Balakrishnan et al., IEEE TMI 38, 2019, equations 9 and 10.

    Examples
    --------
    >>> labels = torch.tensor([[[0, 1], [2, 2]]])
    >>> overlap_loss(labels, labels, [1, 2], torch.zeros(1, 2, 2, 2))
    tensor(0.)
    """
    if moving_labels is None or fixed_labels is None:
        return displacement.new_zeros(())
    # (batch, fixed label, moved label)
    histogram = joint_histogram(
        sampled_positions(displacement),
        _numbered(moving_labels, overlap_labels),
        _numbered(fixed_labels, overlap_labels),
        len(overlap_labels),
    )
    # (batch, label) each, without what is not among them
    covered = histogram.diagonal(dim1=1, dim2=2)[:, 1:]
    moved_volume = histogram.sum(1)[:, 1:]
    fixed_volume = histogram.sum(2)[:, 1:]
    volumes = moved_volume + fixed_volume
    dice = 2 * covered / volumes.clamp(min=1e-6)

    is_in_both = (moved_volume > 0) & (fixed_volume > 0)
    total = (dice * is_in_both).sum()
    count = is_in_both.sum()
    mean_dice = total / count.clamp(min=1)
    return (1 - mean_dice).to(displacement.dtype)


def _numbered(label_map: Tensor, labels: Sequence[int]) -> Tensor:
    """Return a map with the labels numbered from 1 in their order; 0 is everything else."""
    most = max([int(label_map.max()), *labels])
    numbers = torch.zeros(most + 1, dtype=label_map.dtype)
    for number, label in enumerate(labels, start=1):
        numbers[label] = number
    return numbers.to(label_map.device)[label_map.long()]
