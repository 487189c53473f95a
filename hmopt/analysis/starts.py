"""Means over pairs and over random starts of training, with the variance of both."""

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.jackknife import ROUNDING, Mean, jackknife

FEWEST_STARTS = 2
"""Random starts from which their variance is known."""


def over_starts(
    values: NDArray[np.float64], moving: NDArray[np.object_], fixed: NDArray[np.object_]
) -> Mean:
    """Compute the mean of values of m trainings and n pairs, with the variance over subjects and over trainings.

    Parameters
    ----------
    values
        Shape (m, n), of independent trainings. A single one counts without a variance of its own.
    moving, fixed
        The subjects of each pair, shape (n,).
    """
    over_subjects = jackknife(values.mean(axis=0), moving, fixed)
    return over_subjects.with_starts(*variance_of_mean(values.mean(axis=1)))


def difference_over_starts(
    ones: NDArray[np.float64],
    others: NDArray[np.float64],
    moving: NDArray[np.object_],
    fixed: NDArray[np.object_],
) -> Mean:
    """Compute the mean difference between two groups of trainings, m and k of them, on the same n pairs.

    Parameters
    ----------
    ones, others
        Shape (m, n) and (k, n).
    moving, fixed
        The subjects of each pair, shape (n,).

    References
    ----------
    Welch, "The generalization of Student's problem when several different population variances are involved",
    Biometrika 1947.
    """
    over_subjects = jackknife(ones.mean(axis=0) - others.mean(axis=0), moving, fixed)
    for group in (ones, others):
        over_subjects = over_subjects.with_starts(*variance_of_mean(group.mean(axis=1)))
    return over_subjects


def variance_of_mean(means: NDArray[np.float64]) -> tuple[float, float]:
    """Return the variance of the mean of m independent trainings' scores, and its degrees of freedom.

    0 where there is a single one: what another training would change is then not known.

    Examples
    --------
    >>> variance_of_mean(np.array([1.0, 2.0, 3.0]))
    (0.3333333333333333, 2.0)
    """
    if len(means) < FEWEST_STARTS:
        return 0.0, 1.0
    variance = float(means.var(ddof=1) / len(means))
    if variance <= (ROUNDING * np.abs(means).max()) ** 2:
        variance = 0.0
    return variance, float(len(means) - 1)
