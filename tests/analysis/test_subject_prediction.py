"""Settings of subjects predicted without labels, on simulated cohorts whose true gain is known."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.evidence import LEVEL, Evidence
from hmopt.analysis.subject_prediction import (
    Learning,
    SubjectPrediction,
    judge_subject_prediction,
    predict_subjects,
)
from hmopt.declaration.search import SearchOptions
from hmopt.errors import DataError
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curves
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.1),))
VALUES = np.arange(11) / 10
OPTIONS = SearchOptions(metric="dice", reported=["similarity", "folding"])
COHORTS = 100
MOST = float(stats.binom.ppf(0.999, COHORTS, LEVEL)) / COHORTS
"""A test at 5 % has more false alarms than this in one of a thousand runs."""


def simulated(
    subjects: int, seed: int, curvature: float = 0.0, spread: float = 0.0, noise: float = 0.004
) -> tuple[Measurements, NDArray[np.float64]]:
    """All ordered pairs: Dice falls by the squared distance of λ from 0.5 + the mean trait of both subjects.

    Subjects differ in level, pairs in level, slope and at every setting. The similarity of a pair shows the traits of
    its subjects, which have no effect where `spread` or `curvature` is 0. Folding shows nothing.
    """
    generator = np.random.default_rng(seed)
    names = [f"s{number:02d}" for number in range(subjects)]
    sides = [(a, b) for a in range(subjects) for b in range(subjects) if a != b]
    moving, fixed = np.array(sides).T
    rows = [
        (f"{names[a]}->{names[b]}", names[a], names[b], names[a], names[b], "cross")
        for a, b in sides
    ]
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    count = len(sides)
    trait = generator.normal(size=subjects)
    level = 0.02 * generator.normal(size=subjects)
    mean_trait = (trait[moving] + trait[fixed]) / 2
    best = 0.5 + spread * mean_trait
    slope = 0.01 * generator.normal(size=count) * (VALUES[:, None] - 0.5)
    dice = 0.75 - curvature * (VALUES[:, None] - best) ** 2 + slope
    dice = dice + level[moving] + level[fixed] + noise * generator.normal(size=(len(VALUES), count))
    similarity = 0.5 + 0.05 * mean_trait + 0.002 * generator.normal(size=(len(VALUES), count))
    folding = 0.01 * generator.random((len(VALUES), count))
    measurements = Measurements(
        identity="simulated",
        space=SPACE,
        settings=tuple((place,) for place in range(len(VALUES))),
        pairs=pd.DataFrame(rows, columns=columns),
        labels=("thymus",),
        values={"dice": dice[..., None], "similarity": similarity, "folding": folding},
    )
    return measurements, trait


def judged(measurements: Measurements, regressor: Any = None) -> SubjectPrediction:
    found = judge_subject_prediction(measurements, OPTIONS, regressor)
    assert found is not None
    return found


class MeanCurve:
    """A regressor that learns nothing from features."""

    def fit(self, X: NDArray[np.float64], y: NDArray[np.float64]) -> None:  # noqa: N803
        self.mean = y.mean(axis=0)

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        return np.tile(self.mean, (len(X), 1))


@pytest.fixture(scope="module")
def without_effect() -> list[SubjectPrediction]:
    """Cohorts in which every setting is equally good for every subject: any choice gains exactly 0."""
    return [judged(simulated(8, seed, noise=0.03)[0]) for seed in range(COHORTS)]


def test_gains_are_claimed_no_more_often_than_the_level_allows_where_there_is_none(
    without_effect: list[SubjectPrediction],
) -> None:
    claimed = [found.improves for found in without_effect]
    assert np.mean(claimed) <= MOST


def test_a_gain_by_known_settings_is_claimed_no_more_often_where_there_is_none(
    without_effect: list[SubjectPrediction],
) -> None:
    claimed = [
        found.evidence_of_known is Evidence.FOUND
        and found.known is not None
        and found.known.value > 0
        for found in without_effect
    ]
    assert np.mean(claimed) <= MOST


def test_intervals_of_the_gain_hold_zero_where_there_is_none(
    without_effect: list[SubjectPrediction],
) -> None:
    intervals = [found.gain.interval for found in without_effect if found.gain is not None]
    assert len(intervals) == COHORTS
    missed = [not low <= 0 <= high for low, high in intervals if np.isfinite(low)]
    assert np.mean(missed) <= MOST


def test_where_all_share_one_peak_there_is_no_gain_either() -> None:
    found = [judged(simulated(8, seed, curvature=0.2)[0]) for seed in range(30)]
    assert np.mean([one.improves for one in found]) <= stats.binom.ppf(0.999, 30, LEVEL) / 30


def test_a_gain_that_a_measured_feature_tells_is_found() -> None:
    found = judged(simulated(12, seed=0, curvature=0.5, spread=0.25)[0])
    assert found.improves
    assert found.gain is not None
    low, _ = found.gain.interval
    assert low > 0
    # what is predicted is no better than what labels tell
    assert found.known is not None
    assert found.gain.value <= found.known.value
    assert found.evidence_of_known is Evidence.FOUND
    assert found.features == ("folding", "similarity")
    assert found.choosing == 6


def test_a_regressor_that_learns_nothing_gains_exactly_nothing() -> None:
    found = judged(simulated(8, seed=0, curvature=0.5, spread=0.25)[0], MeanCurve())
    assert found.gain is not None
    # every subject has as many pairs as any other, so that the mean curve of subjects is that of pairs
    assert found.gain.value == pytest.approx(0, abs=1e-12)
    assert not found.improves


def test_labels_of_held_out_subjects_do_not_enter_what_is_predicted_for_them() -> None:
    measurements, _ = simulated(8, seed=0, curvature=0.5, spread=0.25)
    touched = (measurements.pairs["moving_subject"] == "s00") | (
        measurements.pairs["fixed_subject"] == "s00"
    )
    dice = measurements.values["dice"].copy()
    dice[:, touched.to_numpy()] = np.random.default_rng(1).random((11, int(touched.sum()), 1))
    changed = replace(measurements, values={**measurements.values, "dice": dice})
    places = []
    for one in (measurements, changed):
        curve = Curves(one, "dice").of(Scope(criteria=()))
        assert curve is not None
        learning = Learning(one, curve)
        learned = np.arange(8) > 0
        features = learning.features(learned)
        places.append(learning.predict(Ridge(), learned, features, features[:1]).tolist())
    assert places[0] == places[1]


class Ridge(MeanCurve):
    """Ridge regression with a penalty of 1, by its normal equations."""

    def fit(self, X: NDArray[np.float64], y: NDArray[np.float64]) -> None:  # noqa: N803
        super().fit(X, y)
        penalty = np.eye(X.shape[1])
        self.slopes = np.linalg.solve(X.T @ X + penalty, X.T @ (y - self.mean))

    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        return super().predict(X) + X @ self.slopes


def test_features_and_curves_are_means_over_the_pairs_of_a_subject() -> None:
    measurements, _ = simulated(5, seed=0, curvature=0.5, spread=0.25)
    curve = Curves(measurements, "dice").of(Scope(criteria=()))
    assert curve is not None
    learning = Learning(measurements, curve)
    partners = np.array([True, True, False, True, True])
    features, curves = learning.features(partners), learning.curves(partners)
    sides = measurements.pairs[["moving_subject", "fixed_subject"]]
    is_own = (sides == "s01").any(axis=1) & ~(sides == "s02").any(axis=1)
    kept = np.flatnonzero(is_own)
    assert len(kept) == 6
    expected = measurements.values["dice"][:, kept, 0].mean(axis=1)
    assert curves[1] == pytest.approx(expected - expected.mean())
    of_folding = measurements.values["folding"][learning.places][:, kept].mean(axis=1)
    assert features[1, : len(learning.places)] == pytest.approx(of_folding)


def test_settings_of_new_subjects_follow_their_feature_and_lie_in_their_intervals() -> None:
    measurements, _ = simulated(24, seed=0, curvature=0.5, spread=0.25, noise=0.001)
    new, trait = simulated(8, seed=1)
    unlabelled = replace(new, values={name: new.values[name] for name in ("similarity", "folding")})
    found = predict_subjects(measurements, unlabelled, OPTIONS)
    values = np.array([float(one.setting["regularization"]) for one in found])
    of_partners = (trait.sum() - trait) / (len(trait) - 1)
    best = 0.5 + 0.25 * (trait + of_partners) / 2
    # half a step of the lattice, and what is not known of the map
    assert np.abs(values - best).max() <= 0.1
    for one in found:
        low, high = one.intervals["regularization"]
        assert 0 <= low <= float(one.setting["regularization"]) <= high <= 1


def test_intervals_hold_the_best_values_of_new_subjects_as_often_as_they_say() -> None:
    """New subjects are paired with labelled ones: the best value is 0.5 + spread · (own trait + theirs) / 2."""
    holds: list[bool] = []
    for seed in range(12):
        both, trait = simulated(30, seed, curvature=0.5, spread=0.3)
        moving, fixed = (
            both.pairs[side].ge("s20").to_numpy() for side in ("moving_subject", "fixed_subject")
        )
        labelled, new = taken(both, ~(moving | fixed)), taken(both, moving & ~fixed)
        found = predict_subjects(labelled, without_dice(new), OPTIONS, Ridge())
        predicted = {one.subject: one.intervals["regularization"] for one in found}
        known = np.mean(trait[:20])
        for number in range(20, 30):
            best = np.clip(0.5 + 0.3 * (trait[number] + known) / 2, 0, 1)
            holds.append(best in predicted[f"s{number}"])
    assert len(holds) == 120
    assert np.mean(holds) >= stats.binom.ppf(0.001, 120, 0.9) / 120


def taken(measurements: Measurements, kept: NDArray[np.bool_]) -> Measurements:
    return replace(
        measurements,
        pairs=measurements.pairs[kept].reset_index(drop=True),
        values={name: values[:, kept] for name, values in measurements.values.items()},
    )


def without_dice(measurements: Measurements) -> Measurements:
    values: Mapping[str, NDArray[np.float64]] = {
        name: values for name, values in measurements.values.items() if name != "dice"
    }
    return replace(measurements, values=values)


def test_known_settings_follow_the_trait_and_shrink_where_nothing_but_noise_differs() -> None:
    learned = np.arange(12) < 6
    of_trait, trait = simulated(12, seed=0, curvature=0.5, spread=0.25, noise=0.0)
    curve = Curves(of_trait, "dice").of(Scope(criteria=()))
    assert curve is not None
    values = VALUES[Learning(of_trait, curve).known(learned)]
    best = 0.5 + 0.25 * (trait[6:] + trait[:6].mean()) / 2
    assert np.abs(values[6:] - best).max() <= 0.1
    of_noise, _ = simulated(12, seed=0, curvature=0.05, noise=0.01)
    curve = Curves(of_noise, "dice").of(Scope(criteria=()))
    assert curve is not None
    learning = Learning(of_noise, curve)
    shrunk = learning.known(learned)
    alone = learning.curves(learned).argmax(axis=1)
    common = learning.common(learned)
    assert np.abs(shrunk - common).sum() < np.abs(alone - common).sum() / 2


def test_few_subjects_get_the_whole_range() -> None:
    measurements, _ = simulated(6, seed=0, curvature=0.5, spread=0.25)
    found = predict_subjects(measurements, without_dice(measurements), OPTIONS)
    assert {one.intervals["regularization"] for one in found} == {(0.0, 1.0)}


def test_nothing_is_judged_of_few_subjects_nor_predicted_without_features() -> None:
    few, _ = simulated(4, seed=0)
    assert judge_subject_prediction(few, OPTIONS) is None
    measurements, _ = simulated(8, seed=0, curvature=0.5, spread=0.25)
    constant = np.full_like(measurements.values["similarity"], 0.5)
    bare = replace(
        measurements, values={"dice": measurements.values["dice"], "similarity": constant}
    )
    found = judged(bare)
    assert found.gain is None
    assert found.features == ()
    assert found.known is not None


def test_measurements_that_do_not_fit_together_are_refused() -> None:
    measurements, _ = simulated(8, seed=0)
    other = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.05),))
    with pytest.raises(DataError, match="others: expected measurements over regularization"):
        predict_subjects(measurements, replace(measurements, space=other), OPTIONS)
    bare = replace(measurements, values={"dice": measurements.values["dice"]})
    with pytest.raises(DataError, match="Report the same metrics in both searches"):
        predict_subjects(measurements, bare, OPTIONS)


class OneOutput(MeanCurve):
    def predict(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        return super().predict(X)[:, 0]


def test_a_regressor_of_one_output_is_refused_with_what_to_do() -> None:
    measurements, _ = simulated(8, seed=0)
    with pytest.raises(DataError, match="MultiOutputRegressor"):
        judge_subject_prediction(measurements, OPTIONS, OneOutput())
