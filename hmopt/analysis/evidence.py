"""Verdicts on differences: multiple comparisons, equivalence, and too few subjects."""

from collections.abc import Sequence
from enum import Enum

import numpy as np

from hmopt.analysis.jackknife import Mean
from hmopt.analysis.resampling import Estimate, Floats

LEVEL = 0.05
"""Probability of a false alarm that a test may have."""


class Evidence(Enum):
    """What measurements show of a difference; tables and summaries write its value.

    Attributes
    ----------
    answer
        What a table answers where it asks whether there is a difference.
    """

    FOUND = "evidence", "yes"
    """A difference from 0."""
    NONE = "no evidence", "no evidence"
    """Neither a difference nor equivalence."""
    NEGLIGIBLE = "negligible", "negligible"
    """Equivalence: the difference lies within the margin."""
    TOO_FEW = "too few", "too few subjects"
    """Too few subjects, initializations or settings for a verdict."""
    FLAT = "flat", "flat"
    """Scores do not differ enough to rank settings by them."""

    answer: str

    def __new__(cls, value: str, answer: str) -> "Evidence":
        """Create a member whose value is the first of its two texts."""
        member = object.__new__(cls)
        member._value_ = value
        member.answer = answer
        return member


def holm(p_values: Sequence[float]) -> Floats:
    """Correct p-values of several questions so that they share one probability of false alarms.

    The k-th smallest of m p-values is multiplied by m - k + 1; a corrected value is never smaller
    than that of a smaller p-value, nor larger than 1. Unknown ones (NaN) stay so and do not count.

    Parameters
    ----------
    p_values
        One of each question.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979.

    Examples
    --------
    0.01 · 3, 0.03 · 2, and 0.04 · 1, which is raised to the value before:

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    corrected = np.array(p_values, dtype=float)
    known = np.isfinite(corrected)
    p_known = corrected[known]
    count = len(p_known)
    order = np.argsort(p_known)
    times = count - np.arange(count)  # m, m - 1, …, 1
    raised = np.maximum.accumulate(times * p_known[order])
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(raised, 1)
    corrected[known] = adjusted
    return corrected


def of_mean(mean: Mean, p_adjusted: float, margin: float) -> Evidence:
    """Judge a mean difference that is one of several questions.

    Parameters
    ----------
    mean
        The difference.
    p_adjusted
        Its p-value, corrected for the other questions.
    margin
        Largest difference that is negligible.

    Returns
    -------
    Evidence
        TOO_FEW of fewer than `FEWEST_SUBJECTS` subjects; NEGLIGIBLE where two one-sided tests
        place the difference within the margin, be it 0 or not; FOUND where the corrected test
        rejects 0 and the interval excludes it; otherwise NONE.
    """
    if not mean.known:
        return Evidence.TOO_FEW
    if mean.equivalent(margin):
        return Evidence.NEGLIGIBLE
    low, high = mean.interval
    excludes_zero = low > 0 or high < 0
    if excludes_zero and p_adjusted <= LEVEL:
        return Evidence.FOUND
    return Evidence.NONE


def of_difference(mean: Mean) -> Evidence:
    """Judge a mean difference that is the only question.

    TOO_FEW where its error is unknown; NONE where the values do not vary, so that there is no
    interval.
    """
    if not mean.known:
        return Evidence.TOO_FEW
    if not mean.error:
        return Evidence.NONE
    return of_interval(mean.estimate)


def of_interval(estimate: Estimate) -> Evidence:
    """Judge a difference by whether its interval excludes 0."""
    ends = [estimate.low, estimate.high]
    if not np.isfinite(ends).all():
        return Evidence.TOO_FEW
    if estimate.low <= 0 <= estimate.high:
        return Evidence.NONE
    return Evidence.FOUND
