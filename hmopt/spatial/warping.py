"""Images as tensors, coordinates of their voxels, and warping by displacements."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

CPU = torch.device("cpu")
MOST_CHANNELS = 3
"""Channels of volumes that `_VolumesWithGradient` warps: images have one, displacements three."""
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
    if mode == "linear" and _are_volumes_with_gradient(image, displacement):
        moved: Tensor = _VolumesWithGradient.apply(image, displacement)  # type: ignore[no-untyped-call]
        return moved
    find_places = _places_of_any_shape if torch.compiler.is_exporting() else _places
    places = find_places(displacement)
    return functional.grid_sample(
        image,
        places,
        mode=GRID_SAMPLE_MODES[mode],
        padding_mode="border",
        align_corners=True,
    )


def _are_volumes_with_gradient(image: Tensor, displacement: Tensor) -> bool:
    """Return whether `_VolumesWithGradient` serves: a gradient is taken of volumes of few channels on a processor.

    Gradients of several images are left to `grid_sample`, which divides a batch among threads.
    """
    are_volumes = image.ndim == 5 and min(image.shape[2:]) > 1
    is_divided = image.requires_grad and image.shape[0] > 1
    wants_gradient = (image.requires_grad or displacement.requires_grad) and torch.is_grad_enabled()
    return (
        are_volumes
        and wants_gradient
        and not is_divided
        and image.shape[1] <= MOST_CHANNELS
        and image.device.type == "cpu"
        and not torch.compiler.is_exporting()
    )


class _VolumesWithGradient(torch.autograd.Function):
    """Warp volumes, and compute the gradient with respect to the displacement along with them.

    A place x + u(x) lies in a cell of eight voxels, at fractions f of its edges. With p and q the
    intensities at the two ends of an edge along z, interpolation gives p + f_z (q - p), whose
    derivative is q - p. Four such edges are interpolated along y, and the two results along x. The
    same differences make value and gradient, so that intensities are read once. `grid_sample` reads
    them again for the gradient, and takes twice as long in all on a processor.
    """

    @staticmethod
    def forward(context: Any, image: Tensor, displacement: Tensor) -> Tensor:
        """Return the warped volumes: (batch, channel, *shape)."""
        first_corner, fraction, is_inside = _cells(displacement, channels=image.shape[1])
        f_x, f_y, f_z = fraction.unbind(1)
        intensities = image.flatten()
        next_x, next_y = _steps(image)

        def corner(further: int) -> Tensor:
            read = intensities[further:].index_select(0, first_corner)
            return read.view(*image.shape[:2], -1)

        def edge(further: int) -> tuple[Tensor, Tensor]:
            start = corner(further)
            difference = corner(further + 1) - start
            return torch.addcmul(start, f_z, difference), difference

        edge_00, along_z_00 = edge(0)
        edge_01, along_z_01 = edge(next_y)
        edge_10, along_z_10 = edge(next_x)
        edge_11, along_z_11 = edge(next_x + next_y)

        # both faces of the cell that are perpendicular to x
        along_y_0 = edge_01 - edge_00
        along_y_1 = edge_11 - edge_10
        face_0 = torch.addcmul(edge_00, f_y, along_y_0)
        face_1 = torch.addcmul(edge_10, f_y, along_y_1)

        along_x = face_1 - face_0
        moved = torch.addcmul(face_0, f_x, along_x)

        along_y = torch.lerp(along_y_0, along_y_1, f_x)
        along_z_0 = torch.lerp(along_z_00, along_z_01, f_y)
        along_z_1 = torch.lerp(along_z_10, along_z_11, f_y)
        along_z = torch.lerp(along_z_0, along_z_1, f_x)
        # (batch, 3, channel, voxel); beyond the border the image is constant
        gradient = torch.stack([along_x, along_y, along_z], 1) * is_inside
        context.save_for_backward(first_corner, fraction, gradient)
        return moved.view(image.shape)

    @staticmethod
    @once_differentiable
    def backward(context: Any, moved_gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the gradients of image, (batch, channel, *shape), and displacement, (batch, 3, *shape)."""
        first_corner, fraction, gradient = context.saved_tensors
        batch, channels, *shape = moved_gradient.shape
        of_moved = moved_gradient.reshape(batch, channels, -1)
        of_displacement = (gradient * of_moved.unsqueeze(1)).sum(2).view(batch, 3, *shape)
        if not context.needs_input_grad[0]:
            return None, of_displacement

        # the transpose of interpolation: each voxel adds its gradient to the corners of its cell
        next_x, next_y = _steps(moved_gradient)
        first_corner = first_corner.long()
        of_image = torch.zeros_like(of_moved).flatten()
        f_x, f_y, f_z = fraction.unbind(1)
        for face, of_face in _shared(of_moved, f_x, next_x):
            for edge, of_edge in _shared(of_face, f_y, next_y):
                for corner, of_corner in _shared(of_edge, f_z, 1):
                    at_corners = of_image[face + edge + corner :]
                    at_corners.scatter_add_(0, first_corner, of_corner.flatten())
        return of_image.view(moved_gradient.shape), of_displacement


def _shared(gradient: Tensor, fraction: Tensor, step: int) -> list[tuple[int, Tensor]]:
    """Divide a gradient among the two ends of an edge by linear interpolation.

    Returns
    -------
    list of (int, Tensor)
        For each end its distance in memory from the first one, and its share.
    """
    further = gradient * fraction
    return [(0, gradient - further), (step, further)]


def _steps(volumes: Tensor) -> tuple[int, int]:
    """Return how far the next voxel along x and along y lies in memory."""
    next_y = volumes.shape[4]
    return volumes.shape[3] * next_y, next_y


def _cells(displacement: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cell of eight voxels that a displacement takes each voxel into.

    Returns
    -------
    Tensor
        The number of its first voxel among those of all volumes and channels:
        (batch · channel · voxel,), int32.
    Tensor
        The place within the cell, from 0 to 1 along each axis: (batch, 3, 1, voxel).
    Tensor
        Whether the place is inside the volume along each axis: (batch, 3, 1, voxel).
    """
    batch, _, *shape = displacement.shape
    place = identity_grid(tuple(shape), displacement.device) + displacement
    last_voxel = torch.tensor(shape, dtype=place.dtype).view(1, 3, 1, 1, 1) - 1
    inside = torch.minimum(place.clamp_min(0), last_voxel)
    corner = torch.minimum(inside.floor(), last_voxel - 1)

    x, y, z = corner.int().unbind(1)
    _, y_size, z_size = shape
    voxel = ((x * y_size + y) * z_size + z).view(batch, 1, -1)
    volumes = torch.arange(batch * channels, dtype=torch.int32).view(batch, channels, 1)
    among_all = voxel + volumes * voxel.shape[2]
    each = (batch, 3, 1, -1)
    return among_all.flatten(), (inside - corner).view(each), (place == inside).view(each)


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
