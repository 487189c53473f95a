"""The spread of transformations as an image on the fixed file."""

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest

from hmopt.data.reference import Reference
from hmopt.declaration import PreprocessingOptions
from hmopt.interop.preparation import Preparation
from hmopt.interop.registration import Registrar
from hmopt.interop.spread import spread_image
from tests.tuner.conftest import MOST, Shift

SETTINGS = [{"regularization": value} for value in (0.0, 0.25, 0.75)]


def image(path: Path, affine: np.ndarray, shape: tuple[int, ...] = (16, 24, 8)) -> Path:
    data = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
    made = nibabel.Nifti1Image(data, affine)
    made.set_qform(affine, 1)
    made.set_sform(affine, 2)
    made.header.set_xyzt_units("mm")
    nibabel.save(made, path)
    return path


@pytest.fixture
def registrar() -> Registrar:
    preparation = Preparation(
        preprocessing=PreprocessingOptions(shape=[16, 24, 8]),
        spacing_mm=None,
        reference=Reference(),
        template=None,
    )
    return Registrar(Shift(), preparation)


def test_it_is_the_standard_deviation_of_the_shift_in_mm(
    registrar: Registrar, tmp_path: Path
) -> None:
    # 2 mm a voxel along the axis of the shift, and turned about the third axis
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 1.0, 3.0])
    affine[:3, 3] = [-10, 5, 7]
    fixed = image(tmp_path / "fixed.nii.gz", affine)
    moving = image(tmp_path / "moving.nii.gz", affine)
    like = registrar.register(moving, fixed, SETTINGS[0]).moved
    found = spread_image(registrar.transforms(moving, fixed, SETTINGS), like)

    shifts_mm = 2.0 * MOST * np.array([0.0, 0.25, 0.75])
    np.testing.assert_allclose(np.asarray(found.dataobj), shifts_mm.std(ddof=1), rtol=1e-5)

    nibabel.save(found, tmp_path / "sd.nii.gz")
    written = nibabel.Nifti1Image.from_filename(tmp_path / "sd.nii.gz")
    original = nibabel.Nifti1Image.from_filename(fixed)
    assert written.shape == original.shape
    assert written.get_data_dtype() == np.float32
    for form in ("get_qform", "get_sform"):
        matrix, code = getattr(written.header, form)(coded=True)
        expected, expected_code = getattr(original.header, form)(coded=True)
        assert code == expected_code
        np.testing.assert_allclose(matrix, expected, atol=1e-5)
    assert written.header.get_xyzt_units() == original.header.get_xyzt_units()


def test_the_moving_image_may_lie_on_another_grid(registrar: Registrar, tmp_path: Path) -> None:
    fixed = image(tmp_path / "fixed.nii.gz", np.diag([2.0, 2.0, 2.0, 1.0]))
    moving = image(tmp_path / "moving.nii.gz", np.diag([2.0, 2.0, 2.0, 1.0]), shape=(20, 20, 9))
    like = registrar.register(moving, fixed, SETTINGS[0]).moved
    found = spread_image(registrar.transforms(moving, fixed, SETTINGS), like)
    expected = 2.0 * MOST * np.std([0.0, 0.25, 0.75], ddof=1)
    np.testing.assert_allclose(np.asarray(found.dataobj), expected, rtol=1e-5)


def test_one_transformation_has_no_spread(registrar: Registrar, tmp_path: Path) -> None:
    fixed = image(tmp_path / "fixed.nii.gz", np.eye(4))
    like = registrar.register(fixed, fixed, SETTINGS[0]).moved
    found = spread_image(registrar.transforms(fixed, fixed, SETTINGS[1:2]), like)
    assert not np.asarray(found.dataobj).any()


def test_every_voxel_has_the_spread_of_its_own_displacements(
    registrar: Registrar, tmp_path: Path
) -> None:
    fixed = image(tmp_path / "fixed.nii.gz", np.diag([1.5, 1.0, 1.0, 1.0]))
    transforms = list(registrar.transforms(fixed, fixed, SETTINGS))
    generator = np.random.default_rng(1)
    for one in transforms:
        one.coordinates[...] += generator.normal(size=one.coordinates.shape)
    like = registrar.register(fixed, fixed, SETTINGS[0]).moved
    found = np.asarray(spread_image(transforms, like).dataobj)
    voxel = (3, 4, 5)
    places = np.stack([one.coordinates[voxel] for one in transforms]) * [1.5, 1.0, 1.0]
    apart = places - places.mean(axis=0)
    assert found[voxel] == pytest.approx(math.sqrt((apart**2).sum() / 2), rel=1e-5)
