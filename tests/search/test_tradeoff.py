"""Several metrics of a scope: which pairs and settings count, and studies of several objectives."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmopt.errors import SearchError
from hmopt.ledger import Measurements
from hmopt.search.scopes import Scope
from hmopt.search.studies import make_front_study
from hmopt.search.tradeoff import find_tradeoff, parse_axis

SETTINGS = ((0,), (100,), (200,))
COHORT = Scope(criteria=())


@pytest.fixture
def measurements(measure: Callable[..., Measurements]) -> Measurements:
    curves = {"cortex": lambda x: 0.6 - x / 10, "thalamus": lambda x: 0.5 + x / 10}
    return measure(curves, SETTINGS, folding=lambda x: 0.01 * (1 - x))


def test_structures_stand_against_each_other(measurements: Measurements) -> None:
    axes = [parse_axis("dice:cortex"), parse_axis("dice:thalamus")]
    tradeoff = find_tradeoff(measurements, COHORT, axes)
    assert tradeoff is not None
    np.testing.assert_allclose(tradeoff.means, [[0.6, 0.5], [0.55, 0.55], [0.5, 0.6]])
    study = make_front_study("hearts", tradeoff)
    assert study.metric_names == ["dice:cortex", "dice:thalamus"]
    assert len(study.best_trials) == 3
    assert study.best_trials[0].params == {"regularization": 0.0}


def test_a_scope_of_a_label_has_its_metric_and_the_whole_pairs_folding(
    measurements: Measurements,
) -> None:
    scope = Scope(criteria=(("label", "thalamus"), ("task", "within")))
    tradeoff = find_tradeoff(measurements, scope, [parse_axis("dice"), parse_axis("folding")])
    assert tradeoff is not None
    assert len(tradeoff.pairs) == 3
    within = measurements.values["dice"][:, tradeoff.pairs, 1].mean(axis=1)
    np.testing.assert_allclose(tradeoff.means[:, 0], within)
    np.testing.assert_allclose(tradeoff.means[:, 1], [0.01, 0.005, 0.0])


def test_a_pair_without_a_label_and_then_a_setting_with_a_gap_are_left_out(
    measurements: Measurements,
) -> None:
    dice = measurements.values["dice"].copy()
    dice[:, 0, 1] = np.nan  # lacks the thalamus everywhere
    dice[2, 1, 0] = np.nan  # was not measured at λ = 1
    holed = replace(measurements, values={**measurements.values, "dice": dice})
    axes = [parse_axis("dice:cortex"), parse_axis("dice:thalamus")]
    tradeoff = find_tradeoff(holed, COHORT, axes)
    assert tradeoff is not None
    assert 0 not in tradeoff.pairs
    assert tradeoff.settings == SETTINGS[:2]
    dice[:] = np.nan
    assert find_tradeoff(holed, COHORT, axes) is None


def test_a_label_of_a_metric_of_whole_pairs_is_refused() -> None:
    with pytest.raises(SearchError, match="front: expected folding without a label"):
        parse_axis("folding:thalamus")


def test_a_study_of_several_objectives_is_opened_like_any_other() -> None:
    import hmopt

    folder = Path(__file__).parents[2] / "studies" / "synthetic" / "demo"
    study = hmopt.open_study(folder, ["dice", "folding"])
    front = hmopt.pareto_front(folder)
    numbers = sorted(trial.number for trial in study.best_trials)
    assert numbers == sorted(front.members)
    with pytest.raises(SearchError, match="metrics: expected two or more"):
        hmopt.pareto_front(folder, ["dice"])
