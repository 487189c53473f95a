"""What measurements let one say, with few subjects and several questions."""

from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.jackknife import Mean
from hmopt.analysis.resampling import FEWEST, Estimate

LEVEL = 0.05
"""False alarms that a test may have."""

LEAST = FEWEST
"""With fewer subjects than this there is neither an interval nor a verdict."""


class Evidence(Enum):
    """What measurements let one say; its value is how a table says it."""

    FOUND = "evidence"
    NONE = "no evidence"
    NEGLIGIBLE = "negligible"
    TOO_FEW = "too few"
    FLAT = "flat"


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Give p-values of several questions such that a false alarm among them is as rare as the level says.

    Unknown ones, NaN, stay so and are not counted.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted = np.array(p_values, dtype=float)
    known = np.flatnonzero(np.isfinite(adjusted))
    order = known[np.argsort(adjusted[known], kind="stable")]
    raised = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return adjusted


def of_mean(mean: Mean, p_adjusted: float, margin: float) -> Evidence:
    """Return what a mean difference shows.

    Parameters
    ----------
    mean
        The difference.
    p_adjusted
        Its p-value, corrected for the other questions that were asked.
    margin
        Difference that is negligible.

    Returns
    -------
    Evidence
        TOO_FEW of fewer than `LEAST` subjects; NEGLIGIBLE where two one-sided tests place the difference within the
        margin, be it 0 or not; FOUND where the corrected test rejects 0 and the interval excludes it; else NONE.
    """
    if not mean.known:
        return Evidence.TOO_FEW
    if mean.equivalent(margin):
        return Evidence.NEGLIGIBLE
    low, high = mean.interval
    return Evidence.FOUND if p_adjusted <= LEVEL and (low > 0 or high < 0) else Evidence.NONE


def of_difference(mean: Mean) -> Evidence:
    """Return whether a mean difference, the only question asked, is one from 0.

    TOO_FEW where its error is not known; NONE where the values do not vary, so that it has no interval.
    """
    if not mean.known:
        return Evidence.TOO_FEW
    return of_interval(mean.estimate) if mean.error else Evidence.NONE


def of_interval(estimate: Estimate) -> Evidence:
    """Give whether an interval leaves out 0."""
    if not np.isfinite([estimate.low, estimate.high]).all():
        return Evidence.TOO_FEW
    return Evidence.NONE if estimate.low <= 0 <= estimate.high else Evidence.FOUND
