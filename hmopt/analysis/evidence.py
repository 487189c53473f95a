"""Whether there is evidence, and how it is tested with few subjects and several questions."""

from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.resampling import Estimate

LEVEL = 0.05
"""False alarms that a test may have."""

LEAST = 5
"""With fewer subjects than this no signed-rank test reaches the level: (1/2)^4 = 0.0625."""


class Evidence(Enum):
    """What measurements let one say; its value is how a table says it."""

    FOUND = "evidence"
    NONE = "no evidence"
    TOO_FEW = "too few"
    FLAT = "flat"


def signed_rank(differences: NDArray[np.float64]) -> float:
    """Give the p-value of the one-sided Wilcoxon signed-rank test that differences are larger than 0.

    Parameters
    ----------
    differences
        One of each subject, shape (n,).

    Returns
    -------
    float
        1 where all differences are 0; NaN where there are none.

    Examples
    --------
    >>> signed_rank(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    0.03125
    """
    if not len(differences):
        return np.nan
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences, alternative="greater").pvalue)


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


def of_test(p_value: float, subjects: int) -> Evidence:
    """Give what a test says."""
    if subjects < LEAST or not np.isfinite(p_value):
        return Evidence.TOO_FEW
    return Evidence.FOUND if p_value <= LEVEL else Evidence.NONE


def of_interval(estimate: Estimate) -> Evidence:
    """Give whether an interval leaves out 0."""
    if not np.isfinite([estimate.low, estimate.high]).all():
        return Evidence.TOO_FEW
    return Evidence.NONE if estimate.low <= 0 <= estimate.high else Evidence.FOUND
