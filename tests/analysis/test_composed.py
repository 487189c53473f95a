"""Composed fields judged on held-out subjects, beside an independent loop over splits and pairs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hmopt.analysis.composed import (
    COMMON,
    ONE_FIELD,
    SEPARATE,
    FieldPlan,
    judge_fields,
    plan_fields,
    share_of_gain,
)
from hmopt.analysis.jackknife import Mean
from hmopt.declaration.search import SearchOptions
from hmopt.errors import LedgerError
from hmopt.ledger.composed import ComposedFields, assignment_space
from hmopt.ledger.measurements import Measurements
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.125),))
LABELS = ("thalamus", "cortex", "ventricle")
BEST = np.array([0.2, 0.5, 0.9])
KEPT = 0.75
"""Share of the gain of separate fields that the made-up composed fields have."""


def make_measurements(subjects: int = 12, noise: float = 0.02) -> Measurements:
    """Dice that falls with the squared distance from each structure's best value, which varies by pair."""
    generator = np.random.default_rng(0)
    names = [f"s{number:02d}" for number in range(subjects)]
    rows = [(f"{a}->{b}", a, b, a, b, "cross") for a in names for b in names if a < b]
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    pairs = pd.DataFrame(rows, columns=columns)
    values = np.linspace(0, 1, 9)
    own = BEST + 0.1 * generator.standard_normal((len(pairs), 3))
    level = 0.7 + noise * generator.standard_normal((len(pairs), 3))
    dice = level - 0.1 * (values[:, None, None] - own) ** 2
    dice[:, ::7, 1] = np.nan
    folding = 0.01 * (1 - values)[:, None] + 0.001 * generator.random((9, len(pairs)))
    return Measurements(
        identity="0f",
        space=SPACE,
        settings=tuple((place,) for place in range(9)),
        pairs=pairs,
        labels=LABELS,
        values={"dice": dice, "folding": folding},
    )


def compose(measurements: Measurements, plan: FieldPlan) -> tuple[ComposedFields, Measurements]:
    """Make up fields that have a part of what each structure gains, and fold a little more."""
    dice, folding = [], []
    at = {setting: place for place, setting in enumerate(measurements.settings)}
    assignments = tuple(reversed(plan.assignments))  # their order must not matter
    for number, assignment in enumerate(assignments):
        common = at[assignment.common]
        of_field = measurements.values["dice"][common].copy()
        for label, setting in assignment.structures:
            column = LABELS.index(label)
            gain = measurements.values["dice"][at[setting], :, column] - of_field[:, column]
            of_field[:, column] += KEPT * gain
        dice.append(of_field)
        folding.append(measurements.values["folding"][common] + 0.001 * number)
    fields = ComposedFields(
        maps="fixed",
        width=2.0,
        halves=3,
        assignments=assignments,
        identities=tuple(str(number) for number in range(len(assignments))),
    )
    composed = replace(
        measurements,
        space=assignment_space(len(assignments)),
        settings=tuple((number,) for number in range(len(assignments))),
        values={"dice": np.array(dice), "folding": np.array(folding)},
    )
    return fields, composed


@pytest.fixture(scope="module")
def measurements() -> Measurements:
    return make_measurements()


@pytest.fixture(scope="module")
def options() -> SearchOptions:
    return SearchOptions(seed=3)


@pytest.fixture(scope="module")
def plan(measurements: Measurements, options: SearchOptions) -> FieldPlan:
    found = plan_fields(measurements, options, halves=3)
    assert found is not None
    return found


def test_a_field_has_the_settings_that_its_split_chose(
    measurements: Measurements, plan: FieldPlan
) -> None:
    pairs = measurements.pairs
    assert len(plan.chosen) == 6  # three halves, both ways
    subjects = plan.splits.subjects
    for split, selection in enumerate(plan.splits.selection):
        choosing = set(subjects[selection])
        inside = pairs["moving_subject"].isin(choosing) & pairs["fixed_subject"].isin(choosing)
        of_pairs = np.nanmean(measurements.values["dice"][:, inside.to_numpy()], axis=2)
        best = int(of_pairs.mean(axis=1).argmax())
        assignment = plan.assignments[plan.chosen[split]]
        assert assignment.common == (best,)
        own = dict(assignment.structures)
        for column, label in enumerate(LABELS):
            expected = (int(plan.separate.chosen[split, column]),)
            assert own.get(label, assignment.common) == expected
    assert len(set(plan.assignments)) == len(plan.assignments)


def test_held_out_scores_are_those_of_a_loop_over_pairs_and_splits(
    measurements: Measurements, options: SearchOptions, plan: FieldPlan
) -> None:
    fields, composed = compose(measurements, plan)
    gain = judge_fields(measurements, fields, composed, options)
    assert gain is not None
    numbers = {assignment: number for number, assignment in enumerate(fields.assignments)}
    scores: dict[str, list[float]] = {COMMON: [], SEPARATE: [], ONE_FIELD: []}
    folding: dict[str, list[float]] = {COMMON: [], ONE_FIELD: []}
    for row, pair in enumerate(measurements.pairs.to_dict("records")):
        per_label: dict[str, list[list[float]]] = {way: [] for way in scores}
        folded: dict[str, list[float]] = {way: [] for way in folding}
        for split, selection in enumerate(plan.splits.selection):
            choosing = set(plan.splits.subjects[selection])
            if {pair["moving_subject"], pair["fixed_subject"]} & choosing:
                continue
            assignment = plan.assignments[plan.chosen[split]]
            common = assignment.common[0]
            own = dict(assignment.structures)
            number = numbers[assignment]
            dice = measurements.values["dice"][:, row]
            per_label[COMMON].append(dice[common].tolist())
            per_label[SEPARATE].append(
                [dice[own.get(label, (common,))[0], column] for column, label in enumerate(LABELS)]
            )
            per_label[ONE_FIELD].append(composed.values["dice"][number, row].tolist())
            folded[COMMON].append(measurements.values["folding"][common, row])
            folded[ONE_FIELD].append(composed.values["folding"][number, row])
        if not per_label[COMMON]:
            continue
        for way, found in per_label.items():
            scores[way].append(float(np.nanmean(np.mean(found, axis=0))))
        for way, values in folded.items():
            folding[way].append(float(np.mean(values)))
    means = {way: float(np.mean(values)) for way, values in scores.items()}
    for entry in gain.beside.entries:
        score = gain.beside.score(entry)
        assert score is not None
        assert score.value == pytest.approx(means[entry.source], abs=1e-12)
    for way, values in folding.items():
        assert gain.folding[way] == pytest.approx(float(np.mean(values)), abs=1e-12)
    assert gain.over_common.mean.value == pytest.approx(means[ONE_FIELD] - means[COMMON])
    assert gain.separate_over_common.mean.value == pytest.approx(means[SEPARATE] - means[COMMON])


def test_fields_with_a_part_of_every_gain_have_that_share_and_it_is_sure(
    measurements: Measurements, options: SearchOptions, plan: FieldPlan
) -> None:
    gain = judge_fields(measurements, *compose(measurements, plan), options)
    assert gain is not None
    assert gain.share.value == pytest.approx(KEPT)
    # every pair has the same share, so that the interval has no width
    assert gain.share.low == pytest.approx(KEPT, abs=1e-6)
    assert gain.share.high == pytest.approx(KEPT, abs=1e-6)
    assert gain.over_common.verdict == "better"
    assert gain.over_separate.mean.value < 0


def test_the_share_does_not_depend_on_the_order_of_pairs_or_structures(
    measurements: Measurements, options: SearchOptions, plan: FieldPlan
) -> None:
    fields, composed = compose(measurements, plan)
    first = judge_fields(measurements, fields, composed, options)
    order = np.random.default_rng(1).permutation(len(measurements.pairs))

    def turned(one: Measurements) -> Measurements:
        return replace(
            one,
            pairs=one.pairs.iloc[order].reset_index(drop=True),
            labels=one.labels[::-1],
            values={
                "dice": one.values["dice"][:, order, ::-1],
                "folding": one.values["folding"][:, order],
            },
        )

    second = judge_fields(turned(measurements), fields, turned(composed), options)
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(second.share, first.share, atol=1e-6)
    assert second.over_common.mean.value == pytest.approx(first.over_common.mean.value)


def test_fields_of_another_search_are_refused(
    measurements: Measurements, options: SearchOptions, plan: FieldPlan
) -> None:
    fields, composed = compose(measurements, plan)
    fewer = replace(fields, assignments=fields.assignments[:1], identities=fields.identities[:1])
    with pytest.raises(LedgerError, match="not among them"):
        judge_fields(measurements, fewer, composed, options)


def test_one_structure_has_nothing_to_be_composed(
    measurements: Measurements, options: SearchOptions
) -> None:
    one = replace(
        measurements,
        labels=LABELS[:1],
        values={**measurements.values, "dice": measurements.values["dice"][:, :, :1]},
    )
    assert plan_fields(one, options) is None


def made(value: float, variance: float, subjects: int = 20) -> Mean:
    return Mean(value=value, error=variance**0.5, freedom=subjects - 1, subjects=subjects)


@pytest.mark.parametrize("covariance", [0.0, 2e-7, -1e-7])
def test_fiellers_interval_holds_the_ratios_that_a_test_does_not_reject(covariance: float) -> None:
    a, b, of_a, of_b = 0.004, 0.005, 4e-7, 5e-7
    whole = made(b, of_b)
    found = share_of_gain(made(a, of_a), whole, made(a - b, of_a + of_b - 2 * covariance))
    ratios = np.linspace(0, 3, 300_001)
    errors = np.sqrt(of_a - 2 * ratios * covariance + ratios**2 * of_b)
    accepted = ratios[np.abs(a - ratios * b) / errors <= stats.t.ppf(0.975, 19)]
    np.testing.assert_allclose(found, [a / b, accepted.min(), accepted.max()], atol=2e-5)


def test_without_a_sure_gain_there_is_no_interval_and_without_a_gain_no_share() -> None:
    unsure = share_of_gain(made(0.001, 1e-6), made(0.001, 1e-6), made(0.0, 2e-6))
    assert unsure.value == 1
    assert np.isnan([unsure.low, unsure.high]).all()
    # as -542 % of a gain of nearly nothing
    assert np.isnan(
        share_of_gain(made(-0.002, 1e-6), made(0.0004, 1e-6), made(-0.0024, 1e-6))
    ).all()
    assert np.isnan(share_of_gain(made(0.001, 1e-8), made(-0.001, 1e-8), made(0.002, 1e-8))).all()
    few = [made(0.004, 1e-8, subjects=4), made(0.005, 1e-8, subjects=4), made(-0.001, 1e-8, 4)]
    assert np.isnan(share_of_gain(*few)[1:]).all()
