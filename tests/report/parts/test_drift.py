"""The section on drift, of a study whose best values were made to fall during training."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hmopt.analysis.drift import Trend
from hmopt.report import write_report, write_results
from hmopt.report.figure import style
from hmopt.report.material import Material, read_material
from hmopt.report.part import Section
from hmopt.report.parts.drift import DriftPart
from hmopt.study_folder import StudyFolder


@pytest.fixture(scope="module")
def folder(
    study_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    add_model: Callable[[Path, str, float], None],
) -> Path:
    """The study of the other tests, with two checkpoints more: best values fall by 0.06, 0.05, and 0.03."""
    folder = tmp_path_factory.mktemp("drifting") / "study"
    shutil.copytree(study_folder, folder)
    searched = replace(
        StudyFolder(folder).searched,
        identity_quarter="quarter",
        identity_three_quarters="three",
        identity_half="at half",
    )
    StudyFolder(folder).write_search(replace(searched, steps=900), StudyFolder(folder).pairs)
    for identity, shift in (("quarter", 0.14), ("at half", 0.08), ("three", 0.03)):
        add_model(folder, identity, shift)
    return folder


@pytest.fixture(scope="module")
def material(folder: Path) -> Material:
    return read_material(folder)


def section(material: Material) -> Section:
    with style():
        made = DriftPart().section(material)
    assert made is not None
    return made


def test_it_says_how_the_best_value_moved_and_what_to_do(material: Material) -> None:
    made = section(material)
    assert made.title == "Does λ* still drift with training?"
    assert made.found.startswith("λ* for the whole cohort fell from ")
    assert " in the second half of training (−0.0" in made.found
    assert ". Train longer" in made.found
    assert made.table is not None
    assert {"after 225 steps", "after 450 steps", "after 675 steps", "after 900 steps"} < set(
        made.table.columns
    )
    assert made.table["drifts?"].iloc[0] == "still drifting"
    assert made.numbers["drift"]["cohort"]["regularization"]["says"] == "still moves"
    assert "drifts" in {flag.value for flag in material.cohort.warnings}


def test_the_sentence_fits_what_was_found(material: Material) -> None:
    said = {
        Trend.SETTLED: "λ* for the whole cohort has settled",
        Trend.NONE: "There is no evidence that λ* for the whole cohort still drifts",
        Trend.THROUGHOUT: "λ* for the whole cohort fell throughout training, from ",
        Trend.TOO_FEW: "There are too few subjects",
    }
    for trend, start in said.items():
        drifts = tuple(replace(drift, trend=trend) for drift in material.drifts)
        assert section(replace(material, drifts=drifts)).found.startswith(start)


def test_a_study_with_half_and_full_training_alone_has_no_such_section(study_folder: Path) -> None:
    material = read_material(study_folder)
    assert material.half is not None
    assert not DriftPart().has_needed(material)


def test_checkpoints_are_kept_with_the_results_and_give_the_same_section(
    folder: Path, tmp_path: Path
) -> None:
    write_results(folder)
    shutil.copytree(folder / "results", tmp_path / "results")
    for checkpoint in ("quarter", "half", "three-quarters"):
        assert StudyFolder(tmp_path).results.measurements_file(checkpoint).is_file()
    again = section(read_material(tmp_path))
    assert again.numbers["drift"]["cohort"]["regularization"]["says"] == "still moves"
    summary = json.loads((tmp_path / "results" / "summary.json").read_text(encoding="utf-8"))
    assert summary["drift"]["cohort"]["regularization"]["optima"].keys() == {
        "quarter",
        "half",
        "three-quarters",
        "full",
    }
    assert "Does λ* still drift with training?" in write_report(tmp_path).read_text(
        encoding="utf-8"
    )
