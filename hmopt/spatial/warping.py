"""Warping of images by displacements."""

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from hmopt.spatial.grid import identity_grid


def warp(
    image: Tensor, displacement: Tensor, mode: Literal["linear", "nearest"] = "linear"
) -> Tensor:
    """Compute `moved(x) = image(x + displacement(x))`; outside the grid, the nearest voxel inside.

    Parameters
    ----------
    image
        (batch, channel, *shape), of the displacement's floating-point type.
    displacement
        (batch, d, *shape) with d = 2 or 3, in voxels, axes in array order. Not NaN where gradients
        are taken: they crash torch on a CPU.
    mode
        Interpolation.

    Returns
    -------
    Tensor
        (batch, channel, *shape).

    Examples
    --------
    >>> image = torch.tensor([[[[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]]])
    >>> half_a_voxel_along_y = torch.tensor([0.0, 0.5]).reshape(1, 2, 1, 1).expand(1, 2, 2, 3)
    >>> warp(image, half_a_voxel_along_y)[0, 0, 0]
    tensor([0.5000, 1.5000, 2.0000])
    """
    shape = tuple(displacement.shape[2:])
    start, step = _sampling_grid(shape, displacement.dtype, displacement.device)
    # start + displacement · step, with the channel of coordinates last
    coordinates = torch.addcmul(start, displacement.flip(1), step).movedim(1, -1)
    return functional.grid_sample(
        image,
        coordinates,
        mode="bilinear" if mode == "linear" else "nearest",
        padding_mode="border",
        align_corners=True,
    )


@lru_cache(maxsize=16)
def _sampling_grid(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return coordinates of `grid_sample`, which run from -1 to 1 along each axis, the last axis first.

    Returns
    -------
    Tensor
        Those of every voxel: (1, d, *shape).
    Tensor
        The size of a voxel: (1, d, 1, ..., 1).
    """
    # made outside inference mode even if first asked for there: training uses the same tensors
    with torch.inference_mode(False):
        sizes = [2 / max(size - 1, 1) for size in shape]
        size = torch.tensor(sizes, dtype=dtype, device=device)
        step = size.flip(0).reshape(1, -1, *[1] * len(shape))
        voxels = identity_grid(shape, device).to(dtype).flip(1)
        return voxels * step - 1, step
