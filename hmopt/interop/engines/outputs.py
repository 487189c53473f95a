"""What a registration program leaves behind, read as a displacement in voxels of the prepared grid.

Programs of ITK's family write a transform from the fixed to the moving image, in LPS+ mm: a field
of displacements, or parameters of an affine or B-spline transform. Whatever it is, it is evaluated
at every voxel of the grid, so that a field may have another grid than the images.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.errors import DataError
from hmopt.files import one_line
from hmopt.interop.engines.grid import Grid
from hmopt.interop.itk import itk_name

_TRANSFORMS = (".mat", ".tfm", ".txt", ".h5", ".hdf5", ".xfm")
"""Ends of names of files that hold parameters of a transform; any other file holds a field."""
_ELASTIX = "TransformParameterFileName", "InitialTransformParameterFileName"
_ADVICE = "Let the engine write a displacement field or a transform that ITK reads."


def read_displacement(paths: Sequence[Path], grid: Grid) -> NDArray[np.float32]:
    """Return a transform in files as a displacement in voxels: (d, *shape).

    Parameters
    ----------
    paths
        Displacement fields (NIfTI, MHA, NRRD …), ITK's transforms (`.mat`, `.tfm`, `.h5` …) or
        elastix' `TransformParameters.*.txt`. Of several the first is applied to a point of the
        fixed image first: for ANTs the warp and then the affine transform, as
        `antsApplyTransforms -t` lists them.
    grid
        The grid of the two images.

    Returns
    -------
    ndarray
        `moved(x) = moving(x + displacement(x))`.

    Raises
    ------
    DataError
        If a file cannot be read, or is of another dimension.
    """
    if len(paths) == 1 and _is_of_elastix(paths[0]):
        return _read_elastix(paths[0], grid)
    import SimpleITK as sitk

    parts = [_read_part(path, grid) for path in paths]
    # SimpleITK applies the last one of a composite transform first
    transform = parts[0] if len(parts) == 1 else sitk.CompositeTransform(parts[::-1])
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        grid.shape,
        grid.origin_lps,
        grid.spacing_mm,
        grid.direction_lps,
    )
    return grid.in_voxels(_components_first(sitk.GetArrayFromImage(field)))


def _components_first(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return ITK's array of vectors, ([z,] y, x, d), as (d, x, y[, z])."""
    return np.asarray(array.T, dtype=np.float64)


def _read_part(path: Path, grid: Grid) -> Any:
    """Return the transform of one file."""
    import SimpleITK as sitk

    holds_parameters = path.name.lower().endswith(_TRANSFORMS)
    try:
        transform = _read_parameters(path) if holds_parameters else _read_field(path, grid)
    except RuntimeError as error:
        raise DataError(
            path.name,
            expected="a displacement field or a transform that ITK reads",
            got=one_line(error)[-200:],
            advice=_ADVICE,
        ) from error
    assert isinstance(transform, sitk.Transform)
    if transform.GetDimension() != grid.dimensions:
        raise DataError(
            path.name,
            expected=f"a transform in {grid.dimensions} dimensions",
            got=f"one in {transform.GetDimension()}",
            advice=_ADVICE,
        )
    return transform


def _read_parameters(path: Path) -> Any:
    import SimpleITK as sitk

    return sitk.ReadTransform(itk_name(path))


def _read_field(path: Path, grid: Grid) -> Any:
    import SimpleITK as sitk

    image = sitk.ReadImage(itk_name(path))
    components = image.GetNumberOfComponentsPerPixel()
    if components == 1 and image.GetDimension() == grid.dimensions + 1:
        # vectors along a last axis, as of NIfTI files without the intent "vector"
        image = _with_vectors(image)
        components = image.GetNumberOfComponentsPerPixel()
    d = grid.dimensions
    if image.GetDimension() != d or components != d:
        raise DataError(
            path.name,
            expected=f"vectors of {d} components in {d} dimensions",
            got=f"{components} in {image.GetDimension()}",
            advice=_ADVICE,
        )
    field = sitk.Cast(image, sitk.sitkVectorFloat64)
    return sitk.DisplacementFieldTransform(field)


def _with_vectors(image: Any) -> Any:
    """Return an image whose last axis becomes the components of vectors."""
    import SimpleITK as sitk

    d = image.GetDimension() - 1
    array = sitk.GetArrayFromImage(image)  # (components, [z,] y, x)
    vectors = np.moveaxis(array, 0, -1)
    made = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    direction = np.reshape(image.GetDirection(), (d + 1, d + 1))[:d, :d]
    made.SetSpacing(image.GetSpacing()[:d])
    made.SetOrigin(image.GetOrigin()[:d])
    made.SetDirection(direction.ravel().tolist())
    return made


def _is_of_elastix(path: Path) -> bool:
    if path.suffix != ".txt" or not path.is_file():
        return False
    start = path.read_bytes()[:4096].decode(errors="replace")
    # ITK's own text files begin with a comment
    return "(Transform " in start and not start.startswith("#Insight")


def _read_elastix(path: Path, grid: Grid) -> NDArray[np.float32]:
    """Return the transform in elastix' parameter file, evaluated by elastix itself."""
    try:
        import itk
    except ImportError as error:
        raise DataError(
            path.name,
            expected="a displacement field, or itk-elastix to evaluate elastix' parameters",
            got="none installed",
            advice="Run `pip install 'hmopt[elastix]'`, or let transformix write the field (-def all).",
        ) from error
    parameters = itk.ParameterObject.New()
    parameters.ReadParameterFile(itk_name(path))
    still = grid.itk_image(np.zeros(grid.shape, np.float32), itk)
    return elastix_displacement(itk, still, parameters, grid)


def elastix_displacement(itk: Any, image: Any, parameters: Any, grid: Grid) -> NDArray[np.float32]:
    """Return the displacement (d, *shape), in voxels, of elastix' transform parameters.

    Parameters
    ----------
    itk
        The module.
    image
        Of the grid.
    parameters
        A `ParameterObject`.
    grid
        The grid of the two images.
    """
    # transformix also writes what it computes
    with tempfile.TemporaryDirectory(prefix="hmopt-elastix-") as folder:
        field = itk.transformix_deformation_field(image, parameters, output_directory=folder)
    return grid.in_voxels(_components_first(itk.array_from_image(field)))
