"""The section on metrics without labels, of a study whose similarity is best at λ = 0."""

from pathlib import Path

import pytest

from hmopt.analysis.evidence import Evidence
from hmopt.report.figure import style
from hmopt.report.material import Material, read_material
from hmopt.report.part import Section
from hmopt.report.parts.without_labels import WithoutLabelsPart


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture(scope="module")
def section(material: Material) -> Section:
    with style():
        return WithoutLabelsPart().section(material)


def test_each_metric_without_labels_has_a_row_and_so_has_the_default(section: Section) -> None:
    assert section.table is not None
    assert section.table[""].tolist() == [
        "share of folded voxels",
        "standard deviation of the log Jacobian",
        "image similarity",
        "no search",
    ]
    chosen = dict(zip(section.table[""], section.table["chosen setting"], strict=True))
    # similarity falls with λ, and so do folding and the spread of the Jacobian
    assert chosen["image similarity"] == "λ = 0.00"
    assert chosen["share of folded voxels"] == "λ = 1.00"


def test_numbers_go_into_the_summary_by_metric_and_scope(
    section: Section, material: Material
) -> None:
    numbers = section.numbers["regret_without_labels"]
    assert set(numbers) == {"folding", "log_jacobian_sd", "similarity"}
    similarity = numbers["similarity"]
    assert similarity["in"] == "dice"
    assert similarity["setting"] == {"regularization": 0.0}
    low, high = similarity["interval"]
    assert low < similarity["regret"] < high
    # λ = 1 is far from all best values
    assert numbers["log_jacobian_sd"]["evidence"] == Evidence.FOUND.value
    assert set(similarity["scopes"]) == {"label", "task"}
    assert len(similarity["scopes"]["label"]) == len(material.measurements.labels)


def test_a_study_of_four_subjects_is_told_that_they_are_too_few(few_folder: Path) -> None:
    section = WithoutLabelsPart().section(read_material(few_folder))
    assert "too few subjects for a verdict" in section.found
