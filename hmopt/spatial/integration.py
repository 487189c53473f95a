"""Integration of stationary velocities."""

from torch import Tensor

from hmopt.spatial.grid import refine_displacement
from hmopt.spatial.warping import warp


def integrate(velocity: Tensor, steps: int) -> Tensor:
    """Compute the displacement at time 1 of the flow of a stationary velocity, by scaling and squaring.

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
    Arsigny et al., MICCAI 2006, algorithm 2; Dalca et al., Medical Image Analysis 57, 2019, section 3.3.

    Examples
    --------
    >>> import torch
    >>> integrate(torch.full((1, 2, 4, 4), 0.5), steps=5).unique()
    tensor([0.5000])
    """
    displacement = velocity * 0.5**steps
    for _ in range(steps):
        displacement = displacement + warp(displacement, displacement)
    return displacement


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
    return refine_displacement(integrate(velocity, steps), stride)
