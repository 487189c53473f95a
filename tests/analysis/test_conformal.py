"""Intervals by the jackknife+: a closed form, and how often they hold what they should."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from hmopt.analysis.conformal import jackknife_plus
from hmopt.analysis.resampling import Interval

Floats = NDArray[np.float64]


def by_definition(predicted: Floats, errors: Floats, percent: int) -> Interval:
    """Ends by counting in whole numbers: 100 times a rank is compared with percent times n + 1."""
    places = len(predicted) + 1
    lows = sorted(one - error for one, error in zip(predicted, errors, strict=True))
    highs = sorted(one + error for one, error in zip(predicted, errors, strict=True))
    may_lie_below = [
        value for rank, value in enumerate(lows, 1) if 100 * rank <= (100 - percent) * places
    ]
    may_lie_above = [value for rank, value in enumerate(highs, 1) if 100 * rank >= percent * places]
    low, high = may_lie_below[-1], may_lie_above[0]
    return Interval(low, high)


@pytest.mark.parametrize("subjects", [9, 12, 19, 40])
def test_ends_are_those_of_the_definition(subjects: int) -> None:
    generator = np.random.default_rng(subjects)
    predicted, errors = generator.normal(size=subjects), generator.random(subjects)
    found = jackknife_plus(predicted, errors, level=0.9)
    assert found == pytest.approx(by_definition(predicted, errors, percent=90))


def test_too_few_subjects_for_the_level_leave_everything_possible() -> None:
    nine = np.zeros(9)
    assert math.isfinite(jackknife_plus(nine, nine, level=0.9).low)
    assert jackknife_plus(nine, nine, level=0.95) == (-math.inf, math.inf)


def test_intervals_of_a_mean_hold_a_new_value_as_often_as_they_say() -> None:
    """Values are normal and predicted by the mean of the others, whose error has a known distribution."""
    generator = np.random.default_rng(0)
    subjects, repeats, level = 20, 2000, 0.9
    holds = np.empty(repeats, dtype=bool)
    widths = np.empty(repeats)
    for repeat in range(repeats):
        values = generator.normal(size=subjects + 1)
        known, new = values[:-1], values[-1]
        without = (known.sum() - known) / (subjects - 1)
        low, high = jackknife_plus(without, np.abs(known - without), level)
        holds[repeat] = low <= new <= high
        widths[repeat] = high - low
    error = math.sqrt(level * (1 - level) / repeats)
    assert level - 3 * error <= holds.mean() <= level + 0.03 + 3 * error
    # the interval of a normal value by its known standard deviation: 2 · 1.645 · √(1 + 1/20)
    assert widths.mean() == pytest.approx(2 * 1.645 * math.sqrt(1 + 1 / subjects), rel=0.15)
