"""Transformations in ITK's HDF5 files: an affine part and a displacement field, as ANTs writes them."""

from pathlib import Path
from typing import Any

import numpy as np

from hmopt.data.header import corners_apart_mm
from hmopt.errors import DataError
from hmopt.files import replacing
from hmopt.interop.displacement import FileTransform, Floats, save_image
from hmopt.interop.itk import ItkPlace, itk_name

COMPOSITE = ".h5"
_STILL = 1e-3
"""Share of a voxel by which an affine part may move a corner and count as none."""


def save_transform(transform: FileTransform, path: Path) -> None:
    """Write a transformation whole or not at all: by its name as NIfTI field or as ITK's composite.

    Parameters
    ----------
    transform
        From one file to another.
    path
        `.nii` or `.nii.gz`: one displacement field. `.h5`: the composite of `composite_transform`.

    Raises
    ------
    DataError
        If the name ends in something else.
    """
    check_transform_name(path)
    if path.suffix != COMPOSITE:
        save_image(transform.image(), path)
        return
    write_itk(composite_transform(transform), path)


def write_itk(transform: Any, path: Path) -> None:
    """Write a transform of SimpleITK, whole or not at all."""
    import SimpleITK as sitk

    with replacing(path) as beside:
        # ITK tells the format by the ending, which the name beside keeps
        sitk.WriteTransform(transform, itk_name(beside))


def check_transform_name(path: Path) -> None:
    """Refuse a name that is not one of a transformation.

    Raises
    ------
    DataError
        If it does not end in `.nii`, `.nii.gz` or `.h5`.

    Examples
    --------
    >>> check_transform_name(Path("field.nii.gz")), check_transform_name(Path("field.h5"))
    (None, None)
    """
    if not path.name.endswith((".nii", ".nii.gz", COMPOSITE)):
        rule = "a name that ends in .nii, .nii.gz or .h5"
        raise DataError(
            str(path), expected=rule, got=repr(path.suffix), advice="Choose such a name."
        )


def composite_transform(transform: FileTransform) -> Any:
    """Return a transformation as ITK's CompositeTransform.

    A point x goes first through the displacement field, which lies on the file `on`, then through
    the affine part A, as in the composites of antsRegistration: T(x) = A(x + u(x)). The affine part
    is left out where it is the identity.

    Parameters
    ----------
    transform
        From one file to another; of two dimensions where ITK reads both files so.

    Returns
    -------
    SimpleITK.CompositeTransform
    """
    import SimpleITK as sitk

    shape = transform.coordinates.shape[:3]
    d = 2 if transform.on.dimensions == 2 and transform.to.dimensions == 2 else 3
    linear = transform.linear
    spacing = np.linalg.norm(transform.on.affine_lps[:3, :3], axis=0)
    on_affine = transform.on.affine_lps
    is_still = corners_apart_mm(linear @ on_affine, on_affine, shape) < _STILL * spacing.min()
    if is_still:
        linear = np.eye(4)

    here = _places(on_affine, _voxels(shape))
    there = _places(transform.to.affine_lps, transform.coordinates)
    # NaN: a voxel without a partner stays where it is
    there = np.where(np.isnan(there), here, there)
    to_before: Floats = np.linalg.inv(linear).astype(np.float64)
    before_linear = _places(to_before, there)
    field = vector_field((before_linear - here)[..., :d], transform.on, d)

    composite = sitk.CompositeTransform(d)
    if not is_still:
        composite.AddTransform(affine_transform(linear, d))
    # what is added last is applied first
    composite.AddTransform(sitk.DisplacementFieldTransform(field))
    return composite


def vector_field(vectors: Floats, place: ItkPlace, d: int) -> Any:
    """Return vectors (x, y, z, d), LPS+ mm, as an image of SimpleITK at the voxels of a file."""
    import SimpleITK as sitk

    # SimpleITK's arrays have the last axis first
    reversed_axes = np.ascontiguousarray(vectors.transpose(2, 1, 0, 3), dtype=np.float64)
    if d == 2:
        reversed_axes = reversed_axes[0]
    image = sitk.GetImageFromArray(reversed_axes, isVector=True)
    columns = place.affine_lps[:d, :d]
    spacing = np.linalg.norm(columns, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((columns / spacing).ravel().tolist())
    image.SetOrigin(place.affine_lps[:d, 3].tolist())
    return image


def affine_transform(matrix: Floats, d: int) -> Any:
    """Return a matrix (4, 4), LPS+ mm, as an AffineTransform of SimpleITK of d dimensions."""
    import SimpleITK as sitk

    affine = sitk.AffineTransform(d)
    affine.SetMatrix(matrix[:d, :d].ravel().tolist())
    affine.SetTranslation(matrix[:d, 3].tolist())
    return affine


def _voxels(shape: tuple[int, ...]) -> Floats:
    return np.moveaxis(np.indices(shape, dtype=np.float64), 0, -1)


def _places(matrix: Floats, points: Floats) -> Floats:
    return points @ matrix[:3, :3].T + matrix[:3, 3]
