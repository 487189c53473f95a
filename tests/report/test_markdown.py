"""The summary of a report as Markdown."""

import re
from pathlib import Path

import pytest
from markdown import markdown  # type: ignore[import-untyped]

from hmopt.report import headline, write_report, write_results
from hmopt.report.markdown import plain
from hmopt.report.material import Material, held_out_score, read_material
from hmopt.report.words import gain_text, number, setting_value
from tests.report.conftest import EVIL


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture(scope="module")
def text(study_folder: Path) -> str:
    page = write_report(study_folder)
    return (page.parent / "summary.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rendered(text: str) -> str:
    return str(markdown(text, extensions=["tables", "fenced_code"]))


def rows(text: str, first: str) -> list[str]:
    """Return the cells of the row that begins with a cell."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_it_begins_with_the_headline(text: str, material: Material) -> None:
    first = text.splitlines()[2]
    assert first.startswith("**λ = ")
    assert headline(material).startswith(first.strip("*").replace("\\", ""))


def test_a_row_has_the_numbers_of_the_page(text: str, material: Material) -> None:
    finding = material.finding(label="thalamus")
    held, score = finding.held_out, held_out_score(finding)
    assert held is not None
    assert score is not None
    cells = rows(text, "thalamus")
    assert cells[1].startswith(setting_value(finding.full.optimum.setting["regularization"]))
    assert cells[2].startswith(number(score.value))
    assert cells[3] == gain_text(held.over_default.estimate)
    assert cells[4] == gain_text(held.over_common.estimate)


def test_every_table_has_cells_for_its_columns(text: str) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(tables) >= 4
    for table in tables:
        counts = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1


def test_names_from_the_data_stay_text(rendered: str, text: str) -> None:
    assert "<b onclick" not in text
    assert "<b " not in rendered
    assert "&lt;b onclick" in rendered
    assert plain(EVIL) in text


def test_verdicts_methods_and_references_stand_in_it(rendered: str, text: str) -> None:
    assert "How finely should λ be chosen?" in rendered
    assert "<table>" in rendered
    assert "## Methods" in text
    assert "### References" in text
    assert "@article{hoopes2022," in text


def test_it_is_short(text: str) -> None:
    without_bibtex = text.split("<details>")[0]
    assert len(without_bibtex) < 25_000


def test_results_have_the_same_summary(study_folder: Path, text: str) -> None:
    kept = write_results(study_folder) / "summary.md"
    assert kept.read_text(encoding="utf-8") == text


def test_few_subjects_have_no_interval_in_it(few_folder: Path) -> None:
    text = (write_report(few_folder).parent / "summary.md").read_text(encoding="utf-8")
    assert "too few subjects for an interval" in text
    assert "(" not in "".join(rows(text, "thalamus")[1:5])
