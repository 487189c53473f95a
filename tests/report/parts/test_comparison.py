"""The sections on a comparison, of made-up ones whose outcome is known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis.baselines import BaselineComparison, Budget, ChosenRates
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.resampling import Estimate
from hmopt.ledger.measurements import Measurements
from hmopt.report import write_report
from hmopt.report.figure import style
from hmopt.report.material import Material, read_material
from hmopt.report.part import Section
from hmopt.report.parts import agreement, cost, initialization, make_sections, regret
from hmopt.report.summary import summary
from hmopt.search.scopes import WHOLE_COHORT
from hmopt.space import Hyperparameter, Setting, Space

PLACES = np.linspace(0, 1, 9)
SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
PLANE = Space(
    hyperparameters=(
        Hyperparameter(name="regularization"),
        Hyperparameter(name="bending_share", default=0.0),
    )
)
SHIFTS = (-0.002, 0.0, 0.002, 0.001, -0.001)
"""By how much seeds shift in `compare_curves`."""
Build = Callable[..., BaselineComparison]


def hump(best: float, height: float = 0.7) -> np.ndarray:
    return height - 0.4 * (PLACES - best) ** 2


def among(measurements: Measurements, subjects: list[str]) -> Measurements:
    """Measurements of the pairs between some subjects."""
    kept = np.all(
        [measurements.pairs[f"{side}_subject"].isin(subjects) for side in ("moving", "fixed")],
        axis=0,
    )
    pairs, values = measurements.pairs[kept].reset_index(drop=True), measurements.values
    return replace(
        measurements, pairs=pairs, values={name: array[:, kept] for name, array in values.items()}
    )


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture(scope="module")
def build(material: Material, compare_curves: Callable[..., BaselineComparison | None]) -> Build:
    few = sorted({*material.measurements.pairs["moving_subject"]})[:6]
    template = among(material.measurements, few)

    def compared(*arguments: Any, **changes: Any) -> BaselineComparison:
        found = compare_curves(template, *arguments, **changes)
        assert found is not None
        return found

    return compared


@pytest.fixture(scope="module")
def alike(build: Build) -> BaselineComparison:
    """Separate networks 0.002 better, with the same best setting."""
    return build(hump(0.375, 0.702), hump(0.375))


@pytest.fixture(scope="module")
def sections(material: Material, alike: BaselineComparison) -> dict[str, Section]:
    with style():
        made = make_sections(replace(material, compared=alike))
    return {part.anchor: section for part, section in made.items()}


def test_what_was_not_compared_is_not_told(material: Material) -> None:
    with style():
        anchors = {part.anchor for part in make_sections(material)}
    assert not anchors & {"agreement", "regret", "initialization", "cost"}


def test_a_comparison_is_told_in_four_sections_with_rows_for_each_structure(
    sections: dict[str, Section], material: Material
) -> None:
    for anchor in ("agreement", "regret", "initialization"):
        table = sections[anchor].table
        assert table is not None
        assert len(table) == 1 + len(material.measurements.labels)
        assert table.iloc[0, 0] == "whole cohort"
    assert set(sections["agreement"].figures) == {"agreement", "agreement-structures"}
    assert set(sections["initialization"].figures) == {"random-starts"}
    assert set(sections["cost"].figures) == {"cost"}


def test_the_summary_has_the_numbers_of_both_lengths_of_training(
    sections: dict[str, Section], material: Material
) -> None:
    numbers = summary(material, list(sections.values()))
    assert numbers["gap_to_separate"] == pytest.approx(0.002)
    # subjects do not differ in the gap: it is as sure as the means of 3 and of 5 random starts are
    starts = SHIFTS[:3], SHIFTS
    average = float(np.mean(1 + 0.5 * (PLACES - 0.375)))
    welch = stats.ttest_ind(*(average * np.array(shifts) for shifts in starts), equal_var=False)
    low, high = welch.confidence_interval(0.95)
    assert numbers["gap_to_separate_interval"] == pytest.approx([0.002 + low, 0.002 + high])
    assert numbers["gap_upper_bound"] == pytest.approx(0.002 + welch.confidence_interval(0.90).high)
    assert numbers["retraining_regret"] == pytest.approx(0.0, abs=1e-12)
    assert numbers["default_regret"] == pytest.approx(0.4 * 0.125**2)
    assert numbers["training_cost_ratio"] == pytest.approx(2.0)
    assert numbers["rank_correlation"].keys() == {"cohort", *material.measurements.labels}
    assert numbers["rank_correlation"]["cohort"] == pytest.approx(1.0)
    deviation = np.std(SHIFTS, ddof=1)
    assert numbers["initialization_sd_hypermorph"] == pytest.approx(deviation)
    assert numbers["initialization_sd_separate"] == pytest.approx(deviation)
    assert numbers["break_even_settings"] >= 3
    equal = numbers["equal_steps"]
    assert equal["gap_to_separate"] == pytest.approx(0.012)
    assert equal["training_cost_ratio"] == pytest.approx(3.75 / 3.5)
    assert equal["initialization_sd_hypermorph"] == pytest.approx(0.002)
    assert numbers["gap_equal_steps"] == pytest.approx(0.012)
    assert numbers["gap_equal_steps_interval"] == pytest.approx(equal["gap_to_separate_interval"])
    assert numbers["gap_equal_steps_upper_bound"] > numbers["gap_equal_steps"]
    assert numbers["time_ratio_equal_steps"] == pytest.approx(3.75 / 3.5)
    json.dumps(numbers, allow_nan=False)


def test_the_page_shows_the_sections(
    material: Material, alike: BaselineComparison, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        told = replace(material, compared=alike, findings=material.findings[:1])
        patch.setattr("hmopt.report.write.read_material", lambda *_: told)
        page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Agreement with separately trained networks" in page
    assert "How much Dice is lost by retraining at λ*?" in page
    assert (tmp_path / "report" / "figures" / "agreement-structures.png").is_file()


def test_settings_that_lie_along_no_curve_are_listed_with_their_scores_and_gaps(
    alike: BaselineComparison,
) -> None:
    along = alike.main.agreements[WHOLE_COHORT]
    apart = [{**one, "bending_share": 1.0} for one in along.settings]
    apart[0] = {**apart[0], "bending_share": 0.0}
    with style():
        listed = agreement.agreement_figure(replace(along, settings=tuple(apart)), PLANE, "dice")
        curve = agreement.agreement_figure(along, SPACE, "dice")
    scores, gaps = listed.axes
    names = [text.get_text() for text in scores.get_yticklabels()]
    assert len(names) == len(apart)
    assert names[1] == "λ = 0.125, β = 1.00"
    hypermorph, separate = (container[0].get_xdata() for container in scores.containers)
    assert hypermorph == pytest.approx(along.amortized)
    assert separate == pytest.approx(along.separate)
    drawn = gaps.containers[0][0].get_xdata()
    assert drawn == pytest.approx([one.value for one in along.gaps])
    assert curve.axes[1].get_xlabel() == "λ"


def test_random_starts_are_drawn_along_no_curve_where_there_is_none(
    alike: BaselineComparison,
) -> None:
    separate = alike.separate
    over_starts = separate.along[WHOLE_COHORT]
    apart = tuple({**one, "bending_share": 1.0} for one in over_starts.settings)
    moved = replace(separate, along={WHOLE_COHORT: replace(over_starts, settings=apart)})
    with style():
        scores = initialization.starts_figure([moved], PLANE, "dice", apart[0])
        curves = initialization.starts_figure([separate], SPACE, "dice", alike.optimum)
    assert len(scores.axes) == 1
    assert len(curves.axes) == 3


def gap(
    compared: BaselineComparison, value: float, error: float, subjects: int = 9, starts: int = 3
) -> str:
    """Return the sentence on a mean gap, as if subjects and starts had said so."""
    mean = Mean(value=value, error=error, freedom=subjects - 1, subjects=subjects)
    told = replace(compared.main.agreements[WHOLE_COHORT], mean_gap=mean, initializations=starts)
    main = replace(compared.main, agreements={WHOLE_COHORT: told})
    return agreement.found(replace(compared, budgets=(*compared.budgets[:-1], main)), "dice")


def test_the_sentence_on_the_gap_names_steps_and_cost_before_the_number(
    alike: BaselineComparison,
) -> None:
    sentence = gap(alike, 0.001, 0.002)
    assert (
        "The comparison is between 5 hypermorphs (200 steps), each with 2.0 times the training time of one separate "
        "network, and separate networks with 100 steps (3 starts per setting). The gap (separate − hypermorph) is "
        "+0.001 Dice on average over 9 values of λ (95 % interval −0.004 to 0.006)" in sentence
    )


@pytest.mark.parametrize(
    ("value", "error", "start", "bound"),
    [
        (
            0.0010,
            0.0004,
            "The hypermorphs are equivalent to separately trained networks within a margin of 0.003.",
            "above 0.003 is",
        ),
        (
            0.0060,
            0.0010,
            "The hypermorphs are worse than separately trained networks.",
            "may be better by 0.008 (95 %",
        ),
        (
            -0.006,
            0.0010,
            "The hypermorphs are better than separately trained networks.",
            "above 0.003 is excluded",
        ),
        (
            0.0010,
            0.0020,
            "There is no evidence of a difference between hypermorphs and separately trained networks.",
            "may be better by 0.005 (95 % bound)",
        ),
        (
            0.0000,
            0.0020,
            "There is no evidence of a difference between hypermorphs and separately trained networks.",
            "may be better by 0.004 (95 % bound)",
        ),
    ],
)
def test_the_sentence_on_the_gap_says_who_is_better_and_what_is_excluded(
    alike: BaselineComparison, value: float, error: float, start: str, bound: str
) -> None:
    sentence = gap(alike, value, error)
    assert sentence.startswith(start)
    assert bound in sentence


@pytest.mark.parametrize(("subjects", "starts"), [(4, 3), (9, 1)])
def test_a_gap_of_few_subjects_or_of_a_single_start_is_no_verdict(
    alike: BaselineComparison, subjects: int, starts: int
) -> None:
    sentence = gap(alike, 0.005, 0.001, subjects, starts)
    assert sentence.startswith(
        "There are too few subjects or random starts for a verdict. The comparison is between 5 hypermorphs"
    )
    assert "negligible" not in sentence
    assert "excluded" not in sentence


def test_a_mean_gap_of_nothing_does_not_hide_curves_that_differ(build: Build) -> None:
    crossing = 0.02 * (PLACES - 0.5)
    sentence = agreement.found(build(hump(0.5) + crossing, hump(0.5)), "dice")
    assert "The gap ranges from −0.010 at λ = 0.00 to +0.010 at λ = 1.00" in sentence


@pytest.mark.parametrize(("theirs", "told"), [(0.002, True), (0.0005, False), (None, False)])
def test_learning_rates_are_told_where_they_differ(
    material: Material, alike: BaselineComparison, theirs: float | None, told: bool
) -> None:
    main = replace(alike.main, hypermorphs=replace(alike.main.hypermorphs, learning_rate=0.0005))
    separate = replace(alike.separate, learning_rate=theirs)
    compared = replace(alike, separate=separate, budgets=(*alike.budgets[:-1], main))
    with style():
        section = agreement.AgreementPart().section(replace(material, compared=compared))
    assert section is not None
    sentence = "The learning rate of separate networks was 0.002, that of the hypermorphs 0.0005."
    assert (sentence in section.notes) is told


@pytest.fixture
def at_best_rates(alike: BaselineComparison) -> BaselineComparison:
    """Networks of which each setting has the better of two rates; at the last one the higher diverged."""
    rates = ChosenRates(
        rates=(0.002, 0.004),
        settings=({"regularization": 0.5}, {"regularization": 0.95}),
        tune_dice=np.array([[0.741, 0.748], [0.702, np.nan]]),
        chosen=(0.004, 0.002),
        minutes=5.25,
        steps=150,
    )
    return replace(alike, chosen_rates=rates)


def test_rates_that_were_chosen_are_told_with_the_gap_and_listed_by_setting(
    material: Material, at_best_rates: BaselineComparison
) -> None:
    with style():
        section = agreement.AgreementPart().section(replace(material, compared=at_best_rates))
    assert section is not None
    assert (
        "separate networks with 100 steps (3 starts per setting, each at its best learning rate "
        "among 0.002 and 0.004)" in section.found
    )
    (table,) = section.further
    assert table.content.to_numpy().tolist() == [
        ["λ = 0.50", "0.004", "0.741", "0.748"],
        ["λ = 0.95", "0.002", "0.702", "–"],
    ]
    assert any("0.002 and 0.004 were tried with the first random start" in n for n in section.notes)
    numbers = summary(material, [section])
    assert numbers["separate_rates_tried"] == [0.002, 0.004]
    assert numbers["separate_rates"][1] == {
        "regularization": 0.95,
        "learning_rate": 0.002,
        "tune_dice": [0.702, None],
    }


def test_trials_of_rates_are_the_price_of_separate_networks_and_both_prices_are_told(
    material: Material, at_best_rates: BaselineComparison
) -> None:
    prices = cost.find_prices(at_best_rates, at_best_rates.main, 4, 10, searched=12)
    measured = 10 * 3.5 / 400
    assert prices.cost(1, 9).separate.seconds == pytest.approx(9 * 60 * (5.25 + measured))
    assert prices.cost(1, 9).separate.evaluations == pytest.approx(9 * (150 * 4 + 10))
    known = prices.at_known_rates()
    assert known.cost(1, 9).separate.seconds == pytest.approx(9 * 60 * (3.5 + measured))
    amortized = 7.0 + measured * 12
    assert prices.break_even() == int(amortized / (5.25 + measured)) + 1
    assert known.break_even() == int(amortized / (3.5 + measured)) + 1
    with style():
        section = cost.CostPart().section(replace(material, compared=at_best_rates))
    assert section is not None
    assert (
        "each trained at 2 learning rates to find its best (5.2 minutes per setting)"
        in section.found
    )
    assert "With known learning rates" in section.found
    assert (
        section.numbers["break_even_settings_at_known_rates"]
        >= section.numbers["break_even_settings"]
    )
    assert section.numbers["separate_minutes_all_rates"] == 5.25
    # one training against one training, as before
    assert section.numbers["training_cost_ratio"] == pytest.approx(2.0)


def test_a_rank_correlation_is_told_only_where_there_is_one(
    build: Build, alike: BaselineComparison
) -> None:
    assert agreement.ranking(alike.main.agreements[WHOLE_COHORT]).startswith("1.00 (")
    assert (
        agreement.ranking(
            build(hump(0.375), hump(0.375), (-0.2, 0.0, 0.2)).main.agreements[WHOLE_COHORT]
        )
        == "flat"
    )
    few = replace(alike.main.agreements[WHOLE_COHORT], ranking=Evidence.TOO_FEW)
    assert agreement.ranking(few) == "too few"


def test_an_amortized_model_that_wants_another_setting_is_told_by_its_shift_and_regret(
    build: Build, material: Material
) -> None:
    compared = build(hump(0.875), hump(0.25))
    told = replace(material, compared=compared)
    with style():
        sections = [agreement.AgreementPart().section(told), regret.RegretPart().section(told)]
    curves, loss = (section for section in sections if section is not None)
    assert curves.table is not None
    assert curves.table.iloc[0, -1] == "+0.625"
    assert "the default is the better choice" in loss.found
    assert "(95 % bound), which exceeds the margin of 0.003" in loss.found


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        (0.375, "Retraining at λ* of the hypermorph loses 0.000 Dice"),
        (0.5, "the default is the better choice"),
    ],
)
def test_the_sentence_on_regret_names_the_better_choice(
    build: Build, best: float, expected: str
) -> None:
    told = build(hump(best), hump(0.375)).main.regrets[WHOLE_COHORT]
    assert expected in regret.found(told, SPACE, {"regularization": 0.5}, "dice")


def mean(value: float, error: float, subjects: int = 9) -> Mean:
    return Mean(value=value, error=error, freedom=subjects - 1, subjects=subjects)


def test_losses_that_are_surely_small_are_negligible_and_few_subjects_or_starts_say_nothing(
    build: Build,
) -> None:
    told = build(0.7 + 0.001 * PLACES, hump(0.375)).main.regrets[WHOLE_COHORT]
    sentence = regret.found(told, SPACE, {"regularization": 0.5}, "dice")
    assert sentence.startswith("With confidence, both losses are negligible: retraining")
    few = replace(told, evidence=Evidence.TOO_FEW)
    sentence = regret.found(few, SPACE, {"regularization": 0.5}, "dice")
    assert sentence.startswith(
        "There are too few subjects or random starts for a verdict: retraining"
    )
    unclear = replace(
        told,
        evidence=Evidence.NONE,
        retraining=mean(0.005, 0.002),
        default=mean(0.006, 0.002),
        default_more=mean(0.001, 0.001),
    )
    sentence = regret.found(unclear, SPACE, {"regularization": 0.5}, "dice")
    assert "there is no evidence of a difference" in sentence
    assert "the former is more than half of the latter" in sentence
    assert (
        "the former may be as large as 0.009 (95 % bound), which exceeds the margin of 0.003"
        in sentence
    )


def test_the_regret_says_whether_its_intervals_count_random_starts(
    sections: dict[str, Section], alike: BaselineComparison, material: Material
) -> None:
    (told,) = (note for note in sections["regret"].notes if "random start" in note)
    assert (
        told
        == "Intervals include the variation over subjects (jackknife) and over the 3 random starts of the networks."
    )
    regrets = {scope: replace(one, initializations=1) for scope, one in alike.main.regrets.items()}
    single = replace(alike, budgets=(replace(alike.main, regrets=regrets),))
    made = regret.RegretPart().section(replace(material, compared=single))
    assert made is not None
    (told,) = (note for note in made.notes if "random start" in note)
    assert told.endswith("intervals do not include the variation between random starts.")


def spreads(compared: BaselineComparison, ratio: Estimate, evidence: Evidence) -> str:
    budget = replace(compared.main, spread_ratios={WHOLE_COHORT: (ratio, evidence)})
    return initialization.found(replace(compared, budgets=(budget,)), "dice")


def test_the_sentence_on_random_starts_compares_only_what_can_be_compared(
    alike: BaselineComparison,
) -> None:
    nothing = Estimate(np.nan, np.nan, np.nan)
    assert spreads(alike, nothing, Evidence.TOO_FEW).startswith(
        "There are too few random starts to compare them: at λ"
    )
    sentence = spreads(alike, Estimate(1.0, 0.3, 3.1), Evidence.NONE)
    assert "over random starts is 0.0016 (5 starts) for hypermorphs" in sentence
    assert "there is no evidence of a difference between the two" in sentence
    sentence = spreads(alike, Estimate(0.2, 0.1, 0.6), Evidence.FOUND)
    assert "that of hypermorphs is 0.2 times (95 % interval 0.1 to 0.6) as large" in sentence


def test_the_break_even_point_is_where_the_grid_begins_to_take_longer(
    alike: BaselineComparison, material: Material
) -> None:
    prices = cost.find_prices(alike, alike.main, 4, 10, searched=12)
    settings = prices.break_even()
    assert prices.cost(1, settings - 1).ratio <= 1 < prices.cost(1, settings).ratio
    assert prices.cost(1, 9).separate.seconds == pytest.approx(9 * 60 * (3.5 + 10 * 3.5 / 400))
    sentence = cost.found(
        alike, settings, of_searched=11, searched_steps=16000, at_known_rates=settings
    )
    assert "learning rate" not in sentence
    assert f"from {settings} settings." in sentence
    assert "7.0 minutes, 2.0 times as long as one separate network of" in sentence
    assert "(3.5 minutes)" in sentence
    assert "was trained for 16000 steps and costs less from 11 settings." in sentence


def test_the_searched_model_costs_what_its_own_training_took(
    alike: BaselineComparison, material: Material
) -> None:
    prices = cost.find_prices(alike, alike.main, 4, 10, searched=12)
    as_long = prices.of_model(steps=1600, batch=4, minutes=None)
    assert as_long.hypermorph.seconds == pytest.approx(
        prices.hypermorph.seconds * 1600 * 4 / prices.hypermorph.evaluations
    )
    assert prices.of_model(steps=1600, batch=4, minutes=35.0).hypermorph.seconds == 35.0 * 60


def test_operations_are_those_of_gradients_too_and_of_the_hypernetwork_once_a_step(
    alike: BaselineComparison, material: Material
) -> None:
    counted = replace(alike, pair_operations=1e6, setting_operations=4e5)
    prices = cost.find_prices(counted, counted.main, 4, 10, searched=12)
    nine = prices.cost(1, 9)
    assert nine.separate.operations == pytest.approx(9 * (100 * 4 * 3e6 + 10 * 1e6))
    training = 200 * 4 * 3e6 + 200 * 3 * 4e5
    assert nine.amortized.operations == pytest.approx(training + 10 * 12 * 1e6)


def test_trainings_without_known_time_have_no_cost(
    alike: BaselineComparison, material: Material
) -> None:
    timeless = replace(alike, separate=replace(alike.separate, minutes=float("nan")))
    assert cost.CostPart().section(replace(material, compared=timeless)) is None
    assert not cost.CostPart().has_needed(replace(material, compared=alike, study=None))


def test_a_study_of_two_hyperparameters_is_drawn_along_the_first(
    material: Material, alike: BaselineComparison
) -> None:
    both = Space(
        hyperparameters=(Hyperparameter(name="regularization"), Hyperparameter(name="label_weight"))
    )

    def widened(settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
        return tuple(
            {**setting, "label_weight": 0.5 if place < 8 else 0.25}
            for place, setting in enumerate(settings)
        )

    def wide(budget: Budget) -> Budget:
        agreements = {
            s: replace(one, settings=widened(one.settings)) for s, one in budget.agreements.items()
        }
        return replace(budget, agreements=agreements)

    compared = replace(alike, budgets=tuple(wide(budget) for budget in alike.budgets))
    searched = replace(material.searched, space=both)
    with style():
        section = agreement.AgreementPart().section(
            replace(material, searched=searched, compared=compared)
        )
    assert section is not None
    assert "over 9 settings" in section.found
    lines = section.figures["agreement"].axes[0].get_lines()
    assert [len(np.asarray(line.get_xdata())) for line in lines] == [8, 8]


def test_the_gap_is_named_so_that_it_is_positive_where_separate_networks_are_better() -> None:
    assert agreement._gap_name("dice") == "separate − hypermorph"
    assert agreement._gap_name("hd95_mm") == "hypermorph − separate"
