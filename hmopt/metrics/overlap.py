"""Overlap of moved and fixed labels, of all labels at once: the cost does not grow with their number."""

import itertools
import math

import torch
from torch import Tensor

from hmopt.metrics.originals import Originals, label_volumes
from hmopt.metrics.positions import flat_places, strides


def joint_histogram(positions: Tensor, originals: Originals) -> Tensor:
    """Compute how much of each fixed label each moved label covers, with labels interpolated linearly.

    Every fixed voxel x takes its value at a position p, between the 2^d moving voxels that are the
    corners of a cube. Corner q has the share w(q) of the cube's volume that lies across from it, as
    in linear interpolation, and

        H(f, m) = Σ w(q)  over fixed voxels x with label f, and corners q of their cubes with label
        m.

    Voxels whose corners are all background over background are passed over, so that H(0, 0) means
    nothing.

    Parameters
    ----------
    positions
        (n, d, voxels): where fixed voxels take values, as of
        `hmopt.metrics.positions.sampled_positions`.
    originals
        The n pairs.

    Returns
    -------
    Tensor
        (n, label_count + 1, label_count + 1), float64, in voxels: fixed labels by moved labels.

    References
    ----------
    Maes et al., IEEE TMI 16, 1997, section II-B: partial volume interpolation of joint histograms.

    Examples
    --------
    The voxel at 1 takes its value a quarter of a voxel further on, at 1.25, from the voxels at 1 and 2: three quarters
    of its label 1 are covered by label 1, and one quarter by label 2. The voxel at 2 is covered by label 2.

    >>> from hmopt.metrics.positions import sampled_positions
    >>> labels, image = torch.tensor([[[0, 1, 2, 2]]]), torch.zeros(1, 1, 1, 4)
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> quarter_along_y = torch.tensor([0.0, 0.25]).reshape(1, 2, 1, 1).expand(1, 2, 1, 4)
    >>> originals = Originals(**pair, label_count=2, spacing_mm=None)
    >>> joint_histogram(sampled_positions(quarter_along_y), originals)[0, 1:]
    tensor([[0.0000, 0.7500, 0.2500],
            [0.0000, 0.0000, 2.0000]], dtype=torch.float64)
    """
    count, *sides = originals.moving_labels.shape
    shape = tuple(sides)
    codes = originals.label_count + 1
    fixed = originals.fixed_labels.reshape(-1)
    moving = originals.moving_labels.reshape(-1)

    # the corner of each cube with the smallest coordinates; the last voxel of an axis is the far side of a cube
    last_low = [max(side - 2, 0) for side in shape]
    bound = torch.tensor(last_low, dtype=positions.dtype, device=positions.device)
    low = positions.floor().minimum(bound[:, None])
    places = flat_places(low, shape).flatten()

    # the rows of the stack (n · voxels) that can add anything
    near_foreground = originals.near_foreground.reshape(-1)
    counts = near_foreground.index_select(0, places) | (fixed > 0)
    kept = counts.nonzero().squeeze(1)
    places = places.index_select(0, kept)
    # (d, kept): how far along each axis of its cube a position is, in [0, 1]
    along = (positions - low).movedim(1, 0).flatten(1)
    along = along.index_select(1, kept)

    # H is counted flat: pair p, fixed label f and moved label m have the code (p · codes + f) · codes + m
    pair = (kept // math.prod(shape)).to(fixed.dtype)
    fixed_label = fixed.index_select(0, kept)
    row = (pair * codes + fixed_label) * codes
    cells = count * codes**2
    histogram = torch.zeros(cells, dtype=torch.float64, device=positions.device)
    for corner in itertools.product((0, 1), repeat=len(shape)):
        at_corner = moving[_step_to(corner, shape) :]
        code = row + at_corner.index_select(0, places)
        share = _share_of(corner, along).double()
        histogram += torch.bincount(code, share, minlength=cells)
    return histogram.reshape(count, codes, codes)


def _step_to(corner: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Return how far after the lowest corner of a cube another lies in a flattened map.

    Along an axis of one voxel a cube has no far side: its own voxel stands for that, with a share
    of 0.
    """
    step = 0
    for is_far, stride, side in zip(corner, strides(shape), shape, strict=True):
        if is_far and side > 1:
            step += stride
    return step


def _share_of(corner: tuple[int, ...], along: Tensor) -> Tensor:
    """Compute w, (kept,): the product over axes of how near a position is to a corner of its cube."""
    nearness = [part if is_far else 1 - part for part, is_far in zip(along, corner, strict=True)]
    share: Tensor = nearness[0]
    for factor in nearness[1:]:
        share = share * factor
    return share


def dice(positions: Tensor, originals: Originals) -> Tensor:
    """Compute the partial-volume Dice of each label: twice the covered volume over the sum of both volumes.

    It is a continuous function of the displacement, without the steps of nearest-neighbour Dice.

    Parameters
    ----------
    positions
        (n, d, voxels): where fixed voxels take values, as of
        `hmopt.metrics.positions.sampled_positions`.
    originals
        The n pairs.

    Returns
    -------
    Tensor
        (n, label_count), float64, in [0, 1]. NaN where a label is missing in either original map; 0
        where the displacement leaves nothing of it.

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
    moved_volumes = histogram.sum(1)[:, 1:]
    fixed_volumes = histogram.sum(2)[:, 1:]
    return _ratio(covered, moved_volumes + fixed_volumes, originals)


def dice_nearest(moved_labels: Tensor, originals: Originals) -> Tensor:
    """Compute the Dice of each label between labels moved by nearest neighbour and fixed labels.

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
    moved_volumes = label_volumes(moved_labels, originals.label_count)
    return _ratio(covered, moved_volumes + originals.fixed_volumes, originals)


def _ratio(covered: Tensor, volumes: Tensor, originals: Originals) -> Tensor:
    """Compute 2 · covered / volumes, NaN where one of the images lacks the label."""
    ratio = 2 * covered / volumes
    return ratio.masked_fill(originals.missing, torch.nan)
