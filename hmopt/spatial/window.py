"""Sums and means over a window around every voxel."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

CACHED_VOXELS = 2**17
"""Voxels of the images that are worked on at once on a processor: 512 KiB, of which a step has two or three."""


def window_sum(image: Tensor, window: int) -> Tensor:
    """Give the sum over the part of a cubic window around each voxel that lies inside the grid.

    Only sums of what lies in the window are formed, so that nothing is lost to cancellation; its cost grows with the
    logarithm of the window. Its adjoint is itself.

    Parameters
    ----------
    image
        (n, *shape).
    window
        Side of the window, in voxels; odd.

    Returns
    -------
    Tensor
        (n, *shape).

    Examples
    --------
    >>> window_sum(torch.ones(1, 1, 4), 3)[0, 0]
    tensor([2., 3., 3., 2.])
    """
    for axis in range(1, image.dim()):
        image = _sliding_sum(image, axis, window)
    return image


def window_mean(images: Tensor, window: int) -> Tensor:
    """Give the mean over the part of a cubic window around each voxel that lies inside the grid.

    Parameters
    ----------
    images
        (batch, channel, *shape).
    window
        Side of the window, in voxels; odd.

    Returns
    -------
    Tensor
        (batch, channel, *shape).

    Examples
    --------
    >>> window_mean(torch.tensor([[[[0.0, 3.0, 6.0]]]]), 3)[0, 0, 0]
    tensor([1.5000, 3.0000, 4.5000])
    """
    inverse = inverse_count(tuple(images.shape[2:]), window, images.dtype, images.device)
    sums = [window_sum(part, window) for part in cached_parts(images.flatten(0, 1))]
    return (torch.cat(sums) * inverse).view_as(images)


def cached_parts(images: Tensor) -> tuple[Tensor, ...]:
    """Split images of shape (n, *shape) into parts that stay in a processor's cache; an accelerator takes them whole.

    Examples
    --------
    >>> [len(part) for part in cached_parts(torch.zeros(8, 160, 160))]
    [5, 3]
    """
    many = (
        len(images)
        if images.device.type != "cpu"
        else max(1, CACHED_VOXELS // math.prod(images.shape[1:]))
    )
    return torch.split(images, many)


@lru_cache(maxsize=16)
def inverse_count(
    shape: tuple[int, ...], window: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Give one over the number of voxels inside the grid in each window, (1, *shape). Shared: do not write into it.

    Examples
    --------
    >>> inverse_count((1, 4), 3, torch.float32, torch.device("cpu"))[0, 0, :2]
    tensor([0.5000, 0.3333])
    """
    with torch.inference_mode(
        False
    ):  # it may be asked for there first, and is kept for who takes gradients
        return 1 / window_sum(torch.ones(1, *shape, dtype=dtype, device=device), window)


def _sliding_sum(image: Tensor, axis: int, window: int) -> Tensor:
    """Sum over windows by doubling: sums of 1, 2, 4, ... voxels, put together by the window's binary digits."""
    size, half = image.shape[axis], window // 2
    padding = [0] * (2 * (image.dim() - axis - 1)) + [half, half]
    power, width, start = functional.pad(image, padding), 1, 0
    parts: list[Tensor] = []
    while width <= window:
        if window & width:
            parts.append(power.narrow(axis, start, size))
            start += width
        if 2 * width <= window:
            length = power.shape[axis] - width
            power = power.narrow(axis, 0, length) + power.narrow(axis, width, length)
        width *= 2
    return sum(parts[1:], parts[0])
