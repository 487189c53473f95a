"""Integration of stationary velocities, and displacements on finer grids."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from hmopt.spatial.axes import along_axes
from hmopt.spatial.warping import warp


def integrate(velocity: Tensor, steps: int) -> Tensor:
    """Compute the displacement at time 1 of a stationary velocity's flow, by scaling and squaring.

    A small part of the flow is nearly its velocity, u_0(x) = v(x) / 2^steps. Each step follows the
    flow for twice as long, by following it twice: u_{k+1}(x) = u_k(x) + u_k(x + u_k(x)).

    Parameters
    ----------
    velocity
        (batch, d, *shape), in voxels of its own grid per unit of time.
    steps
        Scaling-and-squaring steps; 0: the velocity itself.

    Returns
    -------
    Tensor
        (batch, d, *shape), in voxels of the same grid.

    References
    ----------
    Arsigny et al., MICCAI 2006, algorithm 2; Dalca et al., Medical Image Analysis 57, 2019,
    section 3.3.

    Examples
    --------
    >>> import torch
    >>> integrate(torch.full((1, 2, 4, 4), 0.5), steps=5).unique()
    tensor([0.5000])
    """
    displacement = velocity * 0.5**steps
    for _ in range(steps):
        further = warp(displacement, displacement)
        displacement = displacement + further
    return displacement


def refine_displacement(displacement: Tensor, factor: int) -> Tensor:
    """Return a displacement on a grid that is finer by a whole factor.

    A coarse voxel i is centred on the fine voxels from `factor * i` to `factor * i + factor - 1`;
    vectors are counted in voxels of the fine grid.

    Parameters
    ----------
    displacement
        (batch, d, *shape), in voxels of its own grid.
    factor
        Fine voxels to a coarse one along each axis.

    Returns
    -------
    Tensor
        (batch, d, *(factor * shape)), in voxels of the fine grid.

    Examples
    --------
    >>> import torch
    >>> refine_displacement(torch.ones(1, 2, 3, 3), 2).unique()
    tensor([2.])
    """
    if factor == 1:
        return displacement
    d = displacement.shape[1]
    in_fine_voxels = displacement * factor
    on_processor = displacement.device.type == "cpu"
    if d == 3 and on_processor and not torch.compiler.is_exporting():
        return _finer_volumes(in_fine_voxels, factor)
    mode = "bilinear" if d == 2 else "trilinear"
    return functional.interpolate(
        in_fine_voxels, scale_factor=factor, mode=mode, align_corners=False
    )


def _finer_volumes(volumes: Tensor, factor: int) -> Tensor:
    """Interpolate linearly, axis by axis, each time by a product with a matrix.

    The values are those of torch's `interpolate` up to rounding. On a processor that one takes 2.5
    times as long with its gradient.

    Parameters
    ----------
    volumes
        (batch, channel, *shape), of three axes.
    factor
        Fine voxels to a coarse one along each axis.

    Returns
    -------
    Tensor
        (batch, channel, *(factor * shape)).
    """
    _, _, *shape = volumes.shape
    matrices = []
    for size in shape:
        matrix = _interpolation(size, factor, volumes.dtype, volumes.device)
        matrices.append(matrix)
    return along_axes(volumes, matrices)


@lru_cache(maxsize=16)
def _interpolation(size: int, factor: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix of linear interpolation along an axis: (factor · size, size)."""
    # made outside inference mode even if first asked for there: training uses the same tensor
    with torch.inference_mode(False):
        # as channels: at each coarse voxel in turn 1, elsewhere 0
        units = torch.eye(size, dtype=dtype, device=device).unsqueeze(0)
        columns = functional.interpolate(
            units, scale_factor=factor, mode="linear", align_corners=False
        )
        return columns.squeeze(0).T.contiguous()


def velocity_to_displacement(velocity: Tensor, steps: int, stride: int) -> Tensor:
    """Integrate a velocity on its own grid, and return the displacement on the grid of the images.

    Parameters
    ----------
    velocity
        (batch, d, *shape / stride), in voxels of its own grid.
    steps
        Scaling-and-squaring steps.
    stride
        Image voxels to a voxel of the velocity along each axis.

    Returns
    -------
    Tensor
        (batch, d, *shape), in voxels of the images' grid.

    Examples
    --------
    >>> import torch
    >>> velocity_to_displacement(torch.ones(1, 2, 4, 4), steps=5, stride=2).shape
    torch.Size([1, 2, 8, 8])
    """
    on_own_grid = integrate(velocity, steps)
    return refine_displacement(on_own_grid, stride)
