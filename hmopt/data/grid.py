"""The prepared grids of an image, and bringing voxels to them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import inv_ornt_aff, io_orientation
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.data.volume import Lattice
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError, DeclarationError

Matrix = NDArray[np.float64]
NO_SLICE = -1
SAME_SPACING = 0.01
"""Share by which spacings may differ and count as one: those of a cohort's images, or of a model and an image."""
SAME_STEP = 1e-3
"""Share by which steps of a grid may differ from an image's voxels that are taken as they are, without resampling."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The voxels of an image in RAS+ order, in which a prepared grid is laid out.

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


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The prepared grids of one image.

    Parameters
    ----------
    slices
        The voxel along the slice axis of each grid; `NO_SLICE` where the image is taken as it is.
    grids
        (4, 4) each: prepared voxel to voxel of the frame.
    spacing_mm
        Distances of prepared voxels, 2 or 3.
    """

    slices: tuple[int, ...]
    grids: tuple[Matrix, ...]
    spacing_mm: tuple[float, ...]


def ras_frame(lattice: Lattice, axes: Matrix | None = None) -> Frame:
    """Return the RAS+ order of a file's voxels: axes swapped and mirrored, nothing resampled.

    Parameters
    ----------
    lattice
        Of the file.
    axes
        (3, 3): unit vectors, a column each, that take the place of right, anterior and superior
        (see `common_axes`).
    """
    orientation = io_orientation(rotated(lattice.affine, axes))
    to_world = lattice.affine @ inv_ornt_aff(orientation, lattice.shape)
    places = orientation[:, 0].astype(int)
    shape = np.empty(3, dtype=int)
    shape[places] = lattice.shape
    # six digits: float32 headers hold no more
    spacing_mm = [float(f"{size:.6g}") for size in voxel_sizes(to_world)]
    return Frame(
        shape=tuple(shape.tolist()),
        spacing_mm=tuple(spacing_mm),
        to_world=to_world,
    )


def rotated(affine: Matrix, axes: Matrix | None) -> Matrix:
    """Return an affine whose world has other axes.

    Parameters
    ----------
    affine
        (4, 4): voxel to world.
    axes
        (3, 3): unit vectors, a column each; None: the world's own.
    """
    if axes is None:
        return affine
    rotation = np.eye(4)
    rotation[:3, :3] = np.linalg.inv(axes)
    return rotation @ affine


def centred_grid(frame: Frame, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> Matrix:
    """Return the grid of a shape and spacing that has the frame's centre.

    With N voxels of spacing s in the frame, and n voxels of spacing r along the same axis of the
    grid, prepared voxel i lies at voxel

        (N - 1) / 2 + (i - (n - 1) / 2) r / s

    of the frame. Where r = s, this is rounded down to a whole number: an odd margin is cut
    unevenly, and nothing is resampled by half a voxel.

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
    ratio = np.divide(spacing_mm, frame.spacing_mm)
    same = np.abs(ratio - 1) < SAME_STEP
    ratio[same] = 1
    frame_middle = np.subtract(frame.shape, 1) / 2
    grid_middle = ratio * np.subtract(shape, 1) / 2
    offset = frame_middle - grid_middle
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
    """Return the centred grid of one plane.

    Parameters
    ----------
    frame
        The image's voxels.
    axis, index
        The axis of the frame that the plane lies across, and the plane's voxel along it.
    shape
        Voxels along the two other axes.
    spacing_mm
        Their distances; None: the frame's.

    Returns
    -------
    NDArray
        (4, 4): (first, second, off the plane, 1) to voxel of the frame.
    """
    plane = [other for other in range(3) if other != axis]
    whole_shape = np.array(frame.shape)
    whole_shape[plane] = shape
    whole_spacing = np.array(frame.spacing_mm)
    if spacing_mm is not None:
        whole_spacing[plane] = spacing_mm
    grid = centred_grid(frame, tuple(whole_shape.tolist()), tuple(whole_spacing.tolist()))
    grid[axis, 3] = index
    return grid[:, [*plane, axis, 3]]


def lay_out(
    frame: Frame,
    options: PreprocessingOptions,
    origin: str,
    plane: int | None = None,
) -> Layout:
    """Return the prepared grids of an image: one, or one a declared slice.

    Parameters
    ----------
    frame
        The image's voxels in RAS+ order, or its template's.
    options
        The declared preprocessing.
    origin
        What an error names as the place.
    plane
        The axis that 2-D images lie across; None: the last along which the frame has one voxel.

    Raises
    ------
    DataError
        If the image has no such slice, or is a volume where a 2-D image is needed.
    """
    shape = tuple(options.shape)
    if len(shape) == 3:
        spacing_mm = tuple(options.spacing_mm or frame.spacing_mm)
        grid = centred_grid(frame, shape, spacing_mm)
        return Layout(slices=(NO_SLICE,), grids=(grid,), spacing_mm=spacing_mm)
    if options.slices is None:
        axis = _flat_axis(frame, origin) if plane is None else plane
        indices = [0]
    else:
        axis = options.slices.axis
        indices = options.slices.indices
        _check_indices(frame, axis, indices, origin)
    in_plane = np.delete(frame.spacing_mm, axis)
    spacing_mm = tuple(options.spacing_mm or in_plane.tolist())
    grids = [slice_grid(frame, axis, index, shape, spacing_mm) for index in indices]
    slices = tuple(slices_of(options))
    return Layout(slices=slices, grids=tuple(grids), spacing_mm=spacing_mm)


def slices_of(options: PreprocessingOptions) -> list[int]:
    """Return the declared slices; `NO_SLICE` alone where there are none."""
    if options.slices is None:
        return [NO_SLICE]
    return options.slices.indices


def check_preprocessing(options: PreprocessingOptions) -> None:
    """Check that a declaration does not contradict itself.

    Raises
    ------
    DeclarationError
        If lengths of shape and spacing differ, slices go with a 3-D shape, or a slice is searched
        but not prepared.
    """
    dimensions = len(options.shape)
    _require(min(options.shape) >= 1, "shape", "numbers of at least 1", options.shape)
    spacing_mm = options.spacing_mm
    if spacing_mm is not None:
        holds = len(spacing_mm) == dimensions and min(spacing_mm) > 0
        expected = f"{dimensions} distances above 0, one for each of shape"
        _require(holds, "spacing_mm", expected, spacing_mm)
    if options.slices is None:
        return
    _require(dimensions == 2, "shape", "2 numbers, because slices are declared", options.shape)
    indices = options.slices.indices
    _require(bool(indices), "slices.indices", "at least one slice", "none")
    distinct = len(set(indices)) == len(indices) and min(indices) >= 0
    _require(distinct, "slices.indices", "each slice once", indices)
    unknown = sorted(set(options.slices.search_indices) - set(indices))
    _require(not unknown, "slices.search_indices", "some of slices.indices", unknown)


def smooth_for(data: NDArray[np.float32], grid: Matrix, dimensions: int) -> NDArray[np.float32]:
    """Return an image without the detail that a coarser grid cannot hold.

    It is smoothed by a Gaussian of standard deviation (step - 1) / 2 voxels along each axis, where
    `step` is the distance of prepared voxels in voxels of the image.

    Parameters
    ----------
    data
        (x, y, z).
    grid
        (4, 4): prepared voxel to voxel of `data`.
    dimensions
        2 or 3: columns of `grid` that the prepared image extends along.
    """
    columns = grid[:3, :dimensions]
    steps = np.linalg.norm(columns, axis=1)
    sigma = (steps - 1) / 2
    sigma = np.maximum(0, sigma)
    if sigma.max() <= SAME_STEP:
        return data
    return ndimage.gaussian_filter(data, sigma, mode="nearest")


def resample(
    data: NDArray[Any],
    grid: Matrix,
    shape: tuple[int, ...],
    order: Literal[0, 1],
    outside: float,
) -> NDArray[Any]:
    """Return an image's voxels on a prepared grid.

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
    whole_shape = (*shape, 1) if len(shape) == 2 else shape
    resampled: NDArray[Any] = ndimage.affine_transform(
        data,
        grid[:3, :3],
        grid[:3, 3],
        output_shape=whole_shape,
        order=order,
        # "constant" would drop a last voxel that rounding puts a hair outside
        mode="grid-constant",
        cval=outside,
    )
    return resampled.reshape(shape)


def _flat_axis(frame: Frame, origin: str) -> int:
    flat = [axis for axis, length in enumerate(frame.shape) if length == 1]
    if not flat:
        raise DataError(
            origin,
            expected="a 2-D image",
            got=f"shape {frame.shape}",
            advice="Declare preprocessing.slices.",
        )
    return flat[-1]


def _check_indices(frame: Frame, axis: int, indices: list[int], origin: str) -> None:
    last = max(indices)
    if last >= frame.shape[axis]:
        raise DataError(
            origin,
            expected=f"slice {last} along axis {axis}",
            got=f"{frame.shape[axis]} slices",
            advice="Choose preprocessing.slices.indices that every image has.",
        )


def _require(holds: bool, field: str, expected: str, got: object) -> None:
    if not holds:
        raise DeclarationError(
            f"preprocessing.{field}",
            expected=expected,
            got=got,
            advice="Correct the declaration.",
        )
