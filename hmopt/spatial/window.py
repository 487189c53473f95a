"""Sums and means over a window around every voxel."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def window_sum(image: Tensor, window: int) -> Tensor:
    """Give the sum over the part of a cubic window around each voxel that lies inside the grid.

    Only sums of what lies in the window are formed, so that nothing is lost to cancellation; its cost grows with the
    logarithm of the window.

    Parameters
    ----------
    image
        (batch, channel, *shape).
    window
        Side of the window, in voxels; odd.

    Returns
    -------
    Tensor
        (batch, channel, *shape).

    Examples
    --------
    >>> window_sum(torch.ones(1, 1, 1, 4), 3)[0, 0, 0]
    tensor([2., 3., 3., 2.])
    """
    total: Tensor = _WindowSum.apply(image, window)  # type: ignore[no-untyped-call]
    return total


def window_mean(image: Tensor, window: int) -> Tensor:
    """Give the mean over the part of a cubic window around each voxel that lies inside the grid.

    Parameters
    ----------
    image
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
    return window_sum(image, window) * _inverse_count(tuple(image.shape[2:]), window, image.dtype, image.device)


@lru_cache(maxsize=16)
def _inverse_count(shape: tuple[int, ...], window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Give one over the number of voxels in each window, (1, 1, *shape)."""
    with torch.inference_mode(False):  # it may be asked for there first, and is kept for who takes gradients
        return 1 / window_sum(torch.ones(1, 1, *shape, dtype=dtype, device=device), window)


class _WindowSum(torch.autograd.Function):
    """The sum, whose gradient is a sum over the same windows: nothing need be kept for it."""

    @staticmethod
    def forward(context: Any, image: Tensor, window: int) -> Tensor:
        context.window = window
        for axis in range(2, image.dim()):
            image = _sliding_sum(image, axis, window)
        return image

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return window_sum(gradient, context.window), None


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
