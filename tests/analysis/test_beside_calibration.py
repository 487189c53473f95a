"""How often methods side by side are told apart where there is no difference, and where there is one."""

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis import simulation
from hmopt.analysis.beside import Beside, Entry, set_beside
from hmopt.analysis.jackknife import jackknife
from tests.analysis.simulated_entries import entries, simulated

LEVEL, COHORTS, SUBJECTS = 0.05, 60, 20
MOST = float(stats.binom.ppf(0.999, COHORTS, LEVEL)) / COHORTS
"""A test at 5 % has more false alarms than this in one of a thousand runs."""


def verdicts(first: Entry, second: Entry) -> tuple[str, bool]:
    """Return the verdict on two entries, and whether a test that takes choices for given would claim something."""
    found: Beside = set_beside([first, second], "dice", margin=1e-5)
    overall = found.differences[0]
    gains = first.of_label(None) - second.of_label(None)
    known = np.isfinite(gains)
    given = jackknife(gains[known], first.moving[known], first.fixed[known])
    return overall.verdict, given.p_value <= LEVEL


@pytest.fixture(scope="module")
def alarms() -> dict[str, list[bool]]:
    """What is claimed of methods between which there is no difference."""
    flat = simulation.flat(1)
    found: dict[str, list[bool]] = {"methods": [], "default": [], "default, choices given": []}
    for seed in range(COHORTS):
        one = simulated(flat, seed=2 * seed + 1000, subjects=SUBJECTS)
        two = simulated(flat, seed=2 * seed + 1001, subjects=SUBJECTS)
        tuned, default = entries("one", one, "tuned", "default")
        (other,) = entries("two", two, "tuned")
        of_methods, _ = verdicts(tuned, other)
        of_default, given = verdicts(tuned, default)
        found["methods"].append(of_methods in ("better", "worse"))
        found["default"].append(of_default in ("better", "worse"))
        found["default, choices given"].append(given)
    return found


@pytest.mark.parametrize("question", ["methods", "default"])
def test_false_alarms_at_a_difference_of_zero_are_no_more_frequent_than_the_level(
    alarms: dict[str, list[bool]], question: str
) -> None:
    assert np.mean(alarms[question]) <= MOST


def test_without_the_variation_of_choices_false_alarms_are_too_frequent(
    alarms: dict[str, list[bool]],
) -> None:
    given = np.mean(alarms["default, choices given"])
    assert given > np.mean(alarms["default"])
    assert given > 2 * LEVEL


def test_a_true_difference_is_found() -> None:
    curves = np.stack([simulation.response(0.3, 0.1)])
    better = 0
    for seed in range(5):
        tuned, default = entries("one", simulated(curves, seed, SUBJECTS), "tuned", "default")
        verdict, _ = verdicts(tuned, default)
        better += verdict == "better"
    assert better >= 4
