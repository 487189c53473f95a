"""The section on the amortization gap, of stages with known losses and best settings."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmopt.analysis.gap import GapResult, gap_settings, judge_gap
from hmopt.report.figure import style
from hmopt.report.material import Material, read_material
from hmopt.report.part import Section
from hmopt.report.parts.gap import AmortizationGapPart
from hmopt.report.summary import summary
from hmopt.space import Hyperparameter, Space
from tests.analysis.made_up_stages import make_stages

MakeGap = Callable[..., GapResult]


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture(autouse=True)
def drawn_in_style() -> object:
    with style():
        yield


@pytest.fixture(scope="module")
def make_gap(material: Material) -> MakeGap:
    """Refined Dice falls from a given best value, or is that of the model and 0.01 more."""
    options = material.searched.search
    measured = material.measurements
    few = measured.at(gap_settings(measured, options))

    def build(best: float | None = None, **changes: float) -> GapResult:
        dice = few.values["dice"]
        refined = dice + 0.01
        if best is not None:
            values = np.array([few.space.coordinates(index)[0] for index in few.settings])
            refined = dice - dice.mean(axis=0) + 0.8 - (values[:, None, None] - best) ** 2
        record, stages = make_stages(few, [dice, refined, refined], options)
        changed = [
            replace(stage, values={**stage.values, **_full(stage.values, changes)})
            for stage in stages
        ]
        gap = judge_gap(measured, record, changed, options)
        assert gap is not None
        return gap

    return build


def _full(values: Mapping[str, np.ndarray], changes: dict[str, float]) -> dict[str, np.ndarray]:
    return {name: np.full(values[name].shape, value) for name, value in changes.items()}


def section(material: Material, gap: GapResult) -> Section:
    return AmortizationGapPart().section(replace(material, gap=gap))


def test_a_study_of_the_model_refined_stands_for_it_else_the_gap_does(
    material: Material, make_gap: MakeGap
) -> None:
    made = section(material, make_gap())
    told = made.numbers["amortization_gap"]
    alone = summary(material, [made])
    assert alone["dice_held_out_refined"] == told["dice_held_out_refined"]
    assert alone["dice_held_out_refined_interval"] == told["dice_held_out_refined_interval"]
    assert alone["seconds_per_pair_refined"] == told["seconds_per_pair_refined"]
    beside = replace(made, numbers={"dice_held_out_refined": 0.9, "seconds_per_pair_refined": 3.0})
    for order in ([made, beside], [beside, made]):
        both = summary(material, order)
        assert both["dice_held_out_refined"] == 0.9
        assert both["seconds_per_pair_refined"] == 3.0


def test_the_sentence_the_table_and_the_numbers_tell_the_same(
    material: Material, make_gap: MakeGap
) -> None:
    gap = make_gap()
    made = section(material, gap)
    assert (
        "registrations is 20.0 % above its minimum. At the minimum, Dice changes by +0.010"
        in made.found
    )
    assert "After 25 iterations of refinement, it is 2.0 % above the minimum" in made.found
    assert "at 1.5 s per pair instead of 0.1 s" in made.found
    assert "λ* of the model carries over to 25 iterations" in made.found
    assert made.table is not None
    answers = made.table["carries over? 25 iterations"]
    titles = made.table[""]
    within = titles == "within subjects"  # four of them
    assert set(answers[within]) == {"too few subjects"}
    assert set(answers[~within]) == {"yes"}
    assert (
        "it carries over for 6, does not carry over for 0, and is inconclusive for 0; 1 have too few subjects"
        in made.found
    )
    assert len(made.table) == len(gap.scopes)
    told = made.numbers["amortization_gap"]
    assert told["loss_gap"] == pytest.approx(0.2)
    assert told["dice_gap"] == pytest.approx(0.01)
    assert told["carries_over"]["whole cohort"] == "yes"
    assert told["sentence"] == made.found
    assert told["not_converged"] == 0
    held_out = gap.cohort.held_out[1]
    assert held_out is not None
    assert told["dice_held_out_refined"] == pytest.approx(held_out.value)
    assert made.numbers["seconds_per_pair"] == pytest.approx(0.1)
    assert told["seconds_per_pair_refined"] == pytest.approx(1.5)
    held_out_table, settings = made.further
    assert len(held_out_table.content) == len(gap.scopes)
    assert len(settings.content) == len(gap.settings)
    assert list(made.figures) == ["amortization-gap-regularization"]


def test_where_the_best_setting_does_not_carry_over_the_section_says_so(
    material: Material, make_gap: MakeGap
) -> None:
    made = section(material, make_gap(best=0.9))
    assert "does not carry over to 25 iterations: held-out Dice changes by −" in made.found
    told = made.numbers["amortization_gap"]
    assert told["carries_over"]["whole cohort"] == "no"
    assert told["change"]["whole cohort"][2] < 0


def test_without_times_or_a_minimum_the_sentence_does_without(
    material: Material, make_gap: MakeGap
) -> None:
    made = section(material, make_gap(wall_time_s=np.nan, loss=0.0))
    assert "0.000 above its minimum" in made.found
    assert "per pair instead of" not in made.found
    assert (
        made.numbers["amortization_gap"]["loss_gap"] != made.numbers["amortization_gap"]["dice_gap"]
    )


def test_several_hyperparameters_have_a_figure_each_and_their_symbols(material: Material) -> None:
    space = Space(
        hyperparameters=(
            Hyperparameter(name="regularization", step=0.5),
            Hyperparameter(name="label_weight", step=0.5),
        )
    )
    options = material.searched.search
    settings = tuple((one, other) for one in range(3) for other in range(3))
    dice = material.measurements.values["dice"][:9]
    measured = replace(
        material.measurements,
        space=space,
        settings=settings,
        values={"dice": dice, "folding": np.zeros(dice.shape[:2])},
    )
    record, stages = make_stages(measured, [dice, dice, dice], options)
    gap = judge_gap(measured, record, stages, options)
    assert gap is not None
    searched = replace(material.searched, space=space)
    made = section(replace(material, searched=searched), gap)
    assert list(made.figures) == [
        "amortization-gap-regularization",
        "amortization-gap-label_weight",
    ]
    assert made.table is not None
    assert made.table["λ*, γ*, model alone (95 %)"][0].startswith("λ = ")
    assert made.further[1].title == "At each setting"


def test_without_measurements_there_is_no_section(material: Material) -> None:
    assert not AmortizationGapPart().has_needed(material)
    assert material.gap is None
