"""The section on one field, of a study whose composed fields have a known share of the gain."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmopt.analysis.composed import FieldGain, judge_fields, plan_fields
from hmopt.ledger.composed import ComposedFields, assignment_space
from hmopt.report.figure import style
from hmopt.report.headline import headline
from hmopt.report.material import Material, read_material
from hmopt.report.part import Section
from hmopt.report.parts.composed import ComposedPart

Compose = Callable[[float], FieldGain]


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture(autouse=True)
def drawn_in_style() -> object:
    with style():
        yield


@pytest.fixture(scope="module")
def compose(material: Material) -> Compose:
    """Make up fields that have a share of what every structure gains from its own setting."""
    measurements = material.measurements
    options = material.searched.search
    plan = plan_fields(measurements, options)
    assert plan is not None
    at = {setting: place for place, setting in enumerate(measurements.settings)}
    count = len(plan.assignments)
    fields = ComposedFields(
        maps="moving",
        width=2.0,
        halves=5,
        assignments=plan.assignments,
        identities=tuple(map(str, range(count))),
    )

    def build(share: float) -> FieldGain:
        dice, folding = [], []
        for assignment in plan.assignments:
            common = at[assignment.common]
            of_field = measurements.values["dice"][common].copy()
            for label, setting in assignment.structures:
                column = measurements.labels.index(label)
                own = measurements.values["dice"][at[setting], :, column]
                of_field[:, column] += share * (own - of_field[:, column])
            dice.append(of_field)
            folding.append(measurements.values["folding"][common] + 0.01)
        composed = replace(
            measurements,
            space=assignment_space(count),
            settings=tuple((number,) for number in range(count)),
            values={"dice": np.array(dice), "folding": np.array(folding)},
        )
        gain = judge_fields(measurements, fields, composed, options)
        assert gain is not None
        return gain

    return build


def section(material: Material, *gains: FieldGain) -> Section:
    made = ComposedPart().section(replace(material, composed=gains))
    assert made is not None
    return made


def test_the_share_stands_in_the_sentence_the_table_and_the_numbers(
    material: Material, compose: Compose
) -> None:
    made = section(material, compose(0.75))
    assert made.found.endswith(
        "One field retains 75 % of the gain of separate fields (95 % interval 75 to 75 %)."
    )
    assert made.table is not None
    assert made.table["share of the gain"].tolist() == ["–", "–", "75 %"]
    numbers = made.numbers["share_of_structure_gain_in_one_field"]["moving"]
    assert numbers["share"] == pytest.approx(0.75)
    assert numbers["gain"]["difference"] == pytest.approx(
        0.75 * numbers["separate_gain"]["difference"]
    )
    folding = numbers["folding"]
    assert folding["one field"] == pytest.approx(folding["common"] + 0.01)
    assert made.table["improves?"].tolist()[1:] == ["yes", "yes"]


def test_where_one_field_has_none_of_the_gain_the_section_says_so(
    material: Material, compose: Compose
) -> None:
    made = section(material, compose(0.0))
    assert "One field retains 0 % of the gain of separate fields" in made.found
    loses = section(material, compose(-0.5))
    assert loses.table is not None
    assert loses.table["improves?"].tolist()[2] == "no, worse"


def test_the_headline_names_the_share_instead_of_registrations_of_their_own(
    material: Material, compose: Compose
) -> None:
    assert "This requires a separate registration for each structure" in headline(material)
    told = headline(replace(material, composed=(compose(0.75),)))
    assert "A single field for all structures retains 75 % of this gain" in told
    none = headline(replace(material, composed=(compose(0.0),)))
    assert "This requires a separate registration for each structure" in none


def test_without_composed_fields_there_is_no_section(material: Material) -> None:
    assert not ComposedPart().has_needed(material)
    assert material.composed == ()
