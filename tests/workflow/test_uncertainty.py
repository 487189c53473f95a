"""Uncertainty of displacements over the confidence set of the best setting, by command."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.analysis.evidence import Evidence
from hmopt.cli.app import app
from hmopt.errors import DataError, DeclarationError, SearchError
from hmopt.study_folder import StudyFolder
from hmopt.workflow.search import Swept
from hmopt.workflow.uncertainty import confidence_set
from tests.workflow.test_landmarks import SHIFT, folder

__all__ = ["folder"]

ROOT = Path(__file__).parents[2]
MM = 2.0
"""Side of a voxel along the shift."""


@pytest.fixture
def swept(folder: Path) -> Swept:
    return hmopt.search(folder, uncertainty=True, uncertainty_settings=4)


def pair(folder: Path) -> tuple[Path, Path]:
    return folder / "sub-1_ses-2.nii.gz", folder / "sub-1_ses-1.nii.gz"


def shifts(settings: object) -> np.ndarray:
    assert isinstance(settings, list | tuple)
    return np.array([float(one["shift"]) for one in settings])


def test_landmarks_and_a_pair_have_the_spread_of_the_shift(folder: Path, swept: Swept) -> None:
    found = swept.uncertainty
    assert found is not None
    record = found.record
    tried = shifts(record.settings)
    low, high = confidence_set(StudyFolder(folder), {}).intervals["shift"]
    assert 2 <= len(tried) <= 4
    assert tried.min() >= low - 1e-9
    assert tried.max() <= high + 1e-9
    assert record.unit == "mm"
    assert [one.pair for one in record.pairs] == list(swept.measurements.pairs["pair"])
    for one in record.pairs:
        np.testing.assert_allclose(one.uncertainty, MM * tried.std(ddof=1), atol=1e-4)
        off = abs(float(record.setting["shift"]) - SHIFT)
        np.testing.assert_allclose(one.error, MM * off, atol=1e-4)
    # every landmark is moved by the same
    assert found.evidence is Evidence.FLAT

    moving, fixed = pair(folder)
    output = folder / "sd.nii.gz"
    registered = hmopt.register(folder, moving, fixed, uncertainty=output, uncertainty_settings=4)
    assert shifts(registered.uncertainty_settings).tolist() == tried.tolist()
    written = nibabel.Nifti1Image.from_filename(output)
    original = nibabel.Nifti1Image.from_filename(fixed)
    assert written.shape == original.shape
    np.testing.assert_array_equal(written.affine, original.affine)
    np.testing.assert_allclose(np.asarray(written.dataobj), MM * tried.std(ddof=1), rtol=1e-4)
    assert f"Uncertainty: {output} (over {len(tried)} settings" in str(registered)

    # a start of its own: the same model, whose displacements are the same
    again = hmopt.register(
        folder, moving, fixed, uncertainty=output, uncertainty_settings=4, starts=[folder]
    )
    assert again.uncertainty_image is not None
    both = np.concatenate([tried, tried])
    np.testing.assert_allclose(
        np.asarray(again.uncertainty_image.dataobj), MM * both.std(ddof=1), rtol=1e-4
    )

    _check_refusals(folder, moving, fixed, output)
    _check_report(folder)


def _check_refusals(folder: Path, moving: Path, fixed: Path, output: Path) -> None:
    with pytest.raises(
        DeclarationError, match="--uncertainty: expected the best setting of a scope"
    ):
        hmopt.register(folder, moving, fixed, uncertainty=output, setting={"shift": 1.0})
    with pytest.raises(DeclarationError, match="--uncertainty-settings: expected --uncertainty"):
        hmopt.register(folder, moving, fixed, uncertainty_settings=3)
    with pytest.raises(DeclarationError, match="--uncertainty-settings: expected a whole number"):
        hmopt.register(folder, moving, fixed, uncertainty=output, uncertainty_settings=1)
    with pytest.raises(DeclarationError, match="--start: expected --uncertainty"):
        hmopt.register(folder, moving, fixed, starts=[folder])
    bare = folder / "bare"
    bare.mkdir()
    for name in ("study.toml", "shifting.py", "cohort.csv", "couples.csv"):
        shutil.copy(folder / name, bare)
    for path in [*folder.glob("sub-*.nii.gz"), *folder.glob("sub-*.csv")]:
        shutil.copy(path, bare)
    arguments = ["register", str(bare), str(moving), str(fixed), "--moved", str(bare / "m.nii.gz")]
    further = ["--uncertainty", str(bare / "sd.nii.gz"), "--uncertainty-settings", "3"]
    outcome = CliRunner().invoke(app, [*arguments, *further], env={"COLUMNS": "400"})
    assert outcome.exit_code == 2
    assert "Run `hmopt search` first" in outcome.output
    assert not (bare / "sd.nii.gz").exists()


def _check_report(folder: Path) -> None:
    hmopt.report(folder, results=True)
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert 'id="uncertainty"' in page
    assert "Uncertainty or error is equal at all 12 landmarks of 6 pairs" in page
    assert "confidence set" in (folder / "report" / "summary.md").read_text(encoding="utf-8")
    results = StudyFolder(folder).results
    summary = json.loads(results.summary_file.read_text(encoding="utf-8"))
    assert summary["uncertainty"]["landmarks"] == 12
    assert summary["uncertainty"]["rank_correlation"] is None
    searched = json.loads(results.search_file.read_text(encoding="utf-8"))
    assert set(searched["versions"]) == {"hmopt", "optuna", "torch"}
    committed = StudyFolder(results.path)
    assert committed.uncertainty == StudyFolder(folder).uncertainty
    assert hmopt.check(folder).problems == ()
    results.uncertainty_file.write_text("{}", encoding="utf-8")
    lines = [problem.line for problem in hmopt.check(folder).problems]
    assert any(
        "uncertainty.json: expected what `hmopt search --uncertainty` wrote" in one for one in lines
    )


def test_a_study_without_landmarks_is_refused_before_it_is_searched(folder: Path) -> None:
    manifest = folder / "cohort.csv"
    text = manifest.read_text(encoding="utf-8").replace("points", "notes")
    manifest.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="--uncertainty: expected a manifest with landmarks"):
        hmopt.search(folder, uncertainty=True)
    assert not (folder / "search.json").exists()


def test_of_one_subject_there_is_no_confidence_set() -> None:
    published = StudyFolder(ROOT / "studies/histology/rat_kidney")
    with pytest.raises(
        SearchError, match="a confidence set of the best setting, which needs 5 sub"
    ):
        confidence_set(published, {})
