"""Best settings over the checkpoints of made-up trainings, whose scores are parabolas with a known best value."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hmopt.analysis import simulation
from hmopt.analysis.drift import Drift, Trend, find_drifts, warn_of_drift
from hmopt.analysis.optimum import DRAWS
from hmopt.analysis.resampling import draw_weights
from hmopt.analysis.scope_result import analyse_scopes
from hmopt.analysis.warnings import OptimumWarning
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.records import CHECKPOINTS, Checkpoint
from hmopt.search.curve import Curves
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
SECTION = SearchOptions(reported=[], seed=3)
COHORT = Scope(criteria=())
DEPTH = 0.3
"""Dice lost at a distance of 1 from the best value."""


def pairs_of(subjects: int) -> pd.DataFrame:
    names = [f"s{number:02d}" for number in range(subjects)]
    rows = [(f"{a}->{b}", a, b, a, b, "cross") for a in names for b in names if a != b]
    return pd.DataFrame(
        rows, columns=["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    )


def make_training(
    best: Sequence[float], subjects: int = 12, seed: int = 0, own: float = 0.1, wander: float = 0.0
) -> dict[Checkpoint, Measurements]:
    """Measurements at each checkpoint.

    A pair's best value is that of its checkpoint, plus what its two subjects add at every checkpoint (deviation `own`),
    plus what they add at this one alone (deviation `wander`).
    """
    generator = np.random.default_rng(seed)
    pairs = pairs_of(subjects)
    moving, fixed = (pairs[side].str[1:].astype(int).to_numpy() for side in ("moving", "fixed"))
    settings = tuple(SPACE.coarse(11))
    values = np.array([SPACE.setting(index)["regularization"] for index in settings])
    of_subject = own * generator.standard_normal(subjects)
    checkpoints: dict[Checkpoint, Measurements] = {}
    for checkpoint, cohort_best in zip(CHECKPOINTS[-len(best) :], best, strict=True):
        at_checkpoint = of_subject + wander * generator.standard_normal(subjects)
        centred = at_checkpoint - (at_checkpoint.mean() if wander == 0 else 0)
        of_pair = cohort_best + centred[moving] + centred[fixed]
        dice = 0.8 - DEPTH * (values[:, None] - of_pair) ** 2
        checkpoints[checkpoint] = Measurements(
            identity=checkpoint,
            space=SPACE,
            settings=settings,
            pairs=pairs,
            labels=("thalamus",),
            values={"dice": dice[:, :, None], "folding": np.zeros(dice.shape)},
        )
    return checkpoints


def of_cohort(checkpoints: dict[Checkpoint, Measurements]) -> Drift:
    (drift,) = find_drifts(checkpoints, [COHORT], SECTION)
    return drift


def test_a_best_value_that_falls_to_the_end_still_moves() -> None:
    drift = of_cohort(make_training([0.7, 0.62, 0.55, 0.5]))
    assert drift.values == pytest.approx(
        (0.7, 0.62, 0.55, 0.5), abs=0.006
    )  # within a step of the lattice
    assert drift.trend is Trend.STILL
    assert drift.change.value == pytest.approx(-0.2, abs=0.011)
    assert drift.late_change.value == pytest.approx(-0.12, abs=0.011)
    assert drift.loss.value == pytest.approx(DEPTH * 0.12**2, abs=3e-4)


def test_what_is_common_to_the_checkpoints_does_not_widen_a_change() -> None:
    drift = of_cohort(make_training([0.7, 0.62, 0.55, 0.5], own=0.2))
    at_end = drift.optima[-1]
    assert at_end.high - at_end.low > 0.1
    assert drift.late_change.high - drift.late_change.low <= 0.015


def test_a_best_value_that_turns_back_does_not_drift() -> None:
    drift = of_cohort(make_training([0.5, 0.7, 0.55, 0.65]))
    assert drift.late_change.high < 0  # a change, but no direction
    assert drift.trend is Trend.NONE


def test_a_best_value_that_stands_still_since_half_training_settled() -> None:
    assert of_cohort(make_training([0.2, 0.5, 0.5, 0.5])).trend is Trend.SETTLED


def test_a_way_through_all_of_training_counts_where_its_second_half_may_matter() -> None:
    trends = [
        of_cohort(make_training([0.2, 0.42, 0.46, 0.5], seed=seed, wander=0.07)).trend
        for seed in range(20)
    ]
    assert Trend.THROUGHOUT in trends
    assert set(trends) <= set(Trend) - {Trend.TOO_FEW}


def test_the_interval_of_a_change_is_widened_for_its_own_coverage() -> None:
    """The best value of mean parabolas of one depth is the mean best value, in each sample of subjects, too."""
    subjects = 6
    checkpoints = make_training([0.5, 0.5, 0.5, 0.5], subjects, seed=4, own=0.0, wander=0.06)
    drift = of_cohort(checkpoints)
    pairs = checkpoints["full"].pairs
    moving, fixed = (pairs[f"{side}_subject"].to_numpy(object) for side in ("moving", "fixed"))
    weights = draw_weights(moving, fixed, DRAWS, SECTION.seed)
    of_pairs = []
    for checkpoint in ("half", "full"):
        measured = checkpoints[checkpoint]
        places = [measured.settings.index(SPACE.index({"regularization": v})) for v in (0.2, 0.8)]
        low, high = measured.values["dice"][places, :, 0]
        # depth · ((0.8 - b)² - (0.2 - b)²) = depth · (0.6 - 1.2 b)
        of_pairs.append((0.6 - (low - high) / DEPTH) / 1.2)
    change = of_pairs[1] - of_pairs[0]
    of_samples = (weights @ change) / weights.sum(axis=1)
    freedom = subjects - 1
    for level, is_right in ((0.9875, True), (0.975, False)):
        wide = np.sqrt(subjects / freedom) * stats.t.ppf(level, freedom) / stats.norm.ppf(level)
        widened = change.mean() + wide * (of_samples - change.mean())
        ends = np.quantile(widened, [0.0125, 0.9875])
        apart = float(np.abs(ends - drift.late_change[1:]).max())
        assert (apart <= 0.0075) is is_right


def test_fewer_than_five_subjects_say_nothing() -> None:
    drift = of_cohort(make_training([0.7, 0.62, 0.55, 0.5], subjects=4))
    assert drift.trend is Trend.TOO_FEW
    assert drift.values == pytest.approx((0.7, 0.62, 0.55, 0.5), abs=0.006)
    ends = [
        end
        for estimate in (*drift.optima, drift.change, drift.late_change, drift.loss)
        for end in estimate[1:]
    ]
    assert np.isnan(ends).all()


def test_half_and_full_training_alone_say_nothing_of_drift() -> None:
    checkpoints = make_training([0.7, 0.62, 0.55, 0.5])
    two: dict[Checkpoint, Measurements] = {name: checkpoints[name] for name in ("half", "full")}
    assert find_drifts(two, [COHORT], SECTION) == []


def test_without_the_first_quarter_the_second_half_is_judged() -> None:
    assert of_cohort(make_training([0.62, 0.55, 0.5])).checkpoints == (
        "half",
        "three-quarters",
        "full",
    )
    assert of_cohort(make_training([0.62, 0.55, 0.5])).trend is Trend.STILL


def test_checkpoints_are_compared_over_the_pairs_and_settings_that_all_have() -> None:
    whole = make_training([0.7, 0.62, 0.55, 0.5])
    dice = whole["half"].values["dice"].copy()
    dice[:, :7] = np.nan
    torn = {**whole, "half": replace(whole["half"], values={**whole["half"].values, "dice": dice})}
    torn["quarter"] = torn["quarter"].at(torn["quarter"].settings[::2])
    drift = of_cohort(torn)
    assert drift.trend is Trend.STILL
    assert drift.values[-1] - drift.values[1] == pytest.approx(-0.12, abs=0.011)


def test_false_alarms_of_trainings_that_only_wander_are_rare() -> None:
    """The best value is the same at every checkpoint; subjects differ, at all checkpoints alike and at each anew."""
    trends = [
        of_cohort(make_training([0.5] * 4, seed=seed, wander=0.1)).trend for seed in range(300)
    ]
    assert np.mean([trend.drifts for trend in trends]) <= 0.06


def test_the_flag_of_drift_stands_for_that_of_half_training() -> None:
    checkpoints = make_training([0.7, 0.62, 0.55, 0.5], own=0.02)
    findings = analyse_scopes(checkpoints["full"], checkpoints["half"], [COHORT], SECTION)
    assert OptimumWarning.NOT_CONVERGED in findings[0].warnings
    (flagged,) = warn_of_drift(findings, find_drifts(checkpoints, [COHORT], SECTION))
    assert OptimumWarning.DRIFTS in flagged.warnings
    assert OptimumWarning.NOT_CONVERGED not in flagged.warnings
    assert warn_of_drift(findings, []) == findings


def test_means_over_all_pairs_are_unknown_of_a_curve_over_some() -> None:
    measured = simulation.simulate(
        np.stack([simulation.response(0.3, 0.4)]), subjects=6, pairs=10, seed=0
    )
    curve = Curves(measured, "dice").of(Scope(criteria=()))
    assert curve is not None
    curve = replace(curve, limited={"hd95_mm": np.zeros(len(curve.settings))})
    kept = np.arange(len(curve.pairs)) < 4
    some = curve.over(kept)
    np.testing.assert_array_equal(some.scores, curve.scores[:, :4])
    assert some.ids == curve.ids[:4]
    assert np.isnan(some.folding).all()
    assert np.isnan(some.mean_of("hd95_mm")).all()
    assert curve.over(np.ones_like(kept)) is curve
