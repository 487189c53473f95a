"""A cohort stored in other conventions, taken through training and search, has the same λ*."""

from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from typer.testing import CliRunner

from hmopt.cli.app import app
from hmopt.study_folder import StudyFolder, read_folder
from hmopt.workflow.register import recommended_setting
from tests.geometry.conftest import Array, affine, head

STUDY = """
name = "x"

[cohort]
manifest = "{manifest}"
label_names = "{names}"

[preprocessing]
shape = [32, 32]
placement = "header"
spacing_mm = [1.0, 1.0]

[split]
train = 2
tune = 2
search = 4

[network]
encoder = [4, 8]
decoder = [8]
final = [4]

[hypernetwork]
widths = [8]

[training]
steps = 20
batch = 2
threads = 1

[search]
coarse = 5
refinements = 1
min_paired_subjects = 2
scopes = [["cohort"], ["label"]]
"""
SUBJECTS = 8


def run_study(folder: Path, codes: str | None, unit: str) -> Path:
    """Write planes of heads in an order of axes and a unit, and train and search a study of them."""
    per_mm = {"mm": 1.0, "micron": 1e3}[unit]
    data = folder / "data"
    data.mkdir(parents=True)
    rows = ["image,label,subject"]
    for number in range(SUBJECTS):
        plane = head(number, (24, 28, 9))[:, :, 4:5]
        labels = (plane > 60).astype(np.uint8)
        labels[:, 14:][labels[:, 14:] == 1] = 2
        for kind, voxels in (("image", plane), ("label", labels)):
            save(data / f"{number}_{kind}.nii.gz", voxels, affine(), codes, per_mm, unit)
        rows.append(f"{number}_image.nii.gz,{number}_label.nii.gz,s{number}")
    (data / "dseg.tsv").write_text("index\tname\n1\tfront\n2\tback\n", encoding="utf-8")
    (data / "cohort.csv").write_text("\n".join(rows), encoding="utf-8")
    study = folder / "study"
    study.mkdir()
    text = STUDY.format(
        manifest=(data / "cohort.csv").as_posix(), names=(data / "dseg.tsv").as_posix()
    )
    (study / "study.toml").write_text(text, encoding="utf-8")
    for command in ("train", "search"):
        result = CliRunner().invoke(app, [command, str(study), "--device", "cpu"])
        assert result.exit_code == 0, result.output
    return study


def save(
    path: Path, voxels: Array, matrix: Array, codes: str | None, per_mm: float, unit: str
) -> None:
    if codes is not None:
        order = ornt_transform(io_orientation(matrix), axcodes2ornt(codes))
        matrix = matrix @ inv_ornt_aff(order, voxels.shape)
        voxels = nibabel.orientations.apply_orientation(voxels, order)
    image = nibabel.Nifti1Image(voxels, np.diag([per_mm, per_mm, per_mm, 1.0]) @ matrix)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)


def test_order_of_voxels_and_unit_change_neither_a_measurement_nor_the_optimum(
    tmp_path: Path,
) -> None:
    plain = run_study(tmp_path / "plain", None, "mm")
    stored = run_study(tmp_path / "stored", "PIR", "micron")
    assert recommended_setting(StudyFolder(stored), {}) == recommended_setting(
        StudyFolder(plain), {}
    )
    one, other = read_folder(plain), read_folder(stored)
    np.testing.assert_allclose(other.values["dice"], one.values["dice"], atol=1e-6)
