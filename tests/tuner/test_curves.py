import shutil
from pathlib import Path

import pytest

import hmopt
from hmopt.errors import DeclarationError
from hmopt.study_folder import StudyFolder
from hmopt.tuner.curves import read_findings
from hmopt.workflow.register import recommended_setting

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "studies/synthetic/demo"
"""Committed results: no model is needed."""


def test_best_settings_are_those_that_register_takes() -> None:
    files = StudyFolder(DEMO)
    findings = read_findings(files)
    cohort, *labels = findings.scopes
    assert cohort.title == "whole cohort"
    assert cohort.setting == recommended_setting(files, {}).best
    of_labels = {one.title: one.setting for one in labels if one.family == "structure"}
    assert set(of_labels) == set(files.searched.labels)
    for label, setting in of_labels.items():
        assert setting == recommended_setting(files, {"label": label}).best


def test_curves_are_the_means_of_the_measurements() -> None:
    files = StudyFolder(DEMO)
    measurements = files.measurements()
    curves = {curve.label: curve for curve in read_findings(files).curves}
    assert list(curves) == [None, *measurements.labels]
    label = measurements.labels[0]
    response = curves[label].responses["regularization"]
    scores = measurements.score("dice", label)
    for place, index in enumerate(measurements.settings):
        assert response.values[place] == measurements.space.setting(index)["regularization"]
        known = scores[place][~(scores[place] != scores[place])]
        assert response.means[place] == pytest.approx(known.mean())
    low, high = response.interval or (1.0, 0.0)
    assert isinstance(response.best, float)
    assert low <= response.best <= high


def test_a_folder_without_a_search_says_so(tmp_path: Path) -> None:
    findings = read_findings(StudyFolder(tmp_path))
    assert findings.curves == []
    assert findings.scopes == []
    assert "hmopt search" in (findings.remark or "")


def test_a_published_folder_tells_its_best_settings_alone(searched: Path, tmp_path: Path) -> None:
    hmopt.publish(searched, tmp_path / "published", data_license="cc-by-4.0")
    own = read_findings(StudyFolder(searched))
    published = read_findings(StudyFolder(tmp_path / "published"))
    assert published.curves == []
    assert "no curves" in (published.remark or "")
    settings = {one.title: one.setting for one in own.scopes}
    assert {one.title: one.setting for one in published.scopes}.items() <= settings.items()


def test_a_search_of_another_declaration_is_refused(searched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(searched, folder)
    declaration = folder / "study.toml"
    text = declaration.read_text(encoding="utf-8")
    declaration.write_text(text.replace("search = 20", "search = 19"), encoding="utf-8")
    with pytest.raises(DeclarationError, match="hmopt search"):
        read_findings(StudyFolder(folder))
