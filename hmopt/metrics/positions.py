"""Where a displacement takes values from on the moving grid, with borders as in `hmopt.spatial.warp`."""

import math

import torch
from torch import Tensor

from hmopt.spatial import identity_grid


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
    shape = tuple(displacement.shape[2:])
    grid = identity_grid(shape, displacement.device)
    positions = (grid + displacement).flatten(2)
    size = torch.tensor(shape, dtype=positions.dtype, device=positions.device)
    last = size - 1
    return positions.clamp(min=0).minimum(last[:, None])


def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many places of a flattened map lie between neighbours along each axis.

    Examples
    --------
    >>> strides((4, 5, 6))
    (30, 6, 1)
    """
    found = []
    for axis in range(len(shape)):
        faster_sides = shape[axis + 1 :]
        found.append(math.prod(faster_sides))
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
    map_size = math.prod(shape)
    number = torch.arange(len(voxels), device=voxels.device)
    places = number[:, None] * map_size
    for axis, stride in enumerate(strides(shape)):
        coordinate = voxels[:, axis].long()
        places = places + coordinate * stride
    return places


def nearest_labels(moving_labels: Tensor, positions: Tensor) -> Tensor:
    """Return the labels of the moving voxels nearest to some positions.

    Parameters
    ----------
    moving_labels
        (n, *shape), whole numbers.
    positions
        (n, d, voxels), as of `sampled_positions`.

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
    shape = tuple(moving_labels.shape[1:])
    places = flat_places(positions.round(), shape).flatten()
    moved = moving_labels.reshape(-1).index_select(0, places)
    return moved.reshape(moving_labels.shape)
