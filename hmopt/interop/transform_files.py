"""Reading transformations that hmopt, ITK, ANTs and elastix write.

SimpleITK reads the files; what it reads becomes maps on NumPy arrays (`hmopt.interop.transform`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np

from hmopt.data.formats import open_header, read_voxels
from hmopt.errors import DataError
from hmopt.files import one_line
from hmopt.interop.itk import itk_name
from hmopt.interop.transform import Affine, BSpline, Chain, Field, Floats, Transform, chain

_HDF5_ENDINGS = (".h5", ".hdf5", ".hdf")
_TRANSFORM_ENDINGS = (*_HDF5_ENDINGS, ".tfm", ".txt", ".mat", ".xfm")
_FIELD_ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".nhdr")
_DISPLACEMENT_VECTORS = 1006
_VECTORS = 1007
"""NIfTI's intents of vectors: of displacements (RAS+), and of any (LPS+ where ITK wrote them)."""
_NOT_FINITE = "vectors that are NaN or infinite"


def read_transform(path: Path) -> Chain:
    """Read a transformation.

    Parameters
    ----------
    path
        A displacement field as hmopt, ANTs and ITK write it (NIfTI with vectors in LPS+ mm, NRRD,
        MetaImage), or a transform file of ITK: `.h5` composites, `.tfm`, `.txt`, and the `.mat` of
        ANTs; affine, by displacement fields, by B-splines, and composites of these.

    Returns
    -------
    Chain
        A point goes through its parts in their order. Those of two dimensions leave the third one
        as it is.

    Raises
    ------
    DataError
        If there is no such file, it is damaged, of another program's convention, or holds a kind
        of transformation that is not supported.
    """
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no file"
        raise DataError(str(path), expected="a transformation", got=got, advice="Correct the path.")
    name = path.name.lower()
    if name.endswith(_FIELD_ENDINGS):
        return chain([_read_field(path)])
    if name.endswith(_TRANSFORM_ENDINGS):
        return chain(_parts_of(_read_itk(path), path))
    raise DataError(
        str(path),
        expected="a displacement field (.nii.gz) or a transform of ITK or ANTs (.h5, .tfm, .mat)",
        got=repr(path.suffix),
        advice="Convert it to one of these.",
    )


def is_transform_name(path: Path) -> bool:
    """Tell by its name whether a file holds a transformation of ITK or ANTs.

    Examples
    --------
    >>> is_transform_name(Path("s0GenericAffine.mat")), is_transform_name(Path("head.nii.gz"))
    (True, False)
    """
    return path.name.lower().endswith(_TRANSFORM_ENDINGS)


def _read_field(path: Path) -> Field:
    if path.name.lower().endswith((".nii", ".nii.gz", ".hdr", ".img")):
        _check_vectors(path)
    import SimpleITK as sitk

    image = _silently(lambda: sitk.ReadImage(itk_name(path), sitk.sitkVectorFloat64), path)
    d = image.GetDimension()
    if d not in (2, 3) or image.GetNumberOfComponentsPerPixel() != d:
        got = f"{image.GetNumberOfComponentsPerPixel()} numbers at each of {d}-D voxels"
        raise _not_a_field(path, got)
    return field_of(image, path)


def field_of(image: Any, path: Path) -> Field:
    """Return a vector image of SimpleITK, 2-D or 3-D, as a field in three dimensions."""
    import SimpleITK as sitk

    d = image.GetDimension()
    # SimpleITK's arrays have the last axis first: (z, y, x, d)
    array = sitk.GetArrayFromImage(image).astype(np.float64)
    if not np.isfinite(array).all():
        raise _not_a_field(path, _NOT_FINITE)
    if d == 2:
        array = array[None]
        array = np.concatenate([array, np.zeros((*array.shape[:3], 1))], axis=-1)
    vectors = np.ascontiguousarray(array.transpose(3, 2, 1, 0))
    return Field(vectors=vectors, to_world=_to_world(image))


def _to_world(image: Any) -> Floats:
    """Return voxel to world (4, 4), LPS+ mm, of an image of SimpleITK."""
    d = image.GetDimension()
    to_world = np.eye(4)
    to_world[:d, :d] = np.reshape(image.GetDirection(), (d, d)) * image.GetSpacing()
    to_world[:d, 3] = image.GetOrigin()
    return to_world


def _check_vectors(path: Path) -> None:
    """Refuse NIfTI files that hold something else than vectors as ITK reads them."""
    header: Any = open_header(path)
    shape = header.shape
    if not isinstance(header.header, nibabel.Nifti1Header) or len(shape) != 5:
        if len(shape) == 4 and shape[-1] in (2, 3):
            raise DataError(
                str(path),
                expected="a displacement field as ITK and ANTs write it, (x, y, z, 1, 3) in LPS+ mm",
                got=f"shape {shape}, as FSL, FreeSurfer and VoxelMorph write fields of their own",
                advice="Convert it: each of these has another unit and direction.",
            )
        raise _not_a_field(path, f"an image of shape {tuple(shape)}")
    intent = int(header.header["intent_code"])
    if intent not in (_VECTORS, _DISPLACEMENT_VECTORS):
        raise _not_a_field(path, f"intent code {intent}")
    # in a NIfTI file ITK reads what is not finite as 0
    if not np.isfinite(read_voxels(path, header)).all():
        raise _not_a_field(path, _NOT_FINITE)


def _not_a_field(path: Path, got: str) -> DataError:
    return DataError(
        str(path),
        expected="a displacement field of ITK or ANTs",
        got=got,
        advice="Give the field; the image comes after the transformations.",
    )


def _read_itk(path: Path) -> Any:
    import SimpleITK as sitk

    if path.name.lower().endswith(_HDF5_ENDINGS):
        _check_is_whole(path)
    return _silently(lambda: sitk.ReadTransform(itk_name(path)), path)


def _check_is_whole(path: Path) -> None:
    """Refuse a damaged HDF5 file, of which ITK would print what HDF5 found, line by line."""
    try:
        h5py.File(path, "r", locking=False).close()
    except OSError as error:
        raise DataError(
            str(path),
            expected="a transformation that ITK reads",
            got=f"a damaged HDF5 file ({one_line(error)})",
            advice="Copy the file again.",
        ) from error


def _silently(read: Callable[[], Any], path: Path) -> Any:
    """Return what SimpleITK reads; what it would print on a damaged file becomes one line."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return read()
    except RuntimeError as error:
        reason = one_line(error)[-160:]
        raise DataError(
            str(path),
            expected="a transformation that ITK reads",
            got=f"an unreadable file ({reason})",
            advice="Replace it.",
        ) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _parts_of(transform: Any, path: Path) -> list[Transform]:
    """Return the parts of a transform of SimpleITK; a point goes through the first one first."""
    import SimpleITK as sitk

    concrete = transform.Downcast()
    if isinstance(concrete, sitk.CompositeTransform):
        parts: list[Transform] = []
        # ITK applies the last of a composite first
        for place in reversed(range(concrete.GetNumberOfTransforms())):
            parts += _parts_of(concrete.GetNthTransform(place), path)
        return parts
    d = concrete.GetDimension()
    if d not in (2, 3):
        raise _unsupported(path, f"one of {d} dimensions")
    if isinstance(concrete, sitk.DisplacementFieldTransform):
        return [field_of(concrete.GetDisplacementField(), path)]
    if isinstance(concrete, sitk.BSplineTransform):
        return [_bspline(concrete)]
    if concrete.IsLinear():
        return [_affine(concrete)]
    raise _unsupported(path, concrete.GetName())


def _affine(transform: Any) -> Affine:
    """Return any linear transform of SimpleITK: its matrix is read off where it takes points."""
    d = transform.GetDimension()
    matrix = np.eye(4)
    zero = np.array(transform.TransformPoint([0.0] * d))
    matrix[:d, 3] = zero
    for axis in range(d):
        unit = [0.0] * d
        unit[axis] = 1.0
        matrix[:d, axis] = np.array(transform.TransformPoint(unit)) - zero
    return Affine(matrix=matrix)


def _bspline(transform: Any) -> BSpline:
    import SimpleITK as sitk

    images = transform.GetCoefficientImages()
    d = transform.GetDimension()
    components = []
    for image in images:
        array = sitk.GetArrayFromImage(image).astype(np.float64)
        components.append(array.T if d == 3 else array.T[..., None])
    while len(components) < 3:
        components.append(np.zeros_like(components[0]))
    return BSpline(
        coefficients=np.stack(components),
        to_world=_to_world(images[0]),
        order=transform.GetOrder(),
    )


def _unsupported(path: Path, got: str) -> DataError:
    return DataError(
        str(path),
        expected="an affine, displacement field, B-spline or composite transform",
        got=got,
        advice="Write it as a displacement field: sitk.TransformToDisplacementField does.",
    )
