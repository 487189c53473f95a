"""Distances of the surfaces of moved and fixed labels."""

import math
import warnings

import torch
from torch import Tensor

from hmopt.metrics.originals import Originals

PERCENTILE = 95


def hd95_mm(moved_labels: Tensor, originals: Originals) -> Tensor:
    """Compute the 95 % Hausdorff distance of each label: the larger of the 95th percentiles of both directions.

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
    distances = torch.full(originals.missing.shape, torch.nan, dtype=torch.float64)
    if originals.spacing_mm is None:
        return distances
    moved_maps = moved_labels.cpu()
    fixed_maps = originals.fixed_labels.cpu()
    present = (~originals.missing).nonzero()
    for pair, place in present.tolist():
        label = place + 1
        moved = moved_maps[pair] == label
        fixed = fixed_maps[pair] == label
        distances[pair, place] = _distance_mm(moved, fixed, originals.spacing_mm)
    return distances


def _distance_mm(moved: Tensor, fixed: Tensor, spacing_mm: tuple[float, ...]) -> float:
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    if not moved.any():
        sides_mm = [size * step for size, step in zip(fixed.shape, spacing_mm, strict=True)]
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
    """Return the smallest box that holds a mask; its faces are the mask's border, as those of the grid are."""
    places = mask.nonzero()
    first = places.amin(0).tolist()
    last = places.amax(0).tolist()
    sides = zip(first, last, strict=True)
    return tuple(slice(low, high + 1) for low, high in sides)
