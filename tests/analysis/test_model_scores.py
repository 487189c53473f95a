from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.model_scores import ensemble_gain, find_robustness, spread, spread_ratio
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope

COHORT = Scope(criteria=())
CURVE = np.array([0.6, 0.68, 0.7, 0.66, 0.5])
Make = Callable[..., Measurements]


def along(make: Make, sides: list[tuple[str, str]], curve: np.ndarray) -> Measurements:
    return make(sides, np.broadcast_to(curve[:, None, None], (5, len(sides), 2)).copy())


def test_initializations_spread_as_their_curves_do(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    shifts = np.array([-0.02, 0.0, 0.005, 0.01, 0.03])
    models = {str(i): along(make, all_cross, CURVE + shift) for i, shift in enumerate(shifts)}
    found = find_robustness(models, COHORT, "dice")
    assert found is not None
    np.testing.assert_allclose(found.curve_spread, np.std(shifts, ddof=1))
    assert found.models == 5
    assert found.at == {"regularization": 0.5}
    assert found.optimum_spread["regularization"].value == 0.0
    assert found.score_spread.value == pytest.approx(np.std(shifts, ddof=1))
    assert found.score_spread.low < found.score_spread.value < found.score_spread.high


def test_best_settings_that_differ_spread(make: Make, all_cross: list[tuple[str, str]]) -> None:
    models = {str(i): along(make, all_cross, np.roll(CURVE, i)) for i in range(-1, 2)}
    found = find_robustness(models, COHORT, "dice")
    assert found is not None
    assert found.optimum_spread["regularization"].value == pytest.approx(
        np.std([0.25, 0.5, 0.75], ddof=1)
    )


def test_the_interval_of_a_standard_deviation_holds_the_truth_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(0, 2.0, (1000, 5))
    held = [found.low <= 2.0 <= found.high for found in map(spread, samples)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)
    assert np.isnan(spread(np.array([1.0]))).all()


def test_the_ratio_of_two_spreads_says_what_the_f_test_does() -> None:
    one = np.asarray(stats.norm.rvs(0, 3.0, size=8, random_state=0))
    other = np.asarray(stats.norm.rvs(0, 1.0, size=6, random_state=1))
    ratio, evidence = spread_ratio(spread(one), 8, spread(other), 6)
    p_value = 2 * stats.f.sf(one.var(ddof=1) / other.var(ddof=1), 7, 5)
    assert ratio.value == pytest.approx(one.std(ddof=1) / other.std(ddof=1))
    assert (evidence is Evidence.FOUND) == (p_value < 0.05)
    assert spread_ratio(spread(one), 8, spread(one), 8)[1] is Evidence.NONE
    assert spread_ratio(spread(one), 8, spread(other[:1]), 1)[1] is Evidence.TOO_FEW


def test_an_ensemble_gains_over_the_mean_of_its_members_with_an_interval_over_members(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    members = {
        str(i): along(make, all_cross, CURVE + shift) for i, shift in enumerate((-0.01, 0.0, 0.01))
    }
    found = ensemble_gain(members, along(make, all_cross, CURVE + 0.02), COHORT, "dice")
    assert found is not None
    over_members = stats.ttest_1samp([0.03, 0.02, 0.01], 0).confidence_interval(0.95)
    assert found.value == pytest.approx(0.02)
    assert (found.low, found.high) == pytest.approx(tuple(over_members))
