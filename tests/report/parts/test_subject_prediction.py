"""The section on a setting for each person, of a study whose metrics without labels are alike for all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmopt.analysis.evidence import Evidence
from hmopt.report.material import Material, read_material
from hmopt.report.part import Section
from hmopt.report.parts import subject_prediction
from hmopt.report.parts.subject_prediction import SubjectPredictionPart

TRAIT = "similarity"


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture(scope="module")
def section(material: Material) -> Section:
    return SubjectPredictionPart().section(material)


def test_without_features_the_section_tells_what_there_is_to_gain(section: Section) -> None:
    assert "with labels of its other pairs" in section.found
    assert "so nothing was predicted" in section.found
    assert section.table is not None
    assert section.table.iloc[1, 1] == "–"
    numbers = section.numbers["subject_prediction"]
    assert numbers["predicted"] is None
    low, high = numbers["known"]["interval"]
    assert low < numbers["known"]["gain"] < high


@pytest.fixture
def with_trait(material: Material) -> Material:
    """The same study with a similarity that shows a trait of either subject."""
    generator = np.random.default_rng(0)
    measurements = material.measurements
    shift = 0.01 * generator.standard_normal(len(measurements.pairs))
    values = {**measurements.values, TRAIT: measurements.values[TRAIT] + shift}
    search = material.searched.search.model_copy(update={"splits": 20})
    searched = replace(material.searched, search=search)
    return replace(material, measurements=replace(measurements, values=values), searched=searched)


def test_what_is_predicted_stands_beside_what_is_known(with_trait: Material) -> None:
    section = SubjectPredictionPart().section(with_trait)
    assert "Predicting it without labels changes Dice by" in section.found
    assert "image similarity" in section.notes[0]
    numbers = section.numbers["subject_prediction"]
    assert numbers["features"] == [TRAIT]
    assert numbers["predicted"]["evidence"] in [one.value for one in Evidence]


def test_without_scikit_learn_the_section_says_how_to_get_it(
    with_trait: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmopt.analysis.subject_prediction.has_default_regressor", lambda: False)
    monkeypatch.setattr(subject_prediction, "has_default_regressor", lambda: False)
    section = SubjectPredictionPart().section(with_trait)
    assert "hmopt[prediction]" in section.found
    assert section.numbers["subject_prediction"]["predicted"] is None


def test_a_study_of_four_subjects_has_no_such_section(few_folder: Path) -> None:
    assert not SubjectPredictionPart().has_needed(read_material(few_folder))
