"""Sums and means over a window around every voxel."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

CACHED_VOXELS = 2**17
"""Voxels of images that a processor works on at once: 512 KiB, of which a step has two or three."""


def window_sum(image: Tensor, window: int) -> Tensor:
    """Compute the sum over the part of a cubic window around each voxel that lies inside the grid.

    Only sums of what lies in the window are formed, so that nothing is lost to cancellation; its
    cost grows with the logarithm of the window. Its adjoint is itself.

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
    """Compute the mean over the part of a cubic window around each voxel that lies inside the grid.

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
    shape = tuple(images.shape[2:])
    # (batch · channel, *shape)
    stack = images.flatten(0, 1)
    sums = []
    for part in cached_parts(stack):
        sum_of_part = window_sum(part, window)
        sums.append(sum_of_part)
    total = torch.cat(sums)

    # (1, *shape)
    share = inverse_count(shape, window, images.dtype, images.device)
    means = total * share
    return means.view_as(images)


def cached_parts(images: Tensor) -> tuple[Tensor, ...]:
    """Split images of shape (n, *shape) into parts that fit a processor's cache.

    An accelerator takes them whole.

    Examples
    --------
    >>> [len(part) for part in cached_parts(torch.zeros(8, 160, 160))]
    [5, 3]
    """
    on_processor = images.device.type == "cpu"
    if not on_processor:
        return (images,)
    _, *shape = images.shape
    voxels = math.prod(shape)
    fitting = CACHED_VOXELS // voxels
    at_once = max(1, fitting)
    return torch.split(images, at_once)


@lru_cache(maxsize=16)
def inverse_count(
    shape: tuple[int, ...],
    window: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Return one over the number of voxels inside the grid in each window: (1, *shape).

    The tensor is shared: do not write into it.

    Examples
    --------
    >>> inverse_count((1, 4), 3, torch.float32, torch.device("cpu"))[0, 0, :2]
    tensor([0.5000, 0.3333])
    """
    # made outside inference mode even if first asked for there: training uses the same tensor
    with torch.inference_mode(False):
        grid = (1, *shape)
        ones = torch.ones(grid, dtype=dtype, device=device)
        count = window_sum(ones, window)
        return 1 / count


def _sliding_sum(image: Tensor, axis: int, window: int) -> Tensor:
    """Compute the sum over a window along one axis by doubling.

    Sums of 1, 2, 4, ... neighbours are each the sum of two of the one before, and those that the
    binary digits of the window ask for are put together. For a window of 5 = 1 + 4 voxels, with p
    the image padded by 2 zeros on each side:

        pairs(x) = p(x) + p(x + 1)
        fours(x) = pairs(x) + pairs(x + 2)
        sum(x)   = p(x) + fours(x + 1)
    """
    size = image.shape[axis]
    half = window // 2
    # functional.pad takes the last axis first
    axes_after = image.dim() - axis - 1
    no_padding = [0, 0] * axes_after
    sums = functional.pad(image, [*no_padding, half, half])
    width = 1
    start = 0
    parts: list[Tensor] = []
    while width <= window:
        is_needed = window & width
        if is_needed:
            part = sums.narrow(axis, start, size)
            parts.append(part)
            start += width
        if 2 * width <= window:
            length = sums.shape[axis] - width
            near = sums.narrow(axis, 0, length)
            far = sums.narrow(axis, width, length)
            sums = near + far
        width *= 2

    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
