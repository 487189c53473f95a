"""From a displacement on the prepared grid to one in mm that ITK and ANTs read.

Coordinates. A voxel of the fixed file goes to the prepared grid, is displaced there, and goes on to
a voxel of the moving file; the two grid matrices hold all that preprocessing did (orientation,
spacing, crop, affine alignment), so that the result is one transformation from file to file. NIfTI
world coordinates are RAS+ mm, those of ITK LPS+ mm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.data.header import coded_qform
from hmopt.errors import DataError
from hmopt.files import replacing
from hmopt.interop.inversion import Inverted, invert
from hmopt.interop.itk import LPS_FROM_RAS, ItkPlace

Floats = NDArray[np.float64]

VECTOR_INTENT = 1007


@dataclass(frozen=True, kw_only=True)
class FileTransform:
    """A transformation from one file to another.

    Parameters
    ----------
    coordinates
        (x, y, z, 3): the voxel of the file `to` for each voxel of the file `on`; NaN where there is
        none.
    on, to
        Where ITK puts the voxels of the two files.
    linear
        (4, 4): its affine part, from the world of `on` to that of `to`, LPS+ mm: how both were laid
        on the prepared grid.
    """

    coordinates: Floats
    on: ItkPlace
    to: ItkPlace
    linear: Floats

    def image(self) -> nibabel.Nifti1Image:
        """Return the whole transformation as one displacement field; see `displacement_image`."""
        return displacement_image(self.coordinates, self.on, self.to)


def moving_coordinates(
    displacement: NDArray[np.floating],
    fixed_grid: Floats,
    moving_grid: Floats,
    fixed_shape: tuple[int, int, int],
) -> Floats:
    """Return the voxel of the moving file that each voxel of the fixed file is matched with.

    Parameters
    ----------
    displacement
        (d, *prepared shape), in voxels of the prepared grid, d 2 or 3. Beyond the prepared grid the
        vector at its border goes on.
    fixed_grid, moving_grid
        (4, 4), from a voxel of the prepared grid to a voxel of the file; a prepared slice is the
        plane z = 0.
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
    places = places.copy()  # from here on, `prepared` is displaced
    for axis, component in enumerate(displacement):
        shift = ndimage.map_coordinates(component, places, order=1, mode="nearest")
        prepared[..., axis] += shift
    return _apply(moving_grid, prepared)


def inverse_coordinates(
    displacement: NDArray[np.floating],
    guess: NDArray[np.floating] | None,
    fixed_grid: Floats,
    moving_grid: Floats,
    moving_shape: tuple[int, int, int],
) -> Floats:
    """Return the voxel of the fixed file that is matched with each voxel of the moving file.

    It inverts what `moving_coordinates` computes, at the voxels of the moving file themselves: the
    point x of the prepared grid is sought that x + displacement(x) takes to the voxel, beyond the
    prepared grid as well.

    Parameters
    ----------
    displacement, fixed_grid, moving_grid
        As for `moving_coordinates`.
    guess
        (d, *prepared shape): a displacement that nearly inverts the other, from where the search
        starts; None: there is none.
    moving_shape
        Voxels of the moving file.

    Returns
    -------
    ndarray
        (x, y, z, 3), in voxels of the fixed file.

    Examples
    --------
    >>> shift = np.zeros((3, 4, 4, 4))
    >>> shift[0] = 1
    >>> inverse_coordinates(shift, None, np.eye(4), np.eye(4), (4, 4, 4))[1, 2, 3].round(6)
    array([0., 2., 3.])
    """
    prepared = _prepared_coordinates(moving_grid, moving_shape)
    dimensions = displacement.shape[0]
    targets = prepared[..., :dimensions].reshape(-1, dimensions)
    start = None if guess is None else targets + _sampled(guess, targets)
    found: Inverted = invert(lambda points: _sampled(displacement, points), targets, start)
    prepared[..., :dimensions] = found.points.reshape(*moving_shape, dimensions)
    return _apply(fixed_grid, prepared)


def _sampled(displacement: NDArray[np.floating], points: Floats) -> Floats:
    """Return the vectors (n, d) of a displacement (d, *shape) at points (n, d) in voxels."""
    places = points.T
    components = [
        ndimage.map_coordinates(component, places, order=1, mode="nearest")
        for component in displacement
    ]
    return np.stack(components, axis=-1).astype(np.float64)


def slice_coordinates(
    displacements: Mapping[int, NDArray[np.floating]],
    fixed_grids: Mapping[int, Floats],
    moving_grids: Mapping[int, Floats],
    fixed_shape: tuple[int, int, int],
) -> Floats:
    """Return moving coordinates of a fixed volume of which only some slices were registered.

    Parameters
    ----------
    displacements
        By slice: (2, *prepared shape), in voxels of the prepared grid.
    fixed_grids, moving_grids
        By slice: (4, 4), from a voxel of the prepared grid (the slice is z = 0) to a voxel of the
        file.
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
        fixed_grid = fixed_grids[index]
        found = moving_coordinates(displacement, fixed_grid, moving_grids[index], fixed_shape)
        on_slice = voxels_on_slice(fixed_grid, fixed_shape)
        coordinates[on_slice] = found[on_slice]
    return coordinates


def voxels_on_slice(grid: Floats, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return which voxels of a file, (x, y, z), lie on a prepared slice.

    Parameters
    ----------
    grid
        (4, 4), from a voxel of the prepared grid (the slice is z = 0) to a voxel of the file.
    shape
        Voxels of the file.

    Examples
    --------
    >>> voxels_on_slice(np.eye(4), (1, 1, 3)).ravel()
    array([ True, False, False])
    """
    across = _prepared_coordinates(grid, shape)[..., 2]
    return np.asarray(np.abs(across) < 0.5)


def displacement_image(
    coordinates: Floats, fixed: ItkPlace, moving: ItkPlace
) -> nibabel.Nifti1Image:
    """Return the transformation as a displacement field that ITK and ANTs apply to the files.

    Parameters
    ----------
    coordinates
        (x, y, z, 3): the voxel of the moving file for each voxel of the fixed file; where NaN, the
        field is 0.
    fixed, moving
        Where ITK puts the voxels of the two files.

    Returns
    -------
    Nifti1Image
        (x, y, z, 1, 3), in LPS+ mm at the voxels of the fixed file, intent "vector". ITK takes such
        a field with one voxel along the last axis for two-dimensional; the field of a plane in a
        3-D file is therefore stored with its axes in cyclic order, (1, x, y, 1, 3), and holds the
        same vectors at the same places of the world. Where ITK reads both files as 2-D images: (x,
        y, 1, 1, 2).

    Examples
    --------
    >>> coordinates = np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), axis=-1)
    >>> place = ItkPlace(affine_lps=np.diag([-1.0, -1.0, 1.0, 1.0]))
    >>> displacement_image(coordinates + [1, 0, 0], place, place).dataobj[0, 0, 0, 0, 0]
    np.float32(-1.0)
    """
    shape = coordinates.shape[:3]
    there = _apply(moving.affine_lps, coordinates)
    here = _apply(fixed.affine_lps, _voxels(shape))
    vectors = np.nan_to_num(there - here)
    if fixed.dimensions == 2 and moving.dimensions == 2:
        return _vector_image(vectors[..., :2], fixed, (0, 1, 2))
    # the first cyclic order whose last axis is longer than 1
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        if shape[order[-1]] > 1:
            return _vector_image(vectors, fixed, order)
    return _vector_image(vectors, fixed, (0, 1, 2))


def moved_image(values: NDArray[Any], fixed: Any, affine: Floats) -> nibabel.Nifti1Image:
    """Return a moved image as NIfTI on the grid of the fixed file.

    qform, sform, their codes and the unit are those of the fixed file, so that every program finds
    the moved image where it finds the fixed one.

    Parameters
    ----------
    values
        Of the shape of the fixed file.
    fixed
        The fixed file, as `nibabel.load` gives it.
    affine
        (4, 4): its voxel to world, RAS+ mm; used for formats other than NIfTI.
    """
    header = fixed.header
    if not isinstance(header, nibabel.Nifti1Header):
        return nibabel.Nifti1Image(values, affine)
    image = nibabel.Nifti1Image(values, None)
    # a reference of fewer axes than the values: the step of a series is set by who knows it
    zooms = (*header.get_zooms(), *[1.0] * values.ndim)
    space_unit = int(header["xyzt_units"]) % 8
    image.header.set_zooms(zooms[: values.ndim])
    image.header.set_xyzt_units(xyz=space_unit)
    qform, qform_code = coded_qform(header)
    sform, sform_code = header.get_sform(coded=True)
    image.set_qform(qform, qform_code)
    image.set_sform(sform, int(sform_code))
    return image


def _vector_image(
    vectors: Floats, fixed: ItkPlace, order: tuple[int, int, int]
) -> nibabel.Nifti1Image:
    """Return vectors (x, y, z, components) as an image, its axes in another order."""
    columns = [*order, 3]
    ordered = np.transpose(vectors, columns).astype(np.float32)
    data = ordered[:, :, :, None, :]
    affine = LPS_FROM_RAS @ fixed.affine_lps
    image = nibabel.Nifti1Image(data, affine[:, columns])
    image.header.set_intent(VECTOR_INTENT, name="displacement")
    image.header.set_xyzt_units("mm")
    forms = fixed.forms
    if forms is None or forms.neither:
        image.set_qform(image.affine, 1)
        image.set_sform(image.affine, 1)
        return image
    # both forms of the fixed file, so that each program finds the field where it finds the file
    qform = None if forms.qform is None else forms.qform[:, columns]
    sform = None if forms.sform is None else forms.sform[:, columns]
    image.set_qform(qform, forms.qform_code)
    image.set_sform(sform, forms.sform_code)
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
    hmopt.errors.DataError: moved.png: expected a name that ends in .nii or .nii.gz, ...
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        rule = "a name that ends in .nii or .nii.gz"
        raise DataError(
            str(path), expected=rule, got=repr(path.suffix), advice="Choose such a name."
        )


def _voxels(shape: tuple[int, ...]) -> Floats:
    """Return the coordinates of every voxel of a grid, (*shape, axes)."""
    coordinates = np.indices(shape, dtype=np.float64)
    return np.moveaxis(coordinates, 0, -1)


def _apply(matrix: Floats, points: Floats) -> Floats:
    linear = matrix[:3, :3]
    shift = matrix[:3, 3]
    return points @ linear.T + shift


def _prepared_coordinates(fixed_grid: Floats, fixed_shape: tuple[int, int, int]) -> Floats:
    """Return where each voxel of the fixed file lies on the prepared grid, (x, y, z, 3)."""
    to_prepared = np.linalg.inv(fixed_grid).astype(np.float64)
    voxels = _voxels(fixed_shape)
    return _apply(to_prepared, voxels)
