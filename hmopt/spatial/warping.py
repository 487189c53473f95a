"""Images as tensors, coordinates of their voxels, and warping by displacements."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

CPU = torch.device("cpu")
GRID_SAMPLE_MODES = {"linear": "bilinear", "nearest": "nearest"}
"""What `grid_sample` calls the interpolations, in 2-D and 3-D."""


def image_tensor(images: Sequence[NDArray[np.floating]]) -> Tensor:
    """Return images as one tensor on the processor.

    Parameters
    ----------
    images
        n arrays of one shape.

    Returns
    -------
    Tensor
        (n, 1, *shape), float32.

    Examples
    --------
    >>> image_tensor([np.zeros((4, 6)), np.ones((4, 6))]).shape
    torch.Size([2, 1, 4, 6])
    """
    # stacked by NumPy: threads that torch starts would take processors from those that compute
    stacked = np.stack(images)
    intensities = stacked.astype(np.float32, copy=False)
    tensor = torch.from_numpy(intensities)
    return tensor.unsqueeze(1)


def label_tensor(label_maps: Sequence[NDArray[Any]]) -> Tensor:
    """Return label maps as one tensor on the processor.

    Parameters
    ----------
    label_maps
        n arrays of one shape.

    Returns
    -------
    Tensor
        (n, *shape), int32.

    Examples
    --------
    >>> label_tensor([np.ones((4, 6), np.uint8)]).dtype
    torch.int32
    """
    stacked = np.stack(label_maps)
    labels = stacked.astype(np.int32)
    return torch.from_numpy(labels)


@lru_cache(maxsize=16)
def identity_grid(shape: tuple[int, ...], device: torch.device = CPU) -> Tensor:
    """Return the coordinates of every voxel, made once for each shape and device.

    Parameters
    ----------
    shape
        Voxels along each of d axes.
    device
        Where the tensor lives.

    Returns
    -------
    Tensor
        (1, d, *shape), in voxels. Shared: do not write into it.

    Examples
    --------
    >>> identity_grid((2, 3))[0, 1]
    tensor([[0., 1., 2.],
            [0., 1., 2.]])
    """
    # made outside inference mode even if first asked for there: training uses the same tensor
    with torch.inference_mode(False):
        axes = []
        for size in shape:
            voxels = torch.arange(size, dtype=torch.float32, device=device)
            axes.append(voxels)
        coordinates = torch.meshgrid(*axes, indexing="ij")
        # (d, *shape)
        grid = torch.stack(coordinates)
        return grid.unsqueeze(0)


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
    find_places = _places_of_any_shape if torch.compiler.is_exporting() else _places
    places = find_places(displacement)
    return functional.grid_sample(
        image,
        places,
        mode=GRID_SAMPLE_MODES[mode],
        padding_mode="border",
        align_corners=True,
    )


def _places(displacement: Tensor) -> Tensor:
    """Return where a displacement takes each voxel, as `grid_sample` has it: (batch, *shape, d)."""
    shape = tuple(displacement.shape[2:])
    start, step = _sampling_grid(shape, displacement.dtype, displacement.device)
    # grid_sample wants the last axis first: start + displacement · step, (batch, d, *shape)
    components = displacement.unbind(1)
    # the same as a flip, which copies element by element
    reversed_axes = torch.stack(components[::-1], 1)
    coordinates = torch.addcmul(start, reversed_axes, step)
    return coordinates.movedim(1, -1)


def _places_of_any_shape(displacement: Tensor) -> Tensor:
    """Return the same as `_places`, in operations that hold for every shape and device.

    An exported program records operations. A grid that was made once would be recorded as a
    constant, of one shape and on one device; running sums of ones are the voxels' numbers anywhere.
    """
    d = displacement.shape[1]
    # grid_sample wants the last axis first
    last_first = []
    for axis in reversed(range(d)):
        # (batch, *shape)
        component = displacement[:, axis]
        ones = torch.ones_like(component)
        voxels = ones.cumsum(axis + 1) - 1
        size = displacement.shape[axis + 2]
        extent = size - 1 if size > 1 else 1
        coordinate = (voxels + component) * (2 / extent) - 1
        last_first.append(coordinate)
    return torch.stack(last_first, -1)


@lru_cache(maxsize=16)
def _sampling_grid(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return coordinates for `grid_sample`: from -1 to 1 along each axis, the last axis first.

    Returns
    -------
    Tensor
        Those of every voxel: (1, d, *shape).
    Tensor
        The size of a voxel: (1, d, 1, ..., 1).
    """
    # made outside inference mode even if first asked for there: training uses the same tensors
    with torch.inference_mode(False):
        # a voxel's share of the 2 from end to end of each axis, the last axis first
        steps = [2 / max(size - 1, 1) for size in reversed(shape)]
        each_voxel = [1] * len(shape)
        step = torch.tensor(steps, dtype=dtype, device=device)
        step = step.reshape(1, -1, *each_voxel)

        # (1, d, *shape)
        grid = identity_grid(shape, device)
        voxels = grid.to(dtype).flip(1)
        start = voxels * step - 1
        return start, step
