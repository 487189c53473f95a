"""Standard errors of means over pairs that share subjects: the delete-one-subject jackknife.

A difference of a pair is modelled as D_ij = a_i + a_j + e_ij. Pairs that share a subject are
correlated, and so are subjects' means. Leaving out subject k with all its pairs keeps that
correlation in every replicate. Of n subjects with replicates m_k, the mean without subject k,

    SE² = (n - 1) / n · Σ_k (m_k - m̄)²,    t = mean / SE with n - 1 degrees of freedom.

Worked example: values 1, 2, 3, 4, 5 of five subjects have the replicates 3.5, 3.25, 3, 2.75, 2.5.
Their squared deviations sum to 0.625, so SE² = 4/5 · 0.625 = 0.5: the variance of the mean, 2.5 / 5.

Independent trainings (random initializations) are a second source of variance, which
`mean_over_initializations` and `difference_over_initializations` add.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from hmopt.analysis.resampling import (
    COVERAGE,
    FEWEST_SUBJECTS,
    NOTHING,
    Estimate,
    Floats,
    Interval,
    Names,
)

ROUNDING = 1e-12
"""Standard errors below this share of the values are rounding: the values do not vary."""

FEWEST_INITIALIZATIONS = 2
"""Random initializations from which their variance is known."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over pairs with its standard error.

    Parameters
    ----------
    value
        The mean.
    error
        Its standard error; NaN where it is unknown.
    freedom
        Degrees of freedom of the standard error: subjects - 1, or Satterthwaite's.
    subjects
        Number of subjects behind the mean.
    """

    value: float
    error: float
    freedom: float
    subjects: int

    @property
    def known(self) -> bool:
        """Whether an interval exists: a known error, of at least `FEWEST_SUBJECTS` subjects."""
        enough = self.subjects >= FEWEST_SUBJECTS
        return enough and math.isfinite(self.error)

    @property
    def interval(self) -> Interval:
        """95 % interval by Student's t; NaN where it is unknown or the values do not vary."""
        if not self.error:
            return NOTHING
        level = (1 + COVERAGE) / 2
        return self.within(level)

    @property
    def estimate(self) -> Estimate:
        """The mean with its 95 % interval."""
        low, high = self.interval
        return Estimate(self.value, low, high)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of a mean of 0; 1 where the values do not vary, NaN if unknown."""
        if not self.known:
            return math.nan
        if not self.error:
            return 1.0
        statistic = abs(self.value) / self.error
        return float(2 * stats.t.sf(statistic, self.freedom))

    def within(self, level: float) -> Interval:
        """Return a lower and an upper bound, each of which holds by itself with a confidence of `level`.

        Those of 0.975 are together the 95 % interval; those of 0.95 decide equivalence at 5 %.
        """
        if not self.known:
            return NOTHING
        reach = _t_quantile(level, self.freedom) * self.error
        low = self.value - reach
        high = self.value + reach
        return Interval(low, high)

    def equivalent(self, margin: float) -> bool:
        """Check equivalence: two one-sided tests at 5 % place the mean within ±margin.

        The tests reject mean ≤ -margin and mean ≥ margin. Both do exactly where the one-sided
        95 % bounds lie inside, which is where the 90 % interval does.

        References
        ----------
        Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for
        assessing the equivalence of average bioavailability", J. Pharmacokinetics and
        Biopharmaceutics 1987.

        Examples
        --------
        The bounds are 0.0005 ± 1.73 · 0.0004 = (-0.0002, 0.0012):

        >>> Mean(value=0.0005, error=0.0004, freedom=19, subjects=20).equivalent(0.002)
        True
        """
        low, high = self.within(0.95)
        above = -margin <= low
        below = high <= margin
        return above and below

    def below(self, margin: float) -> bool:
        """Check non-inferiority: a one-sided test at 5 % places the mean below a margin, however low it is.

        It is the upper one of the two tests of `equivalent`, which needs both.

        Examples
        --------
        The bound is -0.004 + 1.73 · 0.002 = -0.0005:

        >>> found = Mean(value=-0.004, error=0.002, freedom=19, subjects=20)
        >>> found.below(0.002), found.equivalent(0.002)
        (True, False)
        """
        return self.within(0.95).high <= margin

    def with_initializations(self, variance: float, freedom: float) -> "Mean":
        """Return the same mean with a variance over initializations added to its own.

        The sum of two variances v and u, of f and g degrees of freedom, has (v + u)² /
        (v² / f + u² / g) of them.

        Parameters
        ----------
        variance
            Of the mean, over independent trainings.
        freedom
            Degrees of freedom of `variance`.

        References
        ----------
        Satterthwaite, "An approximate distribution of estimates of variance components",
        Biometrics Bulletin 1946.
        """
        over_subjects = self.error**2
        total = over_subjects + variance
        error = math.sqrt(total)
        if not math.isfinite(total) or not total:
            return replace(self, error=error)
        of_subjects = over_subjects**2 / self.freedom
        of_initializations = variance**2 / freedom
        both = total**2 / (of_subjects + of_initializations)
        return replace(self, error=error, freedom=both)


@lru_cache(maxsize=1024)
def _t_quantile(level: float, freedom: float) -> float:
    quantile = stats.t.ppf(level, freedom)
    return float(quantile)


def jackknife(
    values: Floats,
    moving: Names,
    fixed: Names,
    always: str | None = None,
) -> Mean:
    """Compute a mean over pairs and its delete-one-subject jackknife standard error.

    Parameters
    ----------
    values
        One of each pair, shape (n,).
    moving, fixed
        Subjects of each pair, shape (n,).
    always
        A subject that is never left out, such as the one that a scope is about.

    References
    ----------
    Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 1981.
    Aronow, Samii and Assenova, "Cluster-robust variance estimation for dyadic data", Political
    Analysis 2015.

    Examples
    --------
    Of single subjects it is the standard error of the mean:

    >>> names = np.array(["a", "b", "c", "d", "e"], dtype=object)
    >>> found = jackknife(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), names, names)
    >>> textbook = float(np.std([1, 2, 3, 4, 5], ddof=1)) / 5**0.5
    >>> found.value, round(found.error, 6), round(textbook, 6)
    (3.0, 0.707107, 0.707107)
    """
    return jackknife_rows(values[None], moving, fixed, always)[0]


def jackknife_rows(
    values: Floats,
    moving: Names,
    fixed: Names,
    always: str | None = None,
) -> list[Mean]:
    """Compute the same for several values of the same pairs, shape (k, n)."""
    means = values.mean(axis=1)
    replicates = _delete_one_means(values, moving, fixed, always)
    count = replicates.shape[1]
    if count > 1:
        centre = replicates.mean(axis=1, keepdims=True)
        deviations = replicates - centre
        squares = (deviations**2).sum(axis=1)
        errors = np.sqrt((count - 1) / count * squares)
        largest = np.abs(values).max(axis=1)
        errors[errors <= ROUNDING * largest] = 0
    else:
        errors = np.full(len(values), math.nan)
    everyone = {*moving, *fixed}
    subjects = len(everyone - {always})
    if count < FEWEST_SUBJECTS <= subjects:
        # of a star the template cannot be left out: the rest are too few
        errors[:] = math.nan
    freedom = max(count - 1, 1)
    found = []
    for value, error in zip(means.tolist(), errors.tolist(), strict=True):
        mean = Mean(value=value, error=error, freedom=freedom, subjects=subjects)
        found.append(mean)
    return found


def _delete_one_means(
    values: Floats,
    moving: Names,
    fixed: Names,
    always: str | None,
) -> Floats:
    """Compute the means over the pairs without each subject in turn, shape (k, subjects).

    A subject that is in all pairs cannot be left out and has no replicate.
    """
    places, names = pd.factorize(np.concatenate([moving, fixed]))
    first, second = np.split(places, 2)
    count = len(moving)
    pairs = np.arange(count)
    touches = np.zeros((len(names), count))
    touches[first, pairs] = 1
    touches[second, pairs] = 1
    touches = touches[names != always]
    rest = count - touches.sum(axis=1)
    kept = rest > 0
    without = values @ touches[kept].T
    left = values.sum(axis=1, keepdims=True) - without
    means: Floats = left / rest[kept]
    return means


def mean_over_initializations(values: Floats, moving: Names, fixed: Names) -> Mean:
    """Compute a mean over m trainings and n pairs, with the variance over both.

    Parameters
    ----------
    values
        Shape (m, n), of independent trainings. A single one adds no variance.
    moving, fixed
        Subjects of each pair, shape (n,).
    """
    of_pairs = values.mean(axis=0)
    of_trainings = values.mean(axis=1)
    over_subjects = jackknife(of_pairs, moving, fixed)
    variance, freedom = variance_of_mean(of_trainings)
    return over_subjects.with_initializations(variance, freedom)


def difference_over_initializations(
    ones: Floats,
    others: Floats,
    moving: Names,
    fixed: Names,
) -> Mean:
    """Compute the mean difference between m and k trainings on the same n pairs.

    Parameters
    ----------
    ones, others
        Shape (m, n) and (k, n).
    moving, fixed
        Subjects of each pair, shape (n,).

    References
    ----------
    Welch, "The generalization of Student's problem when several different population variances
    are involved", Biometrika 1947.
    """
    difference = jackknife(ones.mean(axis=0) - others.mean(axis=0), moving, fixed)
    for trainings in (ones, others):
        variance, freedom = variance_of_mean(trainings.mean(axis=1))
        difference = difference.with_initializations(variance, freedom)
    return difference


def variance_of_mean(means: Floats) -> tuple[float, float]:
    """Compute the variance of the mean of m trainings' scores, and its degrees of freedom.

    The variance is 0 for a single one: what another training would change is then unknown.

    Examples
    --------
    >>> variance_of_mean(np.array([1.0, 2.0, 3.0]))
    (0.3333333333333333, 2.0)
    """
    count = len(means)
    if count < FEWEST_INITIALIZATIONS:
        return 0.0, 1.0
    freedom = float(count - 1)
    variance = float(means.var(ddof=1) / count)
    largest = np.abs(means).max()
    rounding = (ROUNDING * largest) ** 2
    if variance <= rounding:
        return 0.0, freedom
    return variance, freedom
