"""What a report says of the one before."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import hmopt
from hmopt.errors import HmoptError
from hmopt.files import write_json
from hmopt.report.changes import (
    RecordedScope,
    RecordedSection,
    ReportRecord,
    changes_between,
    read_last,
    write_last,
)
from hmopt.study_folder import StudyFolder


def record(**changed: object) -> ReportRecord:
    values = {
        "metric": "dice",
        "scopes": {
            "label=thalamus": RecordedScope(title="thalamus", setting={"regularization": 0.3})
        },
        "sections": {
            "granularity": RecordedSection(title="How finely?", verdicts={"one λ for all": "yes"}),
            "programs": RecordedSection(title="Beside", verdicts={"A against B": "better"}),
        },
    }
    return ReportRecord.model_validate(values | changed)


def scope(title: str, **setting: float | str) -> RecordedScope:
    return RecordedScope(title=title, setting=dict(setting))


def section(title: str, **verdicts: str) -> RecordedSection:
    return RecordedSection(title=title, verdicts=verdicts)


def test_the_same_report_has_not_changed() -> None:
    assert not changes_between(record(), record())
    assert str(changes_between(record(), record())) == ""


def test_a_best_value_changed_where_it_is_written_otherwise() -> None:
    same = record(scopes={"label=thalamus": scope("thalamus", regularization=0.3 + 1e-12)})
    assert not changes_between(record(), same)
    other = record(scopes={"label=thalamus": scope("thalamus", regularization=0.305)})
    assert changes_between(record(), other).optima == ("λ* of thalamus: 0.30 → 0.305",)


def test_an_inactive_or_categorical_value_is_told() -> None:
    before = record(scopes={"cohort": scope("whole cohort", similarity="CC", window_radius=2.0)})
    now = record(scopes={"cohort": scope("whole cohort", similarity="MI")})
    assert changes_between(before, now).optima == (
        "similarity* of whole cohort: CC → MI",
        "window radius* of whole cohort: 2.00 → –",
    )


def test_verdicts_scopes_sections_and_compared_methods_are_told() -> None:
    now = record(
        scopes={"label=putamen": scope("putamen", regularization=0.3)},
        sections={
            "granularity": RecordedSection(
                title="How finely?", verdicts={"one λ for all": "no evidence", "each task": "yes"}
            ),
            "programs": RecordedSection(title="Beside", verdicts={"C against B": "worse"}),
            "gap": section("Amortization gap"),
        },
    )
    found = changes_between(record(), now)
    assert found.verdicts == ("one λ for all: yes → no evidence",)
    assert found.new == ("scope putamen", "Amortization gap", "C against B")
    assert found.gone == ("scope thalamus", "A against B")
    assert str(found) == (
        "Changes since the previous report: 1 verdict changed (one λ for all: yes → no evidence); "
        "added: scope putamen, Amortization gap, C against B; removed: scope thalamus, A against B"
    )


def test_another_metric_is_told() -> None:
    found = changes_between(record(), record(metric="hd95_mm"))
    assert found.verdicts == ("optimized metric: dice → hd95_mm",)


def test_a_line_names_some_and_counts_the_others() -> None:
    scopes = {f"label={name}": scope(name, regularization=0.1) for name in "abcdefghij"}
    line = str(changes_between(record(scopes={}), record(scopes=scopes)))
    assert line.endswith("added: scope a, scope b, scope c, scope d, scope e, scope f and 4 more")
    assert "\n" not in line


def test_a_record_survives_a_file_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert read_last(path) is None
    write_last(path, record())
    assert read_last(path) == record()
    content = json.loads(path.read_text(encoding="utf-8"))
    content["metric"] = "other"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        HmoptError, match=r"report.json: expected the findings of the previous report"
    ):
        read_last(path)


def test_a_report_of_changed_measurements_says_so_and_the_next_one_does_not(
    study_folder: Path, tmp_path: Path, add_model: Callable[[Path, str, float], None]
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study_folder, folder, ignore=shutil.ignore_patterns("report", "results"))
    (folder / "study.toml").unlink()  # made up, it is not what was searched
    search = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    search["search"]["scopes"] = [["cohort"], ["label"]]
    write_json(folder / "search.json", search)
    report = StudyFolder(folder).report
    first = hmopt.report(folder)
    assert first.changes is None
    assert "Changes since the previous report" not in report.page_file.read_text(encoding="utf-8")
    bytes_of_first = {
        path.name: path.read_bytes() for path in report.path.iterdir() if path.is_file()
    }

    again = hmopt.report(folder)
    assert again.changes is not None
    assert not again.changes
    assert str(again) == f"Report: {report.page_file}"
    for name, content in bytes_of_first.items():
        assert (report.path / name).read_bytes() == content, name

    add_model(folder, "moved", 0.2)
    write_json(folder / "search.json", search | {"identity": "moved"})
    changed = hmopt.report(folder)
    assert changed.changes is not None
    assert any(line.startswith("λ* of thalamus: 0.") for line in changed.changes.optima)
    assert str(changed).splitlines()[1].startswith("Changes since the previous report: ")
    page = report.page_file.read_text(encoding="utf-8")
    assert 'id="changes"' in page
    assert changed.changes.optima[0] in page
