import numpy as np
import pytest

from benchmarks.baselines import Baseline, brent, even, golden_section
from benchmarks.responses import LATTICE, Response, families
from benchmarks.samplers import (
    as_measurements,
    planned_places,
    score_shared,
    search_each,
    search_each_by_plan,
)
from hmopt.declaration import SearchOptions

PARABOLA = Response(name="parabola", scores=0.8 - (LATTICE - 0.35) ** 2)


def test_regret_is_counted_from_the_best_and_forgiven_within_its_standard_error() -> None:
    assert PARABOLA.regret(70) == 0
    assert PARABOLA.regret(50) == pytest.approx(0.01)
    assert not PARABOLA.within(50)
    assert PARABOLA.within(65)
    assert Response(name="noisy", scores=PARABOLA.scores, error=lambda place: 0.02).within(50)


def test_a_hump_is_missed_where_the_lower_one_is_nearer() -> None:
    humps = Response(name="humps", scores=np.where(LATTICE == 0.8, 1.0, 0.0), lower_hump=40)
    assert humps.missed(80)
    assert not humps.missed(140)
    assert not PARABOLA.missed(0)


def test_trials_are_counted_until_the_regret_is_small() -> None:
    line = search_each("parabola", "even places", even, [PARABOLA], 21)
    assert (line.median, line.worst, line.within, line.settings) == (8, 8, 1, 21)
    far = search_each("parabola", "two", lambda scores, trials, seed: [0, 200], [PARABOLA], 2)
    assert (far.worst, far.within) == (np.inf, 0)
    assert far.regret == pytest.approx(0.35**2)


@pytest.mark.parametrize("search", [golden_section, brent])
def test_bracketing_finds_the_top_of_a_parabola(search: Baseline) -> None:
    assert 70 in search(PARABOLA.scores, 24, 0)


def test_the_plan_finds_the_top_of_a_parabola_and_shared_places_serve_it() -> None:
    places = planned_places(as_measurements(PARABOLA), SearchOptions(scopes=[["cohort"]]))
    line = score_shared("parabola", "hmopt search", places, [PARABOLA])
    assert line.within == 1
    assert line.settings <= 12


def test_curves_come_again_and_one_hump_without_noise_is_always_solved() -> None:
    first, again = families(5, seed=3), families(5, seed=3)
    for name, responses in first.items():
        for response, same in zip(responses, again[name], strict=True):
            np.testing.assert_array_equal(response.scores, same.scores)
    assert all(search_each_by_plan(name, first[name]).within == 1 for name in ("unimodal", "flat"))
