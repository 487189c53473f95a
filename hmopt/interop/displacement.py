"""From a displacement on the prepared grid to one in mm that ITK and ANTs read.

Coordinates. A voxel of the fixed file goes to the prepared grid, is displaced there, and goes on to a voxel of the
moving file; the two grid matrices hold all that preprocessing did (orientation, spacing, crop, affine alignment), so
that the result is one transformation from file to file. NIfTI world coordinates are RAS+ mm, those of ITK LPS+ mm.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.errors import DataError
from hmopt.files import replacing

Floats = NDArray[np.float64]

VECTOR_INTENT = 1007
LPS_FROM_RAS = np.array([-1.0, -1.0, 1.0])


def moving_coordinates(
    displacement: NDArray[np.floating],
    fixed_grid: Floats,
    moving_grid: Floats,
    fixed_shape: tuple[int, int, int],
) -> Floats:
    """Give the voxel of the moving file that each voxel of the fixed file is matched with.

    Parameters
    ----------
    displacement
        (d, *prepared shape), in voxels of the prepared grid, d 2 or 3. Beyond the prepared grid the vector at its
        border goes on.
    fixed_grid, moving_grid
        (4, 4), from a voxel of the prepared grid to a voxel of the file; a prepared slice is the plane z = 0.
    fixed_shape
        Voxels of the fixed file.

    Returns
    -------
    ndarray
        (x, y, z, 3), in voxels of the moving file.

    Examples
    --------
    >>> shift = np.zeros((3, 4, 4, 4))
    >>> shift[0] = 1
    >>> moving_coordinates(shift, np.eye(4), np.eye(4), (4, 4, 4))[0, 2, 3]
    array([1., 2., 3.])
    """
    prepared = _prepared_coordinates(fixed_grid, fixed_shape)
    dimensions = displacement.shape[0]
    places = np.moveaxis(prepared[..., :dimensions], -1, 0)
    for axis, component in enumerate(displacement):
        prepared[..., axis] += ndimage.map_coordinates(component, places.copy(), order=1, mode="nearest")
    return _apply(moving_grid, prepared)


def slice_coordinates(
    displacements: Mapping[int, NDArray[np.floating]],
    fixed_grids: Mapping[int, Floats],
    moving_grids: Mapping[int, Floats],
    fixed_shape: tuple[int, int, int],
) -> Floats:
    """Give what `moving_coordinates` gives, for a fixed volume of which only some slices were registered.

    Parameters
    ----------
    displacements
        By slice: (2, *prepared shape), in voxels of the prepared grid.
    fixed_grids, moving_grids
        By slice: (4, 4), from a voxel of the prepared grid (the slice is z = 0) to a voxel of the file.
    fixed_shape
        Voxels of the fixed file.

    Returns
    -------
    ndarray
        (x, y, z, 3), in voxels of the moving file; NaN for voxels that lie on none of the slices.

    Examples
    --------
    >>> still, grid = np.zeros((2, 4, 4)), np.eye(4)
    >>> found = slice_coordinates({0: still}, {0: grid}, {0: grid}, (4, 4, 2))
    >>> found[1, 2, 0], found[1, 2, 1]
    (array([1., 2., 0.]), array([nan, nan, nan]))
    """
    coordinates = np.full((*fixed_shape, 3), np.nan)
    for index, displacement in displacements.items():
        across = _prepared_coordinates(fixed_grids[index], fixed_shape)[..., 2]
        on_slice = np.abs(across) < 0.5
        found = moving_coordinates(displacement, fixed_grids[index], moving_grids[index], fixed_shape)
        coordinates[on_slice] = found[on_slice]
    return coordinates


def resample(image: NDArray[np.generic], coordinates: Floats, order: Literal[0, 1] = 1) -> NDArray[np.float32]:
    """Give the values of an image at coordinates; 0 outside it, as ITK has it.

    Parameters
    ----------
    image
        (x, y, z).
    coordinates
        (..., 3), in voxels of the image; NaN is outside.
    order
        1 for intensities, 0 for label maps.

    Examples
    --------
    >>> resample(np.arange(8.0).reshape(2, 2, 2), np.array([[0.5, 0, 0], [7, 0, 0]]))
    array([2., 0.], dtype=float32)
    """
    places = np.moveaxis(coordinates, -1, 0)
    upper = np.array(image.shape).reshape(3, *[1] * (places.ndim - 1)) - 0.5
    inside = ((places >= -0.5) & (places < upper)).all(axis=0)
    values = np.zeros(places.shape[1:], np.float32)
    values[inside] = ndimage.map_coordinates(image.astype(np.float32), places[:, inside], order=order, mode="nearest")
    return values


def displacement_image(coordinates: Floats, fixed_affine: Floats, moving_affine: Floats) -> nibabel.Nifti1Image:
    """Give the whole transformation as a displacement field that ITK and ANTs read.

    Parameters
    ----------
    coordinates
        (x, y, z, 3): the voxel of the moving file for each voxel of the fixed file; where NaN, the field is 0.
    fixed_affine, moving_affine
        (4, 4), from voxels of the files to RAS+ mm.

    Returns
    -------
    Nifti1Image
        (x, y, z, 1, 3), in LPS+ mm on the fixed grid, intent "vector"; two components where the fixed image has a
        single plane, for then ITK reads a 2-D image.

    Examples
    --------
    >>> coordinates = np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), axis=-1)
    >>> displacement_image(coordinates + [1, 0, 0], np.eye(4), np.eye(4)).dataobj[0, 0, 0, 0, 0]
    np.float32(-1.0)
    """
    shape = coordinates.shape[:3]
    fixed_mm = _apply(fixed_affine, _voxels(shape))
    vectors = np.nan_to_num(_apply(moving_affine, coordinates) - fixed_mm) * LPS_FROM_RAS
    components = 2 if shape[2] == 1 else 3
    image = nibabel.Nifti1Image(vectors[:, :, :, None, :components].astype(np.float32), fixed_affine)
    image.header.set_intent(VECTOR_INTENT, name="displacement")
    image.header.set_xyzt_units("mm")
    return image


def save_image(image: nibabel.Nifti1Image, path: Path) -> None:
    """Write an image as NIfTI, whole or not at all.

    Raises
    ------
    DataError
        If the name does not end in `.nii` or `.nii.gz`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "moved.nii.gz"
    >>> save_image(nibabel.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4)), path)
    >>> path.is_file()
    True
    """
    check_name(path)
    with replacing(path) as beside:
        nibabel.save(image, beside)


def check_name(path: Path) -> None:
    """Refuse a name that is not one of a NIfTI file.

    Raises
    ------
    DataError
        If it does not end in `.nii` or `.nii.gz`.

    Examples
    --------
    >>> check_name(Path("moved.png"))
    Traceback (most recent call last):
    hmopt.errors.DataError: moved.png: expected a name that ends in .nii or .nii.gz, got '.png'. Choose such a name.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        rule = "a name that ends in .nii or .nii.gz"
        raise DataError(str(path), expected=rule, got=repr(path.suffix), advice="Choose such a name.")


def _voxels(shape: tuple[int, ...]) -> Floats:
    axes = [np.arange(size, dtype=np.float64) for size in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _apply(matrix: Floats, points: Floats) -> Floats:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _prepared_coordinates(fixed_grid: Floats, fixed_shape: tuple[int, int, int]) -> Floats:
    return _apply(np.linalg.inv(fixed_grid).astype(np.float64), _voxels(fixed_shape))
