from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.data.volume import read_lattice
from hmopt.errors import DataError
from hmopt.interop.displacement import (
    displacement_image,
    moving_coordinates,
    save_image,
    slice_coordinates,
)
from hmopt.interop.itk import LPS_FROM_RAS, ItkPlace, find_itk_place
from hmopt.interop.resampling import intensities_at

FIXED_SHAPE, MOVING_SHAPE, PREPARED_SHAPE = (18, 22, 14), (20, 17, 16), (16, 16, 16)


def smooth(shape: tuple[int, ...], seed: int, deviation: float) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=shape)
    blurred = ndimage.gaussian_filter(noise, (0, *[2] * (len(shape) - 1)))
    return np.asarray(deviation * blurred / blurred.std())


def oblique(
    angle: float, spacing: tuple[float, float, float], origin: tuple[float, float, float]
) -> NDArray[np.float64]:
    """A header's matrix with a rotation about z, unequal spacings and a left-handed x axis."""
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag((-spacing[0], spacing[1], spacing[2]))
    affine[:3, 3] = origin
    return affine


def moved_by(
    image: NDArray[Any], coordinates: NDArray[np.float64], outside: float = 0.0
) -> NDArray[np.float32]:
    """Return an image at coordinates, linearly interpolated."""
    return intensities_at(image, "linear", outside)(coordinates)


def grid(
    scale: tuple[float, float, float], offset: tuple[float, float, float], shear: float
) -> NDArray[np.float64]:
    """A matrix from prepared voxels to a file's voxels, as resampling, crop and affine alignment leave it."""
    matrix = np.diag((*scale, 1.0))
    matrix[0, 1], matrix[:3, 3] = shear, offset
    return matrix


def test_itk_resampling_with_the_written_field_gives_the_moved_image(tmp_path: Path) -> None:
    moving = np.random.default_rng(0).uniform(1, 2, MOVING_SHAPE).astype(np.float32)
    fixed_affine, moving_affine = (
        oblique(0.3, (1.1, 0.9, 1.4), (5, -7, 3)),
        oblique(-0.2, (1, 1.2, 0.8), (-4, 2, 9)),
    )
    fixed_grid, moving_grid = (
        grid((1.1, 1.3, 0.9), (1, 0, -1), 0.1),
        grid((1.2, 1.0, 1.0), (0, 1, 0), -0.1),
    )
    displacement = smooth((3, *PREPARED_SHAPE), seed=1, deviation=1.5)

    coordinates = moving_coordinates(displacement, fixed_grid, moving_grid, FIXED_SHAPE)
    moved = moved_by(moving, coordinates)
    fixed_place, moving_place = (
        ItkPlace(affine_lps=LPS_FROM_RAS @ one) for one in (fixed_affine, moving_affine)
    )
    save_image(
        displacement_image(coordinates, fixed_place, moving_place), tmp_path / "field.nii.gz"
    )
    save_image(nibabel.Nifti1Image(moving, moving_affine), tmp_path / "moving.nii.gz")

    field = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    reference = sitk.Resample(
        sitk.ReadImage(str(tmp_path / "moving.nii.gz")), field, transform, sitk.sitkLinear, 0.0
    )
    difference = np.abs(sitk.GetArrayFromImage(reference).T - moved)
    assert moved.std() > 0.3
    assert (
        np.quantile(difference, 0.999) < 1e-3
    )  # at the very border rounding decides what is inside


def test_the_field_is_a_five_dimensional_vector_image(tmp_path: Path) -> None:
    coordinates = np.zeros((3, 4, 5, 3))
    place = ItkPlace(affine_lps=LPS_FROM_RAS)
    save_image(displacement_image(coordinates, place, place), tmp_path / "field.nii.gz")
    image = nibabel.Nifti1Image.from_filename(tmp_path / "field.nii.gz")
    assert image.shape == (3, 4, 5, 1, 3)
    assert int(image.header["intent_code"]) == 1007


AXIAL = np.diag((-1.5, 1.2, 2.0, 1.0))
CORONAL = np.array([[1.5, 0, 0, 3], [0, 0, 2.0, -7], [0, 1.2, 0, 5], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, 2.0, 3], [1.5, 0, 0, -7], [0, -1.2, 0, 5], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [AXIAL, CORONAL, SAGITTAL], ids=["axial", "coronal", "sagittal"])
def test_the_field_of_a_plane_in_a_3d_file_has_three_components_and_itk_applies_it_to_the_file(
    tmp_path: Path, affine: NDArray[np.float64]
) -> None:
    moving = np.random.default_rng(0).uniform(1, 2, (15, 17, 1)).astype(np.float32)
    displacement = smooth((2, 16, 16), seed=2, deviation=1.5)
    coordinates = moving_coordinates(displacement, np.eye(4), np.eye(4), (14, 13, 1))
    moved = moved_by(moving, coordinates)
    for name, data in (("moving", moving), ("fixed", np.zeros((14, 13, 1), np.float32))):
        save_image(nibabel.Nifti1Image(data, affine), tmp_path / f"{name}.nii.gz")
    moving_place, fixed_place = (
        find_itk_place(path, read_lattice(path))
        for path in (tmp_path / "moving.nii.gz", tmp_path / "fixed.nii.gz")
    )
    save_image(
        displacement_image(coordinates, fixed_place, moving_place), tmp_path / "field.nii.gz"
    )

    field = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    assert (field.GetDimension(), field.GetNumberOfComponentsPerPixel()) == (3, 3)
    transform = sitk.DisplacementFieldTransform(field)
    images = [
        sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"), sitk.sitkFloat32)
        for name in ("moving", "fixed")
    ]
    reference = sitk.Resample(*images, transform, sitk.sitkLinear, 0.0)
    assert np.quantile(np.abs(sitk.GetArrayFromImage(reference).T - moved), 0.99) < 1e-3


def test_itk_reads_the_field_between_2d_files_as_two_dimensional(tmp_path: Path) -> None:
    moving = np.random.default_rng(0).uniform(1, 2, (15, 17)).astype(np.float32)
    displacement = smooth((2, 16, 16), seed=2, deviation=1.5)
    coordinates = moving_coordinates(displacement, np.eye(4), np.eye(4), (14, 13, 1))
    moved = moved_by(moving[:, :, None], coordinates)[..., 0]
    save_image(nibabel.Nifti1Image(moving, AXIAL), tmp_path / "moving.nii.gz")
    place = find_itk_place(tmp_path / "moving.nii.gz", read_lattice(tmp_path / "moving.nii.gz"))
    save_image(displacement_image(coordinates, place, place), tmp_path / "field.nii.gz")

    field = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    assert field.GetDimension() == 2
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    reference = sitk.Resample(
        sitk.ReadImage(str(tmp_path / "moving.nii.gz")), field, transform, sitk.sitkLinear, 0.0
    )
    assert np.quantile(np.abs(sitk.GetArrayFromImage(reference).T - moved), 0.99) < 1e-3


def test_a_still_displacement_between_equal_grids_leaves_the_image_as_it_is() -> None:
    image = np.random.default_rng(0).normal(size=MOVING_SHAPE).astype(np.float32)
    some_grid = grid((1.2, 0.7, 1.0), (3, 1, 2), 0.2)
    coordinates = moving_coordinates(
        np.zeros((3, *PREPARED_SHAPE)), some_grid, some_grid, MOVING_SHAPE
    )
    np.testing.assert_allclose(moved_by(image, coordinates), image, atol=1e-5)


def test_only_the_registered_slices_of_a_volume_are_filled() -> None:
    volume = np.random.default_rng(0).uniform(1, 2, (12, 5, 12)).astype(np.float32)
    coronal = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    grids = {}
    for index in (1, 3):
        grids[index] = coronal.copy()
        grids[index][1, 3] = index
    still = np.zeros((2, 12, 12))
    moved = moved_by(volume, slice_coordinates({1: still, 3: still}, grids, grids, (12, 5, 12)))
    expected = np.zeros_like(volume)
    expected[:, [1, 3]] = volume[:, [1, 3]]
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_outside_the_moving_image_there_is_background() -> None:
    far = np.full((2, 2, 2, 3), 99.0)
    assert not moved_by(np.ones((4, 4, 4)), far).any()
    assert (moved_by(np.ones((4, 4, 4)), far, outside=-1000) == -1000).all()


def test_another_format_than_nifti_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ends in \.nii"):
        save_image(nibabel.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4)), tmp_path / "moved.mgz.txt")
    assert list(tmp_path.iterdir()) == []


def test_every_component_is_taken_at_the_voxel_itself_and_not_where_another_moved_it() -> None:
    displacement = np.random.default_rng(0).normal(size=(3, 6, 7, 8))
    found = moving_coordinates(displacement, np.eye(4), np.eye(4), (6, 7, 8))
    expected = np.moveaxis(np.indices((6, 7, 8)) + displacement, 0, -1)
    np.testing.assert_allclose(found, expected)
