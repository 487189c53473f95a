"""Overlap of moved and fixed labels, and distances of their surfaces.

Dice is computed of all labels at once: its cost does not grow with their number.
"""

import itertools
import math
import warnings
from typing import Any

import torch
from torch import Tensor

from hmopt.metrics.originals import Originals, label_volumes
from hmopt.spatial import identity_grid

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
    >>> labels = torch.tensor([[[0, 1, 1, 0, 0], [0, 1, 1, 0, 0]]])
    >>> half_a_voxel_along_y = torch.tensor([0.0, 0.5]).reshape(1, 2, 1, 1).expand(1, 2, 2, 5)
    >>> image = torch.zeros(1, 1, 2, 5)
    >>> pair = {"moving": image, "fixed": image, "moving_labels": labels, "fixed_labels": labels}
    >>> originals = Originals(**pair, label_count=1, spacing_mm=None)
    >>> dice(sampled_positions(half_a_voxel_along_y), originals)
    tensor([[0.7500]], dtype=torch.float64)
    """
    # (n, fixed label, moved label); the others (n, label)
    histogram = joint_histogram(positions, originals)
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


def joint_histogram(positions: Tensor, originals: Originals) -> Tensor:
    """Compute how much of each fixed label each linearly interpolated moved label covers.

    Every fixed voxel x takes its value at a position p, between the 2^d moving voxels that are the
    corners of a cube. Corner q has the share w(q) of the cube's volume that lies across from it, as
    in linear interpolation, and

        H(f, m) = Σ w(q)  over fixed voxels x of label f and corners q, of label m, of their cubes

    Voxels whose corners are all background over background are passed over, so that H(0, 0) means
    nothing.

    Parameters
    ----------
    positions
        (n, d, voxels): where fixed voxels take values, as `sampled_positions` returns them.
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
    The voxel at 1 takes its value a quarter of a voxel further on, at 1.25, from the voxels at 1
    and 2: three quarters of its label 1 are covered by label 1, and one quarter by label 2. The
    voxel at 2 is covered by label 2.

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
    device = positions.device
    # all pairs in one row: (n · voxels,)
    fixed = originals.fixed_labels.reshape(-1)
    moving = originals.moving_labels.reshape(-1)

    # the corner of each cube with the smallest coordinates, (n, d, voxels); a cube that began at
    # the last voxel of an axis would leave the grid
    last_low = [max(side - 2, 0) for side in shape]
    bound = torch.tensor(last_low, dtype=positions.dtype, device=device)
    low = positions.floor()
    low = low.minimum(bound.unsqueeze(1))
    places = flat_places(low, shape).flatten()

    # the voxels that can add anything: (kept,)
    near_foreground = originals.near_foreground.reshape(-1)
    from_foreground = near_foreground.index_select(0, places)
    to_foreground = fixed > 0
    counts = from_foreground | to_foreground
    kept = counts.nonzero().squeeze(1)
    places = places.index_select(0, kept)
    # how far along each axis of its cube a position is, in [0, 1]: (d, kept)
    along = positions - low
    along = along.movedim(1, 0).flatten(1)
    along = along.index_select(1, kept)

    # H is counted flat, with c codes, the labels and background: pair p, fixed label f and moved
    # label m add to cell (p c + f) c + m
    codes = originals.label_count + 1
    pair = kept // math.prod(shape)
    pair = pair.to(fixed.dtype)
    fixed_label = fixed.index_select(0, kept)
    row = (pair * codes + fixed_label) * codes
    cells = count * codes**2
    histogram = torch.zeros(cells, dtype=torch.float64, device=device)
    corners = itertools.product((0, 1), repeat=len(shape))
    for corner in corners:
        step = _step_to(corner, shape)
        at_corner = moving[step:]
        moved_label = at_corner.index_select(0, places)
        cell = row + moved_label
        share = _share_of(corner, along)
        histogram += _counted(cell, share.double(), cells)
    return histogram.reshape(count, codes, codes)


def sampled_positions(displacement: Tensor) -> Tensor:
    """Return where each fixed voxel takes its value, clamped to the grid.

    Parameters
    ----------
    displacement
        (n, d, *shape), in voxels.

    Returns
    -------
    Tensor
        (n, d, voxels): coordinates from 0 to size - 1 along each axis, in voxels.

    Examples
    --------
    >>> sampled_positions(torch.full((1, 2, 2, 2), 0.25))[0, 0]
    tensor([0.2500, 0.2500, 1.0000, 1.0000])
    """
    _, _, *shape = displacement.shape
    device = displacement.device
    grid = identity_grid(tuple(shape), device)
    sampled = grid + displacement
    # (n, d, voxels)
    positions = sampled.flatten(2)
    size = torch.tensor(shape, dtype=positions.dtype, device=device)
    last = size - 1
    positions = positions.clamp(min=0)
    return positions.minimum(last.unsqueeze(1))


def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many places of a flattened map lie between neighbours along each axis.

    Examples
    --------
    >>> strides((4, 5, 6))
    (30, 6, 1)
    """
    found = []
    for axis, _ in enumerate(shape, start=1):
        faster_sides = shape[axis:]
        stride = math.prod(faster_sides)
        found.append(stride)
    return tuple(found)


def flat_places(voxels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the places in a flattened stack of maps of whole-numbered coordinates.

    Parameters
    ----------
    voxels
        (n, d, m), the first map's coordinates, the second's, and so on.
    shape
        Voxels of each map along each of d axes.

    Returns
    -------
    Tensor
        (n, m), int64.

    Examples
    --------
    >>> flat_places(torch.tensor([[[1.0], [2.0]], [[0.0], [0.0]]]), (4, 5))
    tensor([[ 7],
            [20]])
    """
    count = len(voxels)
    map_size = math.prod(shape)
    numbers = torch.arange(count, device=voxels.device)
    # (n, 1): where each map begins
    places = numbers.unsqueeze(1) * map_size
    # (n, m) each
    coordinates = voxels.unbind(1)
    for coordinate, stride in zip(coordinates, strides(shape), strict=True):
        steps = coordinate.long() * stride
        places = places + steps
    return places


def nearest_labels(moving_labels: Tensor, positions: Tensor) -> Tensor:
    """Return the labels of the moving voxels nearest to some positions.

    Parameters
    ----------
    moving_labels
        (n, *shape), whole numbers.
    positions
        (n, d, voxels), as `sampled_positions` returns them.

    Returns
    -------
    Tensor
        (n, *shape).

    Examples
    --------
    >>> labels = torch.tensor([[[1, 2, 3]]])
    >>> nearest_labels(labels, sampled_positions(torch.full((1, 2, 1, 3), 0.75)))
    tensor([[[2, 3, 3]]])
    """
    _, *shape = moving_labels.shape
    nearest = positions.round()
    places = flat_places(nearest, tuple(shape))
    # all maps in one row: (n · voxels,)
    in_a_row = moving_labels.reshape(-1)
    moved = in_a_row.index_select(0, places.flatten())
    return moved.reshape(moving_labels.shape)


class _WeightedCount(torch.autograd.Function):
    """`torch.bincount` of weights, with the gradient that it lacks.

    A weight adds to one cell, so that the gradient of the weight is that of its cell.
    """

    @staticmethod
    def forward(ctx: Any, cell: Tensor, weights: Tensor, cells: int) -> Tensor:
        ctx.save_for_backward(cell)
        return torch.bincount(cell, weights, minlength=cells)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        (cell,) = ctx.saved_tensors
        return None, gradients[0].index_select(0, cell), None


def _counted(cell: Tensor, weights: Tensor, cells: int) -> Tensor:
    """Return the sum of the weights of each cell, (cells,)."""
    counted: Tensor = _WeightedCount.apply(cell, weights, cells)  # type: ignore[no-untyped-call]
    return counted


def _step_to(corner: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Return how far after the lowest corner of a cube another lies in a flattened map.

    Along an axis of one voxel a cube has no far side: its own voxel stands for that, with a share
    of 0.
    """
    step = 0
    axes = zip(corner, strides(shape), shape, strict=True)
    for is_far, stride, side in axes:
        has_far_side = side > 1
        if is_far and has_far_side:
            step += stride
    return step


def _share_of(corner: tuple[int, ...], along: Tensor) -> Tensor:
    """Compute w, (kept,): the product over axes of how near positions are to a corner."""
    shares = []
    for along_axis, is_far in zip(along, corner, strict=True):
        nearness = along_axis if is_far else 1 - along_axis
        shares.append(nearness)
    product: Tensor = shares[0]
    for share in shares[1:]:
        product = product * share
    return product


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
