"""How sure a mean over pairs is when pairs share subjects: the delete-one-subject jackknife."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.resampling import COVERAGE, FEWEST, NOTHING, Estimate, Interval

ROUNDING = 1e-12
"""Standard errors below this share of the values are rounding: the values do not vary."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over pairs with its standard error.

    Parameters
    ----------
    value
        The mean.
    error
        Its standard error; NaN where it is not known.
    freedom
        Degrees of freedom of the standard error: subjects less one.
    subjects
        Number of subjects behind the mean.
    """

    value: float
    error: float
    freedom: float
    subjects: int

    @property
    def known(self) -> bool:
        """Whether an interval can be given: the error is known, of at least `FEWEST` subjects."""
        return self.subjects >= FEWEST and math.isfinite(self.error)

    @property
    def interval(self) -> Interval:
        """95 % interval by Student's t; NaN where it is not known, or where the values do not vary."""
        return self.within((1 + COVERAGE) / 2) if self.error else NOTHING

    @property
    def estimate(self) -> Estimate:
        """The mean with its 95 % interval."""
        return Estimate(self.value, *self.interval)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of a mean of 0; 1 where the values do not vary, NaN where the error is not known."""
        if not self.known:
            return math.nan
        if not self.error:
            return 1.0
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))

    def within(self, level: float) -> Interval:
        """Return the one-sided confidence bounds of a level, such as 0.95 for an equivalence test at 5 %."""
        if not self.known:
            return NOTHING
        reach = float(stats.t.ppf(level, self.freedom)) * self.error
        return Interval(self.value - reach, self.value + reach)

    def equivalent(self, margin: float) -> bool:
        """Return whether two one-sided tests at 5 % place the mean between `-margin` and `margin`.

        References
        ----------
        Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the
        equivalence of average bioavailability", J. Pharmacokinetics and Biopharmaceutics 1987.

        Examples
        --------
        >>> Mean(value=0.0005, error=0.0004, freedom=19, subjects=20).equivalent(0.002)
        True
        """
        low, high = self.within(0.95)
        return bool(-margin <= low and high <= margin)

    def with_starts(self, variance: float, freedom: float) -> "Mean":
        """Return the same mean with the variance over random starts added to that over subjects.

        Parameters
        ----------
        variance
            Of the mean, over independent trainings.
        freedom
            Degrees of freedom of `variance`.

        References
        ----------
        Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics Bulletin 1946.
        """
        over_subjects = self.error**2
        total = over_subjects + variance
        if not math.isfinite(total) or not total:
            return Mean(
                value=self.value,
                error=math.sqrt(total),
                freedom=self.freedom,
                subjects=self.subjects,
            )
        shares = over_subjects**2 / self.freedom + variance**2 / freedom
        return Mean(
            value=self.value,
            error=math.sqrt(total),
            freedom=total**2 / shares,
            subjects=self.subjects,
        )


def jackknife(
    values: NDArray[np.float64],
    moving: NDArray[np.object_],
    fixed: NDArray[np.object_],
    always: str | None = None,
) -> Mean:
    """Compute a mean over pairs and its delete-one-subject jackknife standard error.

    With D = a_i + a_j + e, values of pairs that share a subject are correlated, and so are the means of subjects that
    met each other. Leaving out a subject with all its pairs keeps that correlation in every replicate.

    Parameters
    ----------
    values
        One of each pair, shape (n,).
    moving, fixed
        The subjects of each pair, shape (n,).
    always
        A subject that is never left out, such as the one that a scope is about.

    References
    ----------
    Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 1981.
    Aronow, Samii and Assenova, "Cluster-robust variance estimation for dyadic data", Political Analysis 2015.

    Examples
    --------
    Of single subjects it is the standard error of the mean:

    >>> names = np.array(["a", "b", "c", "d", "e"], dtype=object)
    >>> found = jackknife(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), names, names)
    >>> found.value, round(found.error, 6), round(float(np.std([1, 2, 3, 4, 5], ddof=1)) / 5**0.5, 6)
    (3.0, 0.707107, 0.707107)
    """
    return jackknife_rows(values[None], moving, fixed, always)[0]


def jackknife_rows(
    values: NDArray[np.float64],
    moving: NDArray[np.object_],
    fixed: NDArray[np.object_],
    always: str | None = None,
) -> list[Mean]:
    """Compute the same for several values of the same pairs, shape (k, n)."""
    without = delete_one_means(values, moving, fixed, always)
    count = without.shape[1]
    subjects = len({*moving, *fixed} - {always})
    if count > 1:
        deviations = without - without.mean(axis=1, keepdims=True)
        errors = np.sqrt((count - 1) / count * (deviations**2).sum(axis=1))
        errors[errors <= ROUNDING * np.abs(values).max(axis=1)] = 0
    else:
        errors = np.full(len(values), math.nan)
    return [
        Mean(value=float(value), error=float(error), freedom=max(count - 1, 1), subjects=subjects)
        for value, error in zip(values.mean(axis=1), errors, strict=True)
    ]


def delete_one_means(
    values: NDArray[np.float64],
    moving: NDArray[np.object_],
    fixed: NDArray[np.object_],
    always: str | None = None,
) -> NDArray[np.float64]:
    """Compute the means over the pairs without each subject in turn; subjects that are in all pairs are left out.

    Returns
    -------
    array
        Shape (k, m), in the order in which the subjects appear.
    """
    places, names = pd.factorize(np.concatenate([moving, fixed]))
    first, second = np.split(places, 2)
    touches = np.zeros((len(names), len(moving)))
    pairs = np.arange(len(moving))
    touches[first, pairs] = 1
    touches[second, pairs] = 1
    touches = touches[[name != always for name in names]]
    rest = len(moving) - touches.sum(axis=1)
    kept = rest > 0
    left = values.sum(axis=1, keepdims=True) - values @ touches[kept].T
    return np.asarray(left / rest[kept])
