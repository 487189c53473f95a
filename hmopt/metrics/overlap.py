"""Overlap of moved and fixed labels, of all labels at once: the cost does not grow with their number."""

import itertools
import math

import torch
from torch import Tensor

from hmopt.metrics.originals import Originals, label_volumes
from hmopt.metrics.positions import flat_places, strides


def joint_histogram(positions: Tensor, originals: Originals) -> Tensor:
    """Give how much of each fixed label each moved label covers, with labels interpolated linearly.

    Every fixed voxel takes parts of the 2^d moving voxels around its position. Voxels whose parts are all background
    over background are passed over, so the first entry (background over background) means nothing.

    Parameters
    ----------
    positions
        (n, d, voxels): where fixed voxels take values, as of `hmopt.metrics.positions.sampled_positions`.
    originals
        The n pairs.

    Returns
    -------
    Tensor
        (n, label_count + 1, label_count + 1), float64, in voxels: fixed labels by moved labels.

    References
    ----------
    Maes et al., IEEE TMI 16, 1997, section II-B: partial volume interpolation of joint histograms.
    """
    (count, *shape), codes = originals.moving_labels.shape, originals.label_count + 1
    last = torch.tensor(
        [max(size - 2, 0) for size in shape], dtype=positions.dtype, device=positions.device
    )
    low = positions.floor().minimum(last[:, None])
    places = flat_places(low, tuple(shape)).flatten()
    fixed, moving = originals.fixed_labels.reshape(-1), originals.moving_labels.reshape(-1)
    kept = (
        (originals.near_foreground.reshape(-1).index_select(0, places) | (fixed > 0))
        .nonzero()
        .squeeze(1)
    )
    share = (positions - low).movedim(1, 0).flatten(1).index_select(1, kept)
    places, pair = places.index_select(0, kept), (kept // math.prod(shape)).to(fixed.dtype)
    row = (pair * codes + fixed.index_select(0, kept)) * codes
    steps = [
        step if size > 1 else 0 for step, size in zip(strides(tuple(shape)), shape, strict=True)
    ]
    histogram = torch.zeros(count * codes**2, dtype=torch.float64, device=positions.device)
    for corner in itertools.product((0, 1), repeat=len(shape)):
        sides = [part if high else 1 - part for part, high in zip(share, corner, strict=True)]
        step = sum(step * high for step, high in zip(steps, corner, strict=True))
        code = row + moving[step:].index_select(0, places)
        histogram += torch.bincount(
            code, math.prod(sides[1:], start=sides[0]).double(), minlength=len(histogram)
        )
    return histogram.reshape(count, codes, codes)


def dice(positions: Tensor, originals: Originals) -> Tensor:
    """Give the partial-volume Dice of each label: twice the covered volume over the sum of both volumes.

    It is a continuous function of the displacement, without the steps of nearest-neighbour Dice.

    Parameters
    ----------
    positions
        (n, d, voxels): where fixed voxels take values, as of `hmopt.metrics.positions.sampled_positions`.
    originals
        The n pairs.

    Returns
    -------
    Tensor
        (n, label_count), float64, in [0, 1]. NaN where a label is missing in either original map; 0 where the
        displacement leaves nothing of it.

    Examples
    --------
    >>> from hmopt.metrics.positions import sampled_positions
    >>> labels = torch.tensor([[[0, 1, 1, 0, 0], [0, 1, 1, 0, 0]]])
    >>> half_a_voxel_along_y = torch.tensor([0.0, 0.5]).reshape(1, 2, 1, 1).expand(1, 2, 2, 5)
    >>> image = torch.zeros(1, 1, 2, 5)
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> dice(sampled_positions(half_a_voxel_along_y), Originals(**pair, label_count=1, spacing_mm=None))
    tensor([[0.7500]], dtype=torch.float64)
    """
    histogram = joint_histogram(positions, originals)
    covered = histogram.diagonal(dim1=1, dim2=2)[:, 1:]
    volumes = (histogram.sum(1) + histogram.sum(2))[:, 1:]
    return (2 * covered / volumes).masked_fill(originals.missing, torch.nan)


def dice_nearest(moved_labels: Tensor, originals: Originals) -> Tensor:
    """Give the Dice of each label between labels moved by nearest neighbour and fixed labels.

    Parameters
    ----------
    moved_labels
        (n, *shape), whole numbers from 0 (background) to `label_count`.
    originals
        The n pairs.

    Returns
    -------
    Tensor
        (n, label_count), float64, in [0, 1]; NaN and 0 as for `dice`.

    Examples
    --------
    >>> labels = torch.tensor([[[0, 1, 1, 2]]])
    >>> image = torch.zeros(1, 1, 1, 4)
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> dice_nearest(labels.roll(1, 2), Originals(**pair, label_count=3, spacing_mm=None))
    tensor([[0.5000, 0.0000,    nan]], dtype=torch.float64)
    """
    common = torch.where(moved_labels == originals.fixed_labels, moved_labels, 0)
    covered = label_volumes(common, originals.label_count).double()
    volumes = label_volumes(moved_labels, originals.label_count) + originals.fixed_volumes
    return (2 * covered / volumes).masked_fill(originals.missing, torch.nan)
