"""The published model of cLapIRN beside what its authors' code gives."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import hmopt
from hmopt.interop import clapirn
from hmopt.interop.model import FileModel

NAME = "LDR_OASIS_NCC_unit_disp_add_fea4_reg01_10_lite_stagelvl3_60000.pth"


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "clapirn"


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FileModel:
    """The model, read from its converted file."""
    destination = tmp_path_factory.mktemp("clapirn") / "converted.safetensors"
    return hmopt.load_model(clapirn.convert(folder / NAME, destination))


def image(path: Path) -> NDArray[np.float32]:
    values = nibabel.Nifti1Image.from_filename(path).get_fdata()
    scaled = (values - values.min()) / (values.max() - values.min())
    return np.asarray(scaled, np.float32)


def test_the_converted_file_is_the_same_model(folder: Path, model: FileModel) -> None:
    assert hmopt.load_model(folder / NAME).identity == model.identity


@pytest.mark.parametrize("place", [0.1, 0.9])
def test_displacement_and_moved_image_are_those_of_the_authors_code(
    folder: Path, model: FileModel, place: float
) -> None:
    moving = image(folder / "image_B_fullsize.nii.gz")
    fixed = image(folder / "image_A_fullsize.nii.gz")
    found = model.displacement(moving, fixed, {"regularization": place})

    reference = np.load(folder / f"reference_reg{place}.npz")
    # theirs has the components last, that of the last axis first
    expected = reference["displacement_stride8"][..., ::-1].transpose(3, 0, 1, 2)
    np.testing.assert_allclose(found[:, ::8, ::8, ::8], expected, atol=1e-3)
    assert np.abs(found).max() == pytest.approx(reference["displacement_abs_max"], abs=1e-3)
    assert np.abs(found).mean() == pytest.approx(reference["displacement_abs_mean"], abs=1e-3)

    every_fourth = np.asarray(np.mgrid[:160:4, :192:4, :224:4])
    coordinates = every_fourth + found[:, ::4, ::4, ::4]
    moved = ndimage.map_coordinates(moving, coordinates, order=1, mode="nearest")
    np.testing.assert_allclose(moved, reference["moved_stride4"], atol=1e-4)
