"""Overlap of moved and fixed labels, and distances of their surfaces.

Dice is computed of all labels at once: its cost does not grow with their number.
"""

import math
import warnings

import torch
from torch import Tensor

from hmopt.metrics.originals import Originals, label_volumes
from hmopt.spatial import joint_histogram

PERCENTILE = 95


def dice(positions: Tensor, originals: Originals) -> Tensor:
    """Compute the partial-volume Dice of each label: 2 · covered volume / sum of both volumes.

    It is a continuous function of the displacement, without the steps of nearest-neighbour Dice, and
    has a gradient.

    Parameters
    ----------
    positions
        (n, d, voxels): where fixed voxels take values, as `sampled_positions` returns them.
    originals
        The n pairs.

    Returns
    -------
    Tensor
        (n, label_count), float64, in [0, 1]. NaN where a label is missing in either original map; 0
        where the displacement leaves nothing of it.

    Examples
    --------
    >>> from hmopt.spatial import sampled_positions
    >>> labels = torch.tensor([[[0, 1, 1, 0, 0], [0, 1, 1, 0, 0]]])
    >>> half_a_voxel_along_y = torch.tensor([0.0, 0.5]).reshape(1, 2, 1, 1).expand(1, 2, 2, 5)
    >>> image = torch.zeros(1, 1, 2, 5)
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> originals = Originals(**pair, label_count=1, spacing_mm=None)
    >>> dice(sampled_positions(half_a_voxel_along_y), originals)
    tensor([[0.7500]], dtype=torch.float64)
    """
    # (n, fixed label, moved label); the others (n, label)
    histogram = joint_histogram(
        positions,
        originals.moving_labels,
        originals.fixed_labels,
        originals.label_count,
        originals.near_foreground,
    )
    covered = histogram.diagonal(dim1=1, dim2=2)
    moved_volumes = histogram.sum(1)
    fixed_volumes = histogram.sum(2)
    volumes = moved_volumes + fixed_volumes
    # without background
    return _ratio(covered[:, 1:], volumes[:, 1:], originals)


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
    label_count = originals.label_count
    is_common = moved_labels == originals.fixed_labels
    common = torch.where(is_common, moved_labels, 0)
    covered = label_volumes(common, label_count)
    moved_volumes = label_volumes(moved_labels, label_count)
    volumes = moved_volumes + originals.fixed_volumes
    return _ratio(covered.double(), volumes, originals)


def hd95_mm(moved_labels: Tensor, originals: Originals) -> Tensor:
    """Compute the 95 % Hausdorff distance of each label.

    It is the larger of the 95th percentiles of the surface distances in both directions.

    Parameters
    ----------
    moved_labels
        (n, *shape), whole numbers from 0 (background) to `label_count`, moved by nearest neighbour.
    originals
        The n pairs.

    Returns
    -------
    Tensor
        (n, label_count), float64, in mm. NaN where a label is missing in either original map, and
        everywhere if the spacing is unknown; the diagonal of the grid, which no distance exceeds,
        where the displacement leaves nothing of a label.

    Examples
    --------
    >>> labels = torch.zeros(1, 8, 8, dtype=torch.long)
    >>> labels[0, 2:4, 2:4] = 1
    >>> image = torch.zeros(1, 1, 8, 8)
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> hd95_mm(labels.roll(2, 1), Originals(**pair, label_count=2, spacing_mm=(1.5, 1.0)))
    tensor([[3., nan]], dtype=torch.float64)
    """
    shape = originals.missing.shape
    distances = torch.full(shape, torch.nan, dtype=torch.float64)
    spacing_mm = originals.spacing_mm
    if spacing_mm is None:
        return distances
    moved_maps = moved_labels.cpu()
    fixed_maps = originals.fixed_labels.cpu()
    present = ~originals.missing
    for pair, place in present.nonzero().tolist():
        label = place + 1
        moved = moved_maps[pair] == label
        fixed = fixed_maps[pair] == label
        distance = _distance_mm(moved, fixed, spacing_mm)
        distances[pair, place] = distance
    return distances


def _ratio(covered: Tensor, volumes: Tensor, originals: Originals) -> Tensor:
    """Compute 2 · covered / volumes, NaN where one of the images lacks the label."""
    missing = originals.missing
    # where both volumes are 0 there would be no gradient either
    divisor = volumes.masked_fill(missing, 1)
    ratio = 2 * covered / divisor
    return ratio.masked_fill(missing, torch.nan)


def _distance_mm(moved: Tensor, fixed: Tensor, spacing_mm: tuple[float, ...]) -> float:
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    if not moved.any():
        sides = zip(fixed.shape, spacing_mm, strict=True)
        sides_mm = [size * step for size, step in sides]
        return math.hypot(*sides_mm)
    box = _bounding_box(moved | fixed)
    own_warning = ".*always_return_as_numpy"  # MONAI calls itself in a way that it warns of
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=own_warning, category=FutureWarning)
        distance = compute_hausdorff_distance(
            moved[box][None, None],
            fixed[box][None, None],
            include_background=True,
            percentile=PERCENTILE,
            spacing=list(spacing_mm),
        )
    return float(distance)


def _bounding_box(mask: Tensor) -> tuple[slice, ...]:
    """Return the smallest box that holds a mask.

    The faces of the box are borders of the mask, as those of the grid are.
    """
    # (voxels of the mask, d)
    places = mask.nonzero()
    first = places.amin(0)
    last = places.amax(0)
    end = last + 1
    sides = []
    for low, high in zip(first.tolist(), end.tolist(), strict=True):
        side = slice(low, high)
        sides.append(side)
    return tuple(sides)
