from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from hmopt.data.image import find_place, resample_image
from hmopt.data.reference import Reference
from hmopt.data.volume import read_image
from hmopt.declaration import parse_study, read_study
from hmopt.errors import CheckpointError, DataError, DeclarationError
from hmopt.interop.displacement import save_image
from hmopt.interop.preparation import trained_preparation
from hmopt.networks import architecture, build_hypermorph, load_hypermorph, save_hypermorph
from hmopt.oracle import open_registrar
from hmopt.spatial import warp

SETTING = {"regularization": 0.3}


def turned(source: Path, destination: Path, before: int, after: int) -> Path:
    """Write an image with margins along its first axis, then mirrored along it; the header tells both."""
    image = nibabel.Nifti1Image.from_filename(source)
    data = np.pad(np.asarray(image.dataobj), ((before, after), (0, 0)))[::-1]
    to_source = np.diag([-1.0, 1, 1, 1])
    to_source[0, 3] = data.shape[0] - 1 - before
    nibabel.save(nibabel.Nifti1Image(data, image.affine @ to_source), destination)
    return destination


def test_a_registration_is_the_networks_displacement_applied_to_the_moving_image(
    tiny_study: Any,
) -> None:
    moving, fixed = tiny_study.image(1), tiny_study.image(2)
    moved = open_registrar(tiny_study.folder).register(moving, fixed, SETTING).moved

    section = read_study(tiny_study.folder).preprocessing
    network = load_hypermorph(tiny_study.folder / "model.safetensors")[0].bake(SETTING)
    images = []
    for path in (moving, fixed):
        image = read_image(path)
        place = find_place(image, section, Reference(), template=None)
        prepared = resample_image(image, section, place, str(path))[0]
        images.append(torch.from_numpy(prepared.data)[None, None])
    with torch.no_grad():
        displacement = network.displacement(network(*images))
    raw = torch.from_numpy(
        np.asarray(nibabel.Nifti1Image.from_filename(moving).dataobj, dtype=np.float32)
    )[None, None]
    expected = warp(raw, displacement)[0, 0].numpy()
    inner = (slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(np.asarray(moved.dataobj)[inner], expected[inner], atol=1e-4)


def test_the_result_lies_on_the_fixed_files_own_grid_and_itk_makes_the_same(
    tiny_study: Any, tmp_path: Path
) -> None:
    moving = turned(tiny_study.image(1), tmp_path / "moving.nii.gz", before=3, after=1)
    fixed = turned(tiny_study.image(2), tmp_path / "fixed.nii.gz", before=0, after=2)
    found = open_registrar(tiny_study.folder).register(moving, fixed, SETTING)
    save_image(found.displacement, tmp_path / "field.nii.gz")
    reference = nibabel.Nifti1Image.from_filename(fixed)
    assert found.moved.shape == reference.shape
    np.testing.assert_array_equal(found.moved.affine, reference.affine)

    field = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    image = sitk.ReadImage(str(moving), sitk.sitkFloat32)
    resampled = sitk.GetArrayFromImage(
        sitk.Resample(image, field, transform, sitk.sitkLinear, 0.0)
    ).T
    assert np.quantile(np.abs(resampled - np.asarray(found.moved.dataobj)), 0.99) < 1e-3


def test_a_file_stored_mirrored_is_registered_as_if_it_were_not(
    tiny_study: Any, tmp_path: Path
) -> None:
    plain = open_registrar(tiny_study.folder).register(
        tiny_study.image(1), tiny_study.image(2), SETTING
    )
    moving = turned(tiny_study.image(1), tmp_path / "moving.nii.gz", before=2, after=2)
    mirrored = open_registrar(tiny_study.folder).register(moving, tiny_study.image(2), SETTING)
    inner = (slice(3, -3), slice(3, -3))
    images = [np.asarray(found.moved.dataobj)[inner] for found in (plain, mirrored)]
    np.testing.assert_allclose(images[0], images[1], atol=0.01)


def test_a_setting_outside_the_range_is_refused(tiny_study: Any) -> None:
    with pytest.raises(DeclarationError, match="regularization"):
        open_registrar(tiny_study.folder).register(
            tiny_study.image(1), tiny_study.image(2), {"regularization": 1.5}
        )


def test_a_missing_image_is_named(tiny_study: Any) -> None:
    with pytest.raises(DataError, match="nowhere"):
        open_registrar(tiny_study.folder).register(
            Path("nowhere.nii.gz"), tiny_study.image(2), SETTING
        )


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="hmopt train"):
        open_registrar(tmp_path)


def sliced_study(folder: Path, align: str = "none") -> Path:
    """Write an untrained model of two planes of a volume."""
    sections = {
        "name": "slices",
        "cohort": {"manifest": "cohort.csv"},
        "preprocessing": {
            "shape": [32, 32],
            "slices": {"axis": 1, "indices": [1, 3]},
            "align": align,
        },
        "split": {"train": 2, "tune": 2, "search": 2},
        "network": {"encoder": [4, 8], "decoder": [8], "final": []},
    }
    built_as = architecture(parse_study(sections), (32, 32))
    header = {"architecture": built_as, "preprocessing": sections["preprocessing"], "cohort": "0f"}
    save_hypermorph(
        folder / "model.safetensors", build_hypermorph(built_as).hypernetwork.state_dict(), header
    )
    return folder


def volume(path: Path, seed: int) -> Path:
    data = np.random.default_rng(seed).uniform(1, 2, (30, 5, 34)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.0, 4.0, 1.0, 1.0])), path)
    return path


@pytest.mark.filterwarnings("ignore:.*align is now")
def test_of_a_volume_the_declared_slices_are_registered(tmp_path: Path) -> None:
    moving, fixed = volume(tmp_path / "moving.nii", 0), volume(tmp_path / "fixed.nii", 1)
    found = open_registrar(sliced_study(tmp_path)).register(moving, fixed, SETTING)
    moved = np.asarray(found.moved.dataobj)
    assert moved.shape == (30, 5, 34)
    original = np.asarray(nibabel.Nifti1Image.from_filename(moving).dataobj)
    # an untrained network hardly moves anything
    np.testing.assert_allclose(moved[2:-2, [1, 3], 2:-2], original[2:-2, [1, 3], 2:-2], atol=0.05)
    np.testing.assert_allclose(moved[:, [0, 2, 4]], original[:, [0, 2, 4]], atol=1e-6)
    displacement = np.asarray(found.displacement.dataobj)
    assert displacement[:, [1, 3]].any()
    assert not displacement[:, [0, 2, 4]].any()


@pytest.mark.filterwarnings("ignore:.*align is now")
def test_an_aligned_study_needs_its_template(tmp_path: Path) -> None:
    image = volume(tmp_path / "image.nii", 0)
    with pytest.raises(DataError, match="template"):
        open_registrar(sliced_study(tmp_path, align="affine")).register(image, image, SETTING)


@pytest.mark.parametrize("folder", ["", "compare"])
def test_the_template_lies_in_the_study_folder_also_of_a_network_in_compare(
    tmp_path: Path, folder: str
) -> None:
    header = {"preprocessing": {"shape": [32, 32]}, "cohort": "abc", "spacing_mm": [1.0, 1.0]}
    preparation = trained_preparation(tmp_path / folder / "one.safetensors", header)
    assert preparation.template == tmp_path / "prepared" / "abc" / "template.nii.gz"
