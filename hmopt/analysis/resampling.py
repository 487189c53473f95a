"""Intervals of means over pairs that share subjects: the bootstrap over subjects.

A pair (i, j) belongs to two subjects, so pairs are not independent. Subjects are, and they are
resampled with replacement. A sample in which subject i was drawn n_i times weighs the pair by

    w_ij = n_i · n_j  (i ≠ j),    w_ii = n_i,

and the mean of values d_ij in that sample is Σ w_ij d_ij / Σ w_ij. Worked example, with three
subjects: drawing a, a, c gives n = (2, 0, 1), so that the pairs (a, b), (a, c), (b, c) weigh
0, 2 and 0.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
"""Scores, weights, means and other numbers."""

Mask = NDArray[np.bool_]
"""Which of several things are meant."""

Places = NDArray[np.intp]
"""Positions in a sequence or along an axis."""

Names = NDArray[np.object_]
"""Names of subjects."""

COVERAGE = 0.95
END = (1 + COVERAGE) / 2
"""Quantile at the upper end of the middle 95 %."""

FEWEST_SUBJECTS = 5
"""Subjects below which there is neither an interval nor a verdict.

Samples of so few do not spread as the population does."""


class Interval(NamedTuple):
    """A range that holds the true value with 95 % confidence; NaN where it is unknown."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        """Whether a number lies inside, ends included."""
        if not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high


class Estimate(NamedTuple):
    """A number that is estimated, as a mean over pairs, and the ends of its 95 % interval; NaN where they are unknown.

    Examples
    --------
    >>> gain = Estimate(value=0.012, low=0.004, high=0.02)
    >>> gain.low > 0
    True
    """

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """Return the three numbers as columns of a table.

        Examples
        --------
        >>> Estimate(0.7, 0.6, 0.8).columns("score")
        {'score': 0.7, 'score_low': 0.6, 'score_high': 0.8}
        """
        return {
            name: self.value,
            f"{name}_low": self.low,
            f"{name}_high": self.high,
        }


UNKNOWN = Estimate(np.nan, np.nan, np.nan)
NOTHING = Interval(np.nan, np.nan)


def draw_weights(
    moving: Names,
    fixed: Names,
    draws: int,
    seed: int,
    always: str | None = None,
) -> Floats:
    """Draw samples of the subjects with replacement; return the weight of each pair in each.

    Parameters
    ----------
    moving, fixed
        Subjects of each pair, shape (n,).
    draws
        Number of samples.
    seed
        Seed of the random numbers.
    always
        A subject that is in every sample once, such as the one that a scope is about: then only
        its partners are resampled.

    Returns
    -------
    array
        Shape (draws, n), w of the module's text. Samples without any pair are left out.

    References
    ----------
    Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007.

    Examples
    --------
    >>> subjects = np.array(["a", "b", "c"], dtype=object)
    >>> draw_weights(subjects, np.roll(subjects, 1), draws=100, seed=0).shape[1]
    3
    """
    both_sides = np.concatenate([moving, fixed])
    places, names = pd.factorize(both_sides)
    first, second = np.split(places, 2)
    resampled = np.flatnonzero(names != always)
    subjects = len(resampled)
    counts = np.ones((draws, len(names)))
    if subjects:
        generator = np.random.default_rng(seed)
        even = np.full(subjects, 1 / subjects)
        counts[:, resampled] = generator.multinomial(subjects, even, size=draws)
    of_moving = counts[:, first]
    of_both = of_moving * counts[:, second]
    weights = np.where(first == second, of_moving, of_both)
    has_pairs = weights.sum(axis=1) > 0
    kept: Floats = weights[has_pairs]
    return kept


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Bootstrap samples of the subjects of n pairs.

    Parameters
    ----------
    weights
        Weight of each pair in each sample, shape (draws, n), from `draw_weights`.
    members
        Whether each resampled subject is in each pair, shape (subjects, n).
    """

    weights: Floats
    members: Mask

    @cached_property
    def subjects(self) -> int:
        """Number of resampled subjects that are in a pair."""
        in_a_pair = self.members.any(axis=1)
        return int(in_a_pair.sum())

    @property
    def enough(self) -> bool:
        """Whether there are enough subjects for an interval."""
        return self.subjects >= FEWEST_SUBJECTS

    def of(self, pairs: Mask) -> "Samples":
        """Return the same samples of some of the pairs, a mask of shape (n,).

        Subjects without any of these pairs do not count any more.
        """
        return Samples(weights=self.weights[:, pairs], members=self.members[:, pairs])

    def means(self, values: Floats, level: float = END) -> Floats:
        """Compute the mean in each sample, its deviations widened for few subjects.

        Parameters
        ----------
        values
            Shape (..., n).
        level
            Quantile of the means that is asked for, as of `widening`.

        Returns
        -------
        array
            Shape (draws, ...): m + `widening` · (m_b - m) of the mean m and that of sample b.
        """
        centre = values.mean(axis=-1)
        means = weighted_means(self.weights, values)
        deviations = means - centre
        factor = widening(self.subjects, level)
        widened: Floats = centre + factor * deviations
        return widened


def draw(
    moving: Names,
    fixed: Names,
    draws: int,
    seed: int,
    always: str | None = None,
) -> Samples:
    """Draw samples of the subjects of pairs; parameters as of `draw_weights`."""
    resampled = sorted({*moving, *fixed} - {always})
    names = np.array(resampled, dtype=object)[:, None]
    members = (names == moving) | (names == fixed)
    weights = draw_weights(moving, fixed, draws, seed, always)
    return Samples(weights=weights, members=members)


@lru_cache(maxsize=1024)
def widening(subjects: int, level: float = END) -> float:
    """Compute the factor that makes a quantile of bootstrap means the end of a t interval.

    Drawing n of n subjects gives a variance that is too small by (n - 1) / n, and quantiles of a
    normal distribution where those of Student's t with n - 1 degrees of freedom belong. At level p

        √(n / (n - 1)) · t_{p, n - 1} / z_p

    It is 1 for a single subject, whose variance is unknown.

    Parameters
    ----------
    subjects
        Number n of subjects.
    level
        The quantile p, above 0.5, such as `END` for both ends of the middle 95 %.

    References
    ----------
    Hesterberg, "What teachers should know about the bootstrap", American Statistician 2015,
    section 5.3: the expanded percentile interval.

    Examples
    --------
    >>> round(widening(8), 3), round(widening(40), 3)
    (1.29, 1.045)
    >>> round(widening(8, level=0.95), 3)
    1.231
    """
    if subjects < 2:
        return 1.0
    freedom = subjects - 1
    of_variance = math.sqrt(subjects / freedom)
    of_student = stats.t.ppf(level, freedom)
    of_normal = stats.norm.ppf(level)
    of_interval = float(of_student / of_normal)
    return of_variance * of_interval


def weighted_means(weights: Floats, values: Floats) -> Floats:
    """Compute the mean of values in each sample.

    Parameters
    ----------
    weights
        Shape (draws, n).
    values
        Shape (..., n).

    Returns
    -------
    array
        Shape (draws, ...); samples in which these pairs have no weight are left out.
    """
    total = weights.sum(axis=1)
    kept = total > 0
    some = weights[kept]
    sums = values @ some.T
    means: Floats = sums / total[kept]
    return means.T


def interval(samples: Floats) -> Interval:
    """Compute the middle 95 % of samples; both ends are samples, as λ on a lattice must be."""
    if not len(samples):
        return NOTHING
    low, high = middle(samples).tolist()
    return Interval(low, high)


def middle(samples: Floats, coverage: float = COVERAGE) -> Floats:
    """Compute the ends of the middle share of samples, shape (draws, ...): shape (2, ...)."""
    below = (1 - coverage) / 2
    above = (1 + coverage) / 2
    low = np.quantile(samples, below, axis=0, method="lower")
    high = np.quantile(samples, above, axis=0, method="higher")
    return np.array([low, high])


def estimate(samples: Samples, values: Floats) -> Estimate:
    """Compute the mean of values of n pairs, shape (n,), and its bootstrap interval."""
    mean = float(values.mean())
    if not samples.enough:
        return Estimate(mean, np.nan, np.nan)
    means = samples.means(values)
    low, high = interval(means)
    return Estimate(mean, low, high)
