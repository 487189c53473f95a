"""How often a regret is claimed that is not there, and how often its interval holds the true one."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis import simulation
from hmopt.analysis.evidence import LEVEL, Evidence
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.resampling import Floats
from hmopt.analysis.without_labels import StandIn, find_stand_ins
from hmopt.declaration.search import SearchOptions
from hmopt.search.scopes import Scope

SUBJECTS, COHORTS = 8, 100
MOST = float(stats.binom.ppf(0.999, COHORTS, LEVEL)) / COHORTS
"""A test at 5 % has more false alarms than this in one of a thousand runs."""
PLACES = (0, 60, 100, 140, 200)
"""Settings on the lattice: λ = 0, 0.3, the default 0.5, 0.7 and 1."""
BEST, CHOSEN = 0.3, 0.7
CURVATURE = 0.5


def judged(curve: Floats, seed: int, peak: float | None) -> StandIn:
    """The regret of a similarity that is highest at one λ, or of noise that chooses any, for the cohort."""
    count = SUBJECTS * (SUBJECTS - 1)
    drawn = simulation.simulate(curve[None], SUBJECTS, count, seed)
    dice = drawn.at([(place,) for place in PLACES])
    values = simulation.LATTICE[list(PLACES)][:, None]
    generator = np.random.default_rng(1000 + seed)
    similarity = 0.02 * generator.standard_normal((len(PLACES), count)) + 0.5
    if peak is not None:
        similarity = 0.9 - (values - peak) ** 2 + 0 * similarity
    measured = replace(dice, values={**dice.values, "similarity": similarity})
    options = SearchOptions(metric="dice", reported=["similarity"])
    found = find_stand_ins(measured, [Scope(criteria=())], options)
    assert found is not None
    (entry,) = found.found["similarity"]
    return entry


def holds(mean: Mean, truth: float) -> bool:
    low, high = mean.interval
    return low <= truth <= high


@pytest.fixture(scope="module")
def without_regret() -> list[StandIn]:
    """Of cohorts in which no setting is better than another: whatever is chosen loses exactly 0."""
    flat = simulation.flat(1)[0]
    return [judged(flat, seed, peak=None) for seed in range(COHORTS)]


@pytest.fixture(scope="module")
def with_regret() -> list[StandIn]:
    """Of cohorts that are best at 0.3, by a metric that chooses 0.7."""
    curve = simulation.response(BEST, CURVATURE)
    return [judged(curve, seed, peak=CHOSEN) for seed in range(COHORTS)]


def test_a_regret_of_zero_is_claimed_no_more_often_than_the_level_allows(
    without_regret: list[StandIn],
) -> None:
    claimed = [entry.evidence is Evidence.FOUND for entry in without_regret]
    assert np.mean(claimed) <= MOST


@pytest.mark.parametrize("name", ["regret", "regret_at_default"])
def test_intervals_hold_a_regret_of_zero(without_regret: list[StandIn], name: str) -> None:
    means = [getattr(entry, name) for entry in without_regret]
    missed = [not holds(mean, 0.0) for mean in means if mean.error]
    assert len(missed) > COHORTS / 2
    assert np.mean(missed) <= MOST


def test_a_known_regret_is_found_and_its_interval_holds_it(with_regret: list[StandIn]) -> None:
    curve = simulation.response(BEST, CURVATURE)
    truth = float(curve[60] - curve[140])
    assert truth == pytest.approx(CURVATURE * (CHOSEN - BEST) ** 2, abs=1e-4)
    assert {entry.setting["regularization"] for entry in with_regret} == {CHOSEN}
    missed = [not holds(entry.regret, truth) for entry in with_regret]
    assert np.mean(missed) <= MOST
    assert np.mean([entry.regret.value for entry in with_regret]) == pytest.approx(truth, rel=0.05)
    assert np.mean([entry.evidence is Evidence.FOUND for entry in with_regret]) > 0.9


def test_pairs_that_are_taken_for_independent_would_break_the_bound(
    with_regret: list[StandIn],
) -> None:
    """Standard errors of independent pairs are shorter by about the root of the pairs of a subject."""
    truth = CURVATURE * (CHOSEN - BEST) ** 2
    shrink = np.sqrt(SUBJECTS / 2)
    narrow = [
        replace(entry.regret, error=entry.regret.error / shrink, freedom=SUBJECTS * (SUBJECTS - 1))
        for entry in with_regret
    ]
    assert np.mean([not holds(mean, truth) for mean in narrow]) > MOST
