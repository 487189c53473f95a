"""Label maps that displacements move: their nearest labels, and how much of each label covers each other."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from hmopt.spatial.warping import identity_grid


def joint_histogram(
    positions: Tensor,
    moving_labels: Tensor,
    fixed_labels: Tensor,
    label_count: int,
    near_foreground: Tensor | None = None,
) -> Tensor:
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
    moving_labels, fixed_labels
        (n, *shape), whole numbers from 0 (background) to `label_count`.
    label_count
        Number of labels.
    near_foreground
        What `find_near_foreground` returns of the moving labels; None: it is computed here.

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

    >>> labels = torch.tensor([[[0, 1, 2, 2]]])
    >>> quarter_along_y = torch.tensor([0.0, 0.25]).reshape(1, 2, 1, 1).expand(1, 2, 1, 4)
    >>> joint_histogram(sampled_positions(quarter_along_y), labels, labels, 2)[0, 1:]
    tensor([[0.0000, 0.7500, 0.2500],
            [0.0000, 0.0000, 2.0000]], dtype=torch.float64)
    """
    count, *sides = moving_labels.shape
    shape = tuple(sides)
    device = positions.device
    # all pairs in one row: (n · voxels,)
    fixed = fixed_labels.reshape(-1)
    moving = moving_labels.reshape(-1)

    # the corner of each cube with the smallest coordinates, (n, d, voxels); a cube that began at
    # the last voxel of an axis would leave the grid
    last_low = [max(side - 2, 0) for side in shape]
    bound = torch.tensor(last_low, dtype=positions.dtype, device=device)
    low = positions.floor()
    low = low.minimum(bound.unsqueeze(1))
    # NaN has no place on the grid; its shares stay NaN, and so does what they are added to
    low = low.nan_to_num(0)
    places = flat_places(low, shape).flatten()

    # the voxels that can add anything: (kept,)
    if near_foreground is None:
        near_foreground = find_near_foreground(moving_labels)
    from_foreground = near_foreground.reshape(-1).index_select(0, places)
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
    codes = label_count + 1
    pair = kept // math.prod(shape)
    # numbers of cells exceed what 8 bits hold, as label maps may have
    pair = pair.to(torch.promote_types(fixed.dtype, torch.int32))
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


def find_near_foreground(moving_labels: Tensor) -> Tensor:
    """Return which voxels are labelled, or have a labelled neighbour that follows along any axes.

    Parameters
    ----------
    moving_labels
        (n, *shape), whole numbers, 0 for background.

    Returns
    -------
    Tensor
        (n, *shape), bool. A cube that begins at any other voxel has background at all corners.

    Examples
    --------
    >>> find_near_foreground(torch.tensor([[[0, 0, 3, 0]]]))
    tensor([[[False,  True,  True, False]]])
    """
    near = moving_labels > 0
    for axis in range(1, near.dim()):
        following = near.roll(-1, axis)
        near = near | following
    return near


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
