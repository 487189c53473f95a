"""What a new user does: declare a study of a few cases, run it, register images that were not in it."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import optuna
import pandas as pd
import pytest
from typer.testing import CliRunner

from hmopt.cli.app import app
from hmopt.data.synthetic import make_cohort

SUBJECTS = 10
FEW = {
    "encoder = [16, 32, 32, 32]": "encoder = [4, 8]",
    "decoder = [32, 32, 32]": "decoder = [8]",
    "final = [16]": "final = [4]",
    "widths = [32, 64, 8]": "widths = [8]",
    "steps = 6000": "steps = 20",
    "batch = 4": "batch = 2",
    "search = 200": "search = 12",
    "tune = 50": "tune = 2",
    "coarse = 10": "coarse = 5",
}
"""What is made smaller in the inferred declaration, so that the test takes seconds."""


def hmopt(*arguments: object) -> str:
    """Run a command as a user does and give what it prints."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Decathlon folder of the first eight subjects' T1 images; the last two subjects are kept aside."""
    source = tmp_path_factory.mktemp("source")
    manifest = pd.read_csv(make_cohort(source, subjects=SUBJECTS, shape=(32, 32)))
    folder = tmp_path_factory.mktemp("cohort")
    first = manifest[(manifest["session"] == "ses-1") & (manifest["modality"] == "T1")]
    for row, (image, label) in enumerate(zip(first["image"], first["label"], strict=True)):
        known = "Tr" if row < SUBJECTS - 2 else "Ts"
        for kind, path in (("images", image), ("labels", label)):
            (folder / f"{kind}{known}").mkdir(exist_ok=True)
            shutil.copy(source / path, folder / f"{kind}{known}" / f"case_{row:02}.nii.gz")
    shutil.copy(source / "dseg.tsv", folder / "dseg.tsv")
    return folder


@pytest.fixture(scope="module")
def study(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study folder after `hmopt new` and `hmopt run`."""
    folder = tmp_path_factory.mktemp("studies") / "mine"
    said = hmopt(
        "new",
        folder,
        "--images",
        cohort / "imagesTr",
        "--labels",
        cohort / "labelsTr",
        "--label-names",
        cohort / "dseg.tsv",
    )
    assert "8 images of 8 subjects" in said
    declaration = (folder / "study.toml").read_text(encoding="utf-8")
    for inferred, small in FEW.items():
        assert inferred in declaration
        declaration = declaration.replace(inferred, small)
    (folder / "study.toml").write_text(declaration, encoding="utf-8")
    hmopt("run", folder)
    return folder


def test_a_run_leaves_model_measurements_studies_and_report(study: Path) -> None:
    for name in (
        "model.safetensors",
        "training.csv",
        "search.json",
        "pairs.csv",
        "report/index.html",
    ):
        assert (study / name).stat().st_size > 0
    names = optuna.get_all_study_names(f"sqlite:///{study / 'studies.db'}")
    assert any("thalamus" in name for name in names)
    optima = pd.read_csv(study / "report/optima.csv")
    assert {
        "scope",
        "value",
        "label",
        "metric",
        "regularization",
        "score",
        "score_held_out",
        "flags",
    } <= set(optima)
    assert "thalamus" in set(optima["label"])


def test_the_same_command_again_changes_no_model_and_no_measurement(study: Path) -> None:
    def state() -> dict[str, bytes]:
        files = [study / "model.safetensors", *sorted((study / "ledger").glob("*.parquet"))]
        return {path.name: path.read_bytes() for path in files}

    before = state()
    hmopt("run", study)
    assert state() == before


def test_images_that_were_not_in_the_cohort_are_registered(
    study: Path, cohort: Path, tmp_path: Path
) -> None:
    moving, fixed = sorted((cohort / "imagesTs").iterdir())
    said = hmopt(
        "register",
        study,
        moving,
        fixed,
        "--moved",
        tmp_path / "moved.nii.gz",
        "--label",
        "thalamus",
    )
    moved, displacement = (
        nibabel.Nifti1Image.from_filename(tmp_path / name)
        for name in ("moved.nii.gz", "moved_displacement.nii.gz")
    )
    reference = nibabel.Nifti1Image.from_filename(fixed)
    assert moved.shape == reference.shape
    np.testing.assert_array_equal(moved.affine, reference.affine)
    assert displacement.shape == (32, 32, 1, 1, 2)
    optima = pd.read_csv(study / "report/optima.csv")
    best = optima[(optima["scope"] == "label") & (optima["label"] == "thalamus")][
        "regularization"
    ].item()
    assert f"regularization {best:g}" in said


def test_a_given_value_is_taken(study: Path, cohort: Path, tmp_path: Path) -> None:
    moving, fixed = sorted((cohort / "imagesTs").iterdir())
    said = hmopt(
        "register",
        study,
        moving,
        fixed,
        "--moved",
        tmp_path / "moved.nii.gz",
        "--regularization",
        "0.3",
    )
    assert "regularization 0.3" in said


def test_results_are_small_and_make_the_same_report_without_the_model(
    study: Path, tmp_path: Path
) -> None:
    hmopt("report", study, "--results")
    assert (
        sum(path.stat().st_size for path in (study / "results").rglob("*") if path.is_file()) < 5e6
    )
    summary = json.loads((study / "results/summary.json").read_text(encoding="utf-8"))
    assert {
        "dice_unregistered",
        "dice_at_optimum",
        "dice_held_out",
        "regularization",
    } <= set(summary)
    times = json.loads((study / "results/times.json").read_text(encoding="utf-8"))
    assert times.keys() == {"training_minutes", "commands", "hours"}
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copytree(study / "results", copy / "results")
    shutil.copy(study / "study.toml", copy)
    hmopt("report", copy)
    original, copied = (pd.read_csv(folder / "report/optima.csv") for folder in (study, copy))
    pd.testing.assert_frame_equal(original, copied, rtol=1e-5)
