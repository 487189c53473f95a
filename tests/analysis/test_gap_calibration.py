"""How often a best setting is said not to carry over where nothing is lost with it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis import simulation
from hmopt.analysis.gap import CONVERGED, judge_gap
from hmopt.analysis.resampling import Floats
from hmopt.analysis.transfer import Answer
from hmopt.declaration.search import SearchOptions
from tests.analysis.made_up_stages import make_stages
from tests.analysis.simulated_entries import simulated

LEVEL, COHORTS, SUBJECTS = 0.05, 150, 14
MOST = float(stats.binom.ppf(0.999, COHORTS, LEVEL)) / COHORTS
"""A test at 5 % has more false alarms than this in one of a thousand runs."""
OPTIONS = SearchOptions(scopes=[["cohort"], ["label"]], splits=15, margin=1e-5)
SHARED = 0.8
"""Share of the variance of pairs that both models have in common."""


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of best settings, which nothing here asks for, take no time."""
    monkeypatch.setattr("hmopt.analysis.optimum.DRAWS", 2)


def answers(
    of_model: Floats, of_refined: Floats, seed: int, options: SearchOptions = OPTIONS
) -> list[Answer]:
    """Return what is said of the cohort and of each label, of a cohort with known mean curves."""
    model = simulated(of_model, seed=2 * seed, subjects=SUBJECTS)
    other = simulated(of_refined, seed=2 * seed + 1, subjects=SUBJECTS)
    places = [place for (place,) in model.settings]
    deviation = model.values["dice"] - of_model[:, places].T[:, None]
    own = other.values["dice"] - of_refined[:, places].T[:, None]
    together = np.sqrt(SHARED) * deviation + np.sqrt(1 - SHARED) * own
    refined = of_refined[:, places].T[:, None] + together
    dice = [model.values["dice"], refined, refined]
    measured = replace(model, values={**model.values, "folding": np.zeros(refined.shape[:2])})
    record, stages = make_stages(measured, dice, options)
    gap = judge_gap(measured, record, stages, options)
    assert gap is not None
    return [scope.answers[CONVERGED - 1] for scope in gap.scopes]


FLAT = simulation.flat(2)
CURVED = simulation.shifted([0.3, 0.5], 0.1)


@pytest.mark.parametrize(
    ("of_model", "of_refined"),
    [(FLAT, FLAT), (CURVED, FLAT), (CURVED, CURVED)],
    ids=["both flat", "refined flat", "same best"],
)
def test_false_alarms_at_a_loss_of_zero_are_no_more_frequent_than_the_level(
    of_model: Floats, of_refined: Floats
) -> None:
    alarms = {"cohort": 0, "labels": 0}
    for seed in range(COHORTS):
        of_cohort, *of_labels = answers(of_model, of_refined, seed)
        alarms["cohort"] += of_cohort is Answer.DOES_NOT
        alarms["labels"] += Answer.DOES_NOT in of_labels
    assert alarms["cohort"] / COHORTS <= MOST
    assert alarms["labels"] / COHORTS <= MOST


def test_a_loss_as_large_as_the_margin_is_seldom_called_negligible() -> None:
    # so steep that every split chooses the best setting, which the model has 0.3 too low
    steep = 1.0
    margin = steep * 0.3**2
    of_model, of_refined = (simulation.shifted([best, best], steep) for best in (0.3, 0.6))
    options = OPTIONS.model_copy(update={"margin": margin})
    found = [answers(of_model, of_refined, seed, options)[0] for seed in range(COHORTS)]
    assert found.count(Answer.CARRIES_OVER) / COHORTS <= MOST


def test_a_true_loss_is_found() -> None:
    far = simulation.shifted([0.9, 0.9], 0.1)
    found = [answers(CURVED, far, seed)[0] for seed in range(10)]
    assert found.count(Answer.DOES_NOT) >= 8
