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
    """Give `moved(x) = image(x + displacement(x))`; outside the grid, the nearest voxel inside.

    Parameters
    ----------
    image
        (batch, channel, *shape), of the displacement's floating-point type.
    displacement
        (batch, d, *shape) with d = 2 or 3, in voxels, axes in array order. Not NaN where gradients are taken:
        they crash torch on a CPU.
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
    start, step = _unit_grid(tuple(displacement.shape[2:]), displacement.dtype, displacement.device)
    unit = torch.addcmul(start, displacement.flip(1), step).movedim(1, -1)
    interpolation = "bilinear" if mode == "linear" else "nearest"
    return functional.grid_sample(
        image, unit, mode=interpolation, padding_mode="border", align_corners=True
    )


@lru_cache(maxsize=16)
def _unit_grid(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Give every voxel's place in [-1, 1], (1, d, *shape), and the size of a voxel there, axes as grid_sample's."""
    with torch.inference_mode(
        False
    ):  # it may be asked for there first, and is kept for who takes gradients
        sides = torch.tensor([2 / max(size - 1, 1) for size in shape], dtype=dtype, device=device)
        step = sides.flip(0).reshape(1, -1, *[1] * len(shape))
        return identity_grid(shape, device).to(dtype).flip(1) * step - 1, step
