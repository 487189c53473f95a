"""The prepared grid of an image, and bringing voxels to it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import inv_ornt_aff, io_orientation
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.data.volume import Lattice

Matrix = NDArray[np.float64]
_SAME_SPACING = 1e-3


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The voxels of an image in RAS+ order: what a prepared grid is laid out in.

    Parameters
    ----------
    shape
        Voxels towards right, anterior and superior.
    spacing_mm
        Their distances.
    to_world
        (4, 4): voxel in RAS+ order to world, in mm.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    to_world: Matrix


def ras_frame(lattice: Lattice, axes: Matrix | None = None) -> Frame:
    """Give the RAS+ order of a file's voxels: axes swapped and mirrored, nothing resampled.

    Parameters
    ----------
    lattice
        Of the file.
    axes
        (3, 3): unit vectors, a column each, that take the place of right, anterior and superior (see `common_axes`).
    """
    affine = lattice.affine if axes is None else rotated(lattice.affine, axes)
    orientation = io_orientation(affine)
    to_world = lattice.affine @ inv_ornt_aff(orientation, lattice.shape)
    shape = np.empty(3, dtype=int)
    shape[orientation[:, 0].astype(int)] = lattice.shape
    return Frame(
        shape=tuple(shape.tolist()),
        spacing_mm=tuple(float(f"{size:.6g}") for size in voxel_sizes(to_world)),
        to_world=to_world,
    )


def rotated(affine: Matrix, axes: Matrix) -> Matrix:
    """Give an affine whose world has the axes given as (3, 3), unit vectors in columns, for its own."""
    turn = np.eye(4)
    turn[:3, :3] = np.linalg.inv(axes)
    return turn @ affine


def centred_grid(frame: Frame, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Matrix:
    """Give the grid of a shape and spacing that has the frame's centre.

    Where the spacing is the frame's own, voxels fall on voxels: an odd margin is cut unevenly instead of resampling
    everything by half a voxel.

    Returns
    -------
    NDArray
        (4, 4): prepared voxel to voxel of the frame.

    Examples
    --------
    >>> frame = Frame(shape=(5, 5, 5), spacing_mm=(1.0, 1.0, 1.0), to_world=np.eye(4))
    >>> centred_grid(frame, (2, 3, 9), (2.0, 1.0, 1.0))[:3]
    array([[ 2.,  0.,  0.,  1.],
           [ 0.,  1.,  0.,  1.],
           [ 0.,  0.,  1., -2.]])
    """
    ratio = np.array(spacing_mm) / np.array(frame.spacing_mm)
    same = np.abs(ratio - 1) < _SAME_SPACING
    ratio[same] = 1
    offset = (np.array(frame.shape) - 1) / 2 - ratio * (np.array(shape) - 1) / 2
    offset[same] = np.floor(offset[same])
    grid = np.diag([*ratio, 1.0])
    grid[:3, 3] = offset
    return grid


def slice_grid(
    frame: Frame,
    axis: int,
    index: int,
    shape: tuple[int, ...],
    spacing_mm: tuple[float, ...] | None,
) -> Matrix:
    """Give the centred grid of one plane.

    Parameters
    ----------
    axis, index
        The plane: the frame's axis that it lies across, and where on it.
    shape
        Voxels along the two other axes.
    spacing_mm
        Their distances; None: the frame's.

    Returns
    -------
    NDArray
        (4, 4): (first, second, off the plane, 1) to voxel of the frame.
    """
    plane = [a for a in range(3) if a != axis]
    whole_shape, whole_spacing = np.array(frame.shape), np.array(frame.spacing_mm)
    whole_shape[plane] = shape
    if spacing_mm is not None:
        whole_spacing[plane] = spacing_mm
    grid = centred_grid(frame, tuple(whole_shape.tolist()), tuple(whole_spacing.tolist()))
    grid[axis, 3] = index
    return grid[:, [*plane, axis, 3]]


def smooth_for(data: NDArray[np.float32], grid: Matrix, dimensions: int) -> NDArray[np.float32]:
    """Give the image without the detail that a coarser grid cannot hold.

    Parameters
    ----------
    data
        (x, y, z).
    grid
        (4, 4): prepared voxel to voxel of `data`.
    dimensions
        2 or 3: columns of `grid` that the prepared image extends along.
    """
    steps = np.linalg.norm(grid[:3, :dimensions], axis=1)
    sigma = np.maximum(0, (steps - 1) / 2)
    return (
        ndimage.gaussian_filter(data, sigma, mode="nearest")
        if (sigma > _SAME_SPACING).any()
        else data
    )


def resample(
    data: NDArray[Any], grid: Matrix, shape: tuple[int, ...], order: Literal[0, 1], outside: float
) -> NDArray[Any]:
    """Give an image's voxels on a prepared grid.

    Parameters
    ----------
    data
        (x, y, z).
    grid
        (4, 4): prepared voxel to voxel of `data`.
    shape
        2 or 3 numbers of voxels.
    order
        0: nearest neighbour, for labels; 1: linear.
    outside
        The value where `data` has no voxel.
    """
    whole = (*shape, 1) if len(shape) == 2 else shape
    # "constant" would drop a last voxel that rounding puts a hair outside
    moved: NDArray[Any] = ndimage.affine_transform(
        data,
        grid[:3, :3],
        grid[:3, 3],
        output_shape=whole,
        order=order,
        mode="grid-constant",
        cval=outside,
    )
    return moved.reshape(shape)
