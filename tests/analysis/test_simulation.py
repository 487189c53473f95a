import numpy as np
import pytest

from hmopt.analysis.optimum import ModelAnalysis
from hmopt.analysis.simulation import LATTICE, response, shifted, simulate, sweep
from hmopt.declaration import SearchOptions
from hmopt.search.scopes import Scope


def test_the_mean_over_many_cohorts_is_the_curve_of_the_population() -> None:
    curves = shifted([0.3, 0.6], curvature=0.1)
    means = np.mean(
        [simulate(curves, 10, 90, seed).values["dice"].mean(axis=1) for seed in range(200)], axis=0
    )
    np.testing.assert_allclose(means.T, curves, atol=0.003)


@pytest.mark.parametrize(("best", "curvature"), [(0.2, 0.3), (0.3, 0.1), (0.6, 0.02)])
def test_a_curve_is_best_where_it_is_said_to_be(best: float, curvature: float) -> None:
    assert LATTICE[response(best, curvature).argmax()] == pytest.approx(best, abs=0.02)


def test_pairs_that_share_a_subject_have_as_much_in_common_as_said() -> None:
    shared = []
    for seed in range(500):
        measurements = simulate(response(0.3, 0.1)[None], 3, 6, seed)
        level = dict(
            zip(
                measurements.pairs["pair"],
                measurements.values["dice"].mean(axis=(0, 2)),
                strict=True,
            )
        )
        shared.append((level["s0->s1"], level["s0->s2"], level["s1->s0"]))
    covariance = np.cov(np.array(shared).T)
    assert covariance[0, 1] == pytest.approx(0.02**2, rel=0.3)
    assert covariance[0, 2] == pytest.approx(2 * 0.02**2 + 0.7 * 0.02**2, rel=0.3)
    assert covariance[0, 0] == pytest.approx(3 * 0.02**2, rel=0.3)


def test_a_sweep_measures_the_coarse_settings_and_comes_near_the_best_one() -> None:
    whole = simulate(response(0.31, 0.3)[None], 12, 132, seed=1)
    measured = sweep(whole, coarse=10, confirmations=5)
    assert 10 < len(measured.settings) <= 15
    best = whole.score("dice").mean(axis=1).max()
    assert measured.score("dice").mean(axis=1).max() == pytest.approx(best, abs=1e-4)


def test_intervals_of_the_best_setting_hold_it_about_as_often_as_they_say() -> None:
    section, curve = SearchOptions(metric="dice"), response(0.43, 0.1)
    truth, held = LATTICE[curve.argmax()], []
    for seed in range(60):
        view = ModelAnalysis(sweep(simulate(curve[None], 12, 132, seed)), section).of(
            Scope(criteria=())
        )
        assert view is not None
        held.append(truth in view.optimum.intervals["regularization"])
    assert 0.88 <= np.mean(held) <= 1.0
