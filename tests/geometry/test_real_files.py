"""Real files with unusual headers through `register` and `new`, with SimpleITK and ANTs as judges."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.freesurfer.mghformat import MGHImage

from hmopt.data.inspection import inspect_cohort
from hmopt.data.preprocessing import prepare
from hmopt.declaration import CohortOptions, parse_study
from hmopt.errors import DataError
from hmopt.oracle import open_registrar
from tests.data.whole_cohort import read_cohort
from tests.geometry.conftest import SETTING, Judge, build_model

ORIENTATIONS = ("RAS", "LPS", "LAS", "PIR", "SLA")


@pytest.fixture(scope="session")
def awkward(shared_data: Path) -> Path:
    folder = shared_data / "awkward"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    return folder


@pytest.fixture(scope="session")
def coarse_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("coarse"), (32, 32, 32), spacing_mm=[6.0, 6.0, 6.0])


@pytest.mark.parametrize("stored", ORIENTATIONS)
def test_one_head_in_five_orientations_has_one_field(
    awkward: Path, coarse_model: Path, judge: Judge, stored: str
) -> None:
    fixed = awkward / "orientations" / "RAS.nii.gz"
    plain = judge(coarse_model, awkward / "pair.hdr", fixed, ants_too=False)
    found = judge(coarse_model, awkward / "pair.hdr", awkward / "orientations" / f"{stored}.nii.gz")
    back = nibabel.as_closest_canonical(found.moved)
    difference = np.abs(back.get_fdata() - plain.moved.get_fdata())
    assert np.quantile(difference, 0.999) < 0.01 * np.ptp(plain.moved.get_fdata())


@pytest.mark.parametrize(
    "name",
    [
        "big_endian_int16.nii",
        "four_d_one_volume.nii.gz",
        "no_orientation_big_endian.nii.gz",
        "oblique_epi_slope.nii.gz",
        "pair.hdr",
        "sheared_ct.nii.gz",
    ],
)
def test_an_unusual_file_as_moving_and_as_fixed(
    awkward: Path, coarse_model: Path, judge: Judge, name: str
) -> None:
    head = awkward / "orientations" / "PIR.nii.gz"
    is_large = name == "sheared_ct.nii.gz"  # seven million voxels
    judge(coarse_model, awkward / name, head, inverse_too=not is_large)
    if not is_large:
        judge(coarse_model, head, awkward / name)


def test_the_sheared_ct_is_said_to_lie_elsewhere_for_itk(awkward: Path, coarse_model: Path) -> None:
    head = awkward / "orientations" / "RAS.nii.gz"
    remarks = (
        open_registrar(coarse_model).register(awkward / "sheared_ct.nii.gz", head, SETTING).remarks
    )
    assert any(
        "sheared_ct.nii.gz: qform (code 2) and sform (code 2)" in remark for remark in remarks
    )


def test_freesurfer_labels_are_placed_as_the_nifti_of_the_same_affine(
    awkward: Path, coarse_model: Path, tmp_path: Path
) -> None:
    path = awkward / "labels_12175.mgz"
    volume = MGHImage.from_filename(path)
    thinned = nibabel.Nifti1Image(np.asarray(volume.dataobj).astype(np.float32), volume.affine)
    nibabel.save(thinned, tmp_path / "labels.nii.gz")
    head = awkward / "orientations" / "RAS.nii.gz"
    found = [
        open_registrar(coarse_model).register(one, head, SETTING)
        for one in (path, tmp_path / "labels.nii.gz")
    ]
    np.testing.assert_allclose(
        found[0].displacement.get_fdata(), found[1].displacement.get_fdata(), atol=1e-3
    )


def test_minc_is_registered(awkward: Path, coarse_model: Path, tmp_path: Path) -> None:
    path = awkward / "tiny.mnc"
    volume = nibabel.minc1.Minc1Image.from_filename(path)
    nibabel.save(
        nibabel.Nifti1Image(volume.get_fdata(dtype=np.float32), volume.affine),
        tmp_path / "tiny.nii.gz",
    )
    head = awkward / "orientations" / "RAS.nii.gz"
    found = [
        open_registrar(coarse_model).register(one, head, SETTING)
        for one in (path, tmp_path / "tiny.nii.gz")
    ]
    np.testing.assert_allclose(
        found[0].displacement.get_fdata(), found[1].displacement.get_fdata(), atol=1e-3
    )


@pytest.mark.parametrize(
    "name",
    [
        "complex.nii.gz",
        "four_d_20_volumes_slope.nii",
        "four_d_oblique.mgz",
        "nifti2_oblique_4d.nii.gz",
    ],
)
def test_several_volumes_and_complex_numbers_are_refused(
    awkward: Path, coarse_model: Path, name: str
) -> None:
    with pytest.raises(DataError, match=name):
        open_registrar(coarse_model).register(
            awkward / name, awkward / "orientations" / "RAS.nii.gz", SETTING
        )


def test_five_orientations_of_one_head_are_a_cohort_of_equal_images(
    awkward: Path, tmp_path: Path
) -> None:
    rows = ["image,label,subject"]
    for number, name in enumerate((*ORIENTATIONS, "RAS")):
        image = nibabel.Nifti1Image.from_filename(awkward / "orientations" / f"{name}.nii.gz")
        data = image.get_fdata(dtype=np.float32)
        nibabel.save(nibabel.Nifti1Image(data, image.affine), tmp_path / f"{number}.nii.gz")
        labels = (data > 0.5 * data.max()).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), tmp_path / f"{number}_dseg.nii.gz")
        rows.append(f"{number}.nii.gz,{number}_dseg.nii.gz,s{number}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows))
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\tbright\n")
    cohort = CohortOptions(manifest=tmp_path / "cohort.csv", label_names=tmp_path / "dseg.tsv")
    found = inspect_cohort(read_cohort(cohort))
    assert found.overlaps["header"] == pytest.approx(1, abs=0.01)
    assert found.best_placement == "header"
    study = parse_study(
        {
            "name": "x",
            "cohort": cohort.model_dump(),
            "preprocessing": {"shape": [64, 80, 80], "placement": "header"},
            "split": {"train": 2, "tune": 2, "search": 2},
        }
    )
    prepared = prepare(study, tmp_path / "study")
    for number in range(1, 6):
        np.testing.assert_allclose(prepared.image(str(number)), prepared.image("0"), atol=1e-4)
        np.testing.assert_array_equal(prepared.label_map(str(number)), prepared.label_map("0"))
