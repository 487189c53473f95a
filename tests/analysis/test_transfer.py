"""The loss with another cohort's best setting, on curves whose optimum is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hmopt.analysis import simulation
from hmopt.analysis.evidence import LEVEL, Evidence
from hmopt.analysis.jackknife import Mean, jackknife
from hmopt.analysis.resampling import Interval
from hmopt.analysis.scope_result import analyse_scopes
from hmopt.analysis.transfer import Answer, Transfer, find_transfers, judged, overlap
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Space, as_number
from tests.analysis.simulated_entries import simulated

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.1),))
COHORT = Scope(criteria=())
THYMUS = Scope(criteria=(("label", "thymus"),))


def measure(best: float, steep: float, subjects: int = 10, noise: float = 0.0005) -> Measurements:
    """Dice falls by `steep` times the squared distance of λ from its best value."""
    names = [f"s{number}" for number in range(subjects)]
    rows = [(f"{a}->{b}", a, b, a, b, "cross") for a in names for b in names if a != b]
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    pairs = pd.DataFrame(rows, columns=columns)
    settings = [(place,) for place in range(11)]
    generator = np.random.default_rng(0)
    dice = np.empty((len(settings), len(pairs), 1))
    own = noise * generator.standard_normal((len(settings), len(pairs), 1))
    for row, index in enumerate(settings):
        value = as_number(SPACE.setting(index)["regularization"])
        dice[row] = 0.8 - steep * (value - best) ** 2
    return Measurements(
        identity="made up",
        space=SPACE,
        settings=tuple(settings),
        pairs=pairs,
        labels=("thymus",),
        values={"dice": dice + own},
    )


def transfers(measured: Measurements, there: float, margin: float = 0.002) -> Any:
    options = SearchOptions(splits=500)
    results = analyse_scopes(measured, None, [COHORT, THYMUS], options)
    settings = {scope: {"regularization": there} for scope in (COHORT, THYMUS)}
    return find_transfers(results, settings, measured.pairs, margin)


def test_a_setting_far_from_the_best_loses_what_the_parabola_says() -> None:
    found = transfers(measure(best=0.3, steep=0.5), there=0.7)
    loss = found[COHORT].loss
    assert loss.value == pytest.approx(0.5 * 0.4**2, abs=0.001)
    assert loss.interval[0] < 0.5 * 0.4**2 < loss.interval[1]
    assert found[COHORT].evidence is Evidence.FOUND
    assert not found[COHORT].would_do


def test_the_same_best_setting_would_do() -> None:
    found = transfers(measure(best=0.3, steep=0.5), there=0.3)
    assert found[COHORT].evidence is Evidence.NEGLIGIBLE
    assert found[COHORT].would_do
    assert found[THYMUS].would_do


def test_a_flat_curve_makes_every_setting_do() -> None:
    assert transfers(measure(best=0.3, steep=0.001), there=0.9)[COHORT].would_do


def test_a_loss_of_zero_is_claimed_no_more_often_than_the_level_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All settings are equal, and the given one is not chosen: most that varies is the choice."""
    monkeypatch.setattr("hmopt.analysis.optimum.DRAWS", 2)
    cohorts = 120
    options = SearchOptions(splits=15, margin=1e-5)
    alarms, of_given_choices = 0, 0
    for seed in range(cohorts):
        measured = simulated(simulation.flat(1), seed, subjects=12)
        results = analyse_scopes(measured, None, [COHORT], options)
        settings = {COHORT: {"regularization": 0.5}}
        loss = find_transfers(results, settings, measured.pairs, 1e-5)[COHORT].loss
        alarms += loss.p_value <= LEVEL
        held_out = results[0].held_out
        assert held_out is not None
        default = results[0].full.response.place((100,))
        losses = held_out.scores - results[0].full.response.scores[default]
        moving = measured.pairs["moving_subject"].to_numpy(dtype=object)
        fixed = measured.pairs["fixed_subject"].to_numpy(dtype=object)
        of_given_choices += jackknife(losses, moving, fixed).p_value <= LEVEL
        # the loss with the default setting is the gain over it
        over_default = held_out.over_default
        expected = (over_default.value, over_default.error)
        assert (loss.value, loss.error) == pytest.approx(expected, abs=1e-12)
    most = stats.binom.ppf(0.999, cohorts, LEVEL)
    assert alarms <= most
    assert of_given_choices > alarms


@pytest.mark.parametrize(
    ("value", "error", "answer"),
    [
        # of 19 degrees of freedom the one-sided bound is 1.73 errors above the loss
        (-0.00275, 0.00155, Answer.CARRIES_OVER),  # a change of -0.0005 to 0.0060
        (-0.05, 0.001, Answer.CARRIES_OVER),  # a clear gain beyond the margin
        (0.0, 0.001, Answer.CARRIES_OVER),
        (0.001, 0.0005, Answer.CARRIES_OVER),
        (0.001, 0.0006, Answer.OPEN),
        (0.002, 0.0013, Answer.OPEN),
        (0.01, 0.001, Answer.DOES_NOT),
    ],
)
def test_what_loses_less_than_the_margin_with_confidence_would_do_whatever_it_gains(
    value: float, error: float, answer: Answer
) -> None:
    loss = Mean(value=value, error=error, freedom=19, subjects=20)
    given = Transfer(scope=COHORT, setting={"regularization": 0.3}, loss=loss)
    found = judged([given], margin=0.002)[COHORT]
    assert found.answer is answer
    assert found.would_do is (answer is Answer.CARRIES_OVER)
    bound = value + error * stats.t.ppf(0.95, 19)
    assert found.would_do is bool(bound <= 0.002)


def test_few_subjects_give_no_verdict() -> None:
    found = transfers(measure(best=0.3, steep=0.5, subjects=4), there=0.7)
    assert found[COHORT].evidence is Evidence.TOO_FEW
    assert not found[COHORT].would_do


def test_a_setting_that_was_not_measured_is_left_out() -> None:
    measured = measure(best=0.3, steep=0.5)
    kept = [0, 1, 2, 3, 4, 5]
    fewer = Measurements(
        identity=measured.identity,
        space=SPACE,
        settings=tuple(measured.settings[place] for place in kept),
        pairs=measured.pairs,
        labels=measured.labels,
        values={"dice": measured.values["dice"][kept]},
    )
    assert transfers(fewer, there=0.9) == {}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0.1, 0.3), (0.2, 0.5), True),
        ((0.2, 0.5), (0.1, 0.2), True),
        ((0.0, 0.1), (0.2, 0.3), False),
        ((0.0, 0.1), (np.nan, np.nan), None),
    ],
)
def test_intervals_that_share_a_value_overlap(
    one: tuple[float, float], other: tuple[float, float], expected: bool | None
) -> None:
    assert overlap(Interval(*one), Interval(*other)) is expected
    assert overlap(Interval(*other), Interval(*one)) is expected
