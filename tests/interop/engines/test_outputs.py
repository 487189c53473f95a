"""What programs write, as displacements in voxels: the same moved image as SimpleITK resamples."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from hmopt.errors import DataError
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.outputs import read_displacement

VOLUME = Grid(shape=(20, 16, 12), spacing_mm=(1.0, 1.5, 2.5))
PLANE = Grid(shape=(24, 18), spacing_mm=(0.8, 2.0))
GRIDS = pytest.mark.parametrize("grid", [VOLUME, PLANE], ids=["3-D", "2-D"])


def image_on(grid: Grid) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(size=grid.shape)
    smooth: NDArray[np.float64] = gaussian_filter(noise, 2)
    scaled = smooth / np.abs(smooth).max()
    return np.asarray(scaled, dtype=np.float32)


def itk_image(grid: Grid, array: NDArray[np.float32]) -> Any:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_lps)
    image.SetDirection(grid.direction_lps)
    return image


def field_on(grid: Grid) -> Any:
    """A smooth displacement field in mm, of some voxels, as an ITK image on the grid."""
    generator = np.random.default_rng(1)
    reversed_shape = grid.shape[::-1]
    components = []
    for spacing in grid.spacing_mm:
        smooth = gaussian_filter(generator.normal(size=reversed_shape), 3)
        components.append(2 * spacing * smooth / np.abs(smooth).max() + 0.3)
    field = sitk.GetImageFromArray(np.stack(components, axis=-1), isVector=True)
    field.SetSpacing(grid.spacing_mm)
    field.SetOrigin(grid.origin_lps)
    field.SetDirection(grid.direction_lps)
    return field


def moved_by(displacement: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float64]:
    places = np.indices(image.shape) + displacement
    moved = map_coordinates(image.astype(float), places, order=1, mode="constant")
    return np.asarray(moved, dtype=float)


def check_against_itk(displacement: NDArray[np.float32], transform: Any, grid: Grid) -> None:
    image = image_on(grid)
    moving = itk_image(grid, image)
    resampled = sitk.Resample(moving, moving, transform, sitk.sitkLinear, 0.0)
    expected = sitk.GetArrayFromImage(resampled).T
    found = moved_by(displacement, image)
    inner = tuple(slice(4, -4) for _ in grid.shape)
    assert np.abs(image[inner] - expected[inner]).max() > 0.05  # something moves
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-4)


@GRIDS
def test_the_grid_is_where_itk_reads_its_file(grid: Grid, tmp_path: Path) -> None:
    array = image_on(grid)
    grid.save(array, tmp_path / "image.nii")
    read = sitk.ReadImage(str(tmp_path / "image.nii"))
    np.testing.assert_allclose(read.GetSpacing(), grid.spacing_mm, rtol=1e-6)
    np.testing.assert_allclose(read.GetOrigin(), grid.origin_lps, atol=1e-5)
    np.testing.assert_allclose(read.GetDirection(), grid.direction_lps, atol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read).T, array)
    affine = nibabel.Nifti1Image.from_filename(tmp_path / "image.nii").affine
    np.testing.assert_allclose(affine, grid.affine_ras)


@GRIDS
@pytest.mark.parametrize("ending", ["nii.gz", "nii", "mha", "nrrd"])
def test_a_field_in_any_format_moves_the_image_as_itk_does(
    grid: Grid, ending: str, tmp_path: Path
) -> None:
    field = field_on(grid)
    path = tmp_path / f"field.{ending}"
    sitk.WriteImage(field, str(path))
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    check_against_itk(read_displacement([path], grid), transform, grid)


def test_vectors_along_a_fourth_axis_are_read(tmp_path: Path) -> None:
    field = field_on(VOLUME)
    array = sitk.GetArrayFromImage(field)  # (z, y, x, 3)
    four_d = nibabel.Nifti1Image(array.transpose(2, 1, 0, 3).astype(np.float32), VOLUME.affine_ras)
    four_d.to_filename(tmp_path / "field.nii.gz")
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    check_against_itk(read_displacement([tmp_path / "field.nii.gz"], VOLUME), transform, VOLUME)


def test_a_field_on_a_coarser_grid_is_interpolated(tmp_path: Path) -> None:
    coarse = Grid(shape=(10, 8, 6), spacing_mm=(2.2, 3.3, 5.5))
    field = field_on(coarse)
    sitk.WriteImage(field, str(tmp_path / "field.mha"))
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    check_against_itk(read_displacement([tmp_path / "field.mha"], VOLUME), transform, VOLUME)


def affine_of(grid: Grid) -> Any:
    d = grid.dimensions
    affine = sitk.AffineTransform(d)
    matrix = np.eye(d)
    matrix[0, 1] = 0.1
    matrix[1, 1] = 0.95
    affine.SetMatrix(matrix.ravel().tolist())
    affine.SetTranslation([1.3, -0.9, 0.7][:d])
    return affine


@GRIDS
@pytest.mark.parametrize("ending", ["tfm", "mat", "txt", "h5"])
def test_an_affine_transform_in_any_format_is_evaluated(
    grid: Grid, ending: str, tmp_path: Path
) -> None:
    affine = affine_of(grid)
    path = tmp_path / f"affine.{ending}"
    sitk.WriteTransform(affine, str(path))
    check_against_itk(read_displacement([path], grid), affine, grid)


def test_a_translation_is_the_same_number_of_voxels_everywhere(tmp_path: Path) -> None:
    translation = sitk.TranslationTransform(3, (2.0, -3.0, 5.0))  # mm, LPS
    sitk.WriteTransform(translation, str(tmp_path / "shift.tfm"))
    found = read_displacement([tmp_path / "shift.tfm"], VOLUME)
    # to the left is to smaller x in RAS; 3 mm to the front are 2 voxels of 1.5 mm
    expected = np.broadcast_to(np.array([-2.0, 2.0, 2.0])[:, None, None, None], found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@GRIDS
def test_a_warp_before_an_affine_transform_is_composed_as_ants_lists_them(
    grid: Grid, tmp_path: Path
) -> None:
    field, affine = field_on(grid), affine_of(grid)
    sitk.WriteImage(field, str(tmp_path / "1Warp.nii.gz"))
    sitk.WriteTransform(affine, str(tmp_path / "0GenericAffine.mat"))
    warp = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    # a point goes through the warp first: SimpleITK applies the last one first
    whole = sitk.CompositeTransform([affine, warp])
    paths = [tmp_path / "1Warp.nii.gz", tmp_path / "0GenericAffine.mat"]
    check_against_itk(read_displacement(paths, grid), whole, grid)


def test_what_is_no_transform_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "field.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"field\.nii\.gz: expected a displacement field"):
        read_displacement([tmp_path / "field.nii.gz"], VOLUME)
    VOLUME.save(image_on(VOLUME), tmp_path / "scalar.nii")
    with pytest.raises(DataError, match="vectors of 3 components"):
        read_displacement([tmp_path / "scalar.nii"], VOLUME)
    sitk.WriteTransform(affine_of(PLANE), str(tmp_path / "plane.tfm"))
    with pytest.raises(DataError, match="a transform in 3 dimensions, got one in 2"):
        read_displacement([tmp_path / "plane.tfm"], VOLUME)


def test_parameters_of_elastix_are_evaluated_by_elastix(tmp_path: Path) -> None:
    if importlib.util.find_spec("itk") is None:
        pytest.skip("needs itk-elastix: pip install 'hmopt[elastix]'")
    (tmp_path / "TransformParameters.0.txt").write_text(
        "\n".join(
            [
                '(Transform "TranslationTransform")',
                "(NumberOfParameters 3)",
                "(TransformParameters 2 -3 5)",
                '(InitialTransformParameterFileName "NoInitialTransform")',
                '(HowToCombineTransforms "Compose")',
                "(FixedImageDimension 3)",
                "(MovingImageDimension 3)",
                '(FixedInternalImagePixelType "float")',
                '(MovingInternalImagePixelType "float")',
                f"(Size {' '.join(str(side) for side in VOLUME.shape)})",
                "(Index 0 0 0)",
                f"(Spacing {' '.join(str(step) for step in VOLUME.spacing_mm)})",
                f"(Origin {' '.join(str(place) for place in VOLUME.origin_lps)})",
                f"(Direction {' '.join(str(cosine) for cosine in VOLUME.direction_lps)})",
                '(UseDirectionCosines "true")',
                '(ResampleInterpolator "FinalBSplineInterpolator")',
                "(FinalBSplineInterpolationOrder 3)",
                '(Resampler "DefaultResampler")',
                "(DefaultPixelValue 0)",
                '(ResultImageFormat "nii")',
                '(ResultImagePixelType "float")',
                '(CompressResultImage "false")',
            ]
        )
    )
    # in a process of its own: two builds of ITK in one process crash
    program = """
import sys
from pathlib import Path
import numpy as np
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.outputs import read_displacement
grid = Grid(shape=(20, 16, 12), spacing_mm=(1.0, 1.5, 2.5))
np.save(sys.argv[2], read_displacement([Path(sys.argv[1])], grid))
"""
    files = [str(tmp_path / name) for name in ("TransformParameters.0.txt", "found.npy")]
    subprocess.run([sys.executable, "-c", program, *files], check=True)
    found = np.load(tmp_path / "found.npy")
    expected = np.broadcast_to(np.array([-2.0, 2.0, 2.0])[:, None, None, None], found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)
