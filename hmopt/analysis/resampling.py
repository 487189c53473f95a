"""How sure a mean over pairs is, when pairs share subjects."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

COVERAGE = 0.95

FEWEST = 5
"""Subjects below which no interval is given: samples of so few do not spread as the population does."""


class Interval(NamedTuple):
    """A range that holds the true value with 95 % confidence; NaN where nothing can be said."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        """Whether a number lies inside, ends included."""
        return isinstance(value, int | float) and self.low <= value <= self.high


class Estimate(NamedTuple):
    """A mean over pairs and the ends of its 95 % interval; NaN where nothing can be said."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """Give it as columns of a table.

        Examples
        --------
        >>> Estimate(0.7, 0.6, 0.8).columns("score")
        {'score': 0.7, 'score_low': 0.6, 'score_high': 0.8}
        """
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


UNKNOWN = Estimate(np.nan, np.nan, np.nan)
NOTHING = Interval(np.nan, np.nan)


def draw_weights(
    moving: NDArray[np.object_],
    fixed: NDArray[np.object_],
    draws: int,
    seed: int,
    always: str | None = None,
) -> NDArray[np.float64]:
    """Give what each pair weighs in each of several random samples of the subjects, drawn with replacement.

    Parameters
    ----------
    moving, fixed
        The subjects of each pair, shape (n,).
    draws
        How many samples.
    seed
        Of the random numbers.
    always
        A subject that is in every sample once, as the one that a scope is about: then its partners are drawn.

    Returns
    -------
    weights
        Shape (draws, n): the product of how often both subjects were drawn; within one subject, how often it was.
        Samples without any pair are left out.

    References
    ----------
    Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007: resampling when a value belongs to two
    factors.

    Examples
    --------
    >>> subjects = np.array(["a", "b", "c"], dtype=object)
    >>> draw_weights(subjects, np.roll(subjects, 1), draws=100, seed=0).shape[1]
    3
    """
    names = pd.unique(np.concatenate([moving, fixed]))
    drawn = [name for name in names if name != always]
    counts = np.ones((draws, len(names)))
    if drawn:
        generator = np.random.default_rng(seed)
        columns = [position for position, name in enumerate(names) if name != always]
        counts[:, columns] = generator.multinomial(
            len(drawn), np.full(len(drawn), 1 / len(drawn)), size=draws
        )
    places = pd.Index(names)
    first, second = (
        counts[:, places.get_indexer(pd.Index(moving))],
        counts[:, places.get_indexer(pd.Index(fixed))],
    )
    weights = np.where(moving == fixed, first, first * second)
    return np.asarray(weights[weights.sum(axis=1) > 0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Random samples of the subjects behind n pairs.

    Parameters
    ----------
    weights
        What each pair weighs in each sample, shape (draws, n), from `draw_weights`.
    subjects
        How many subjects were drawn from.
    """

    weights: NDArray[np.float64]
    subjects: int

    @property
    def enough(self) -> bool:
        """Whether there are subjects enough for an interval."""
        return self.subjects >= FEWEST

    def of(self, pairs: NDArray[np.bool_]) -> "Samples":
        """Give the same samples of some of the pairs, a mask of shape (n,)."""
        return Samples(weights=self.weights[:, pairs], subjects=self.subjects)

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the mean of values of shape (..., n) in each sample, shape (draws, ...), widened for few subjects."""
        centre = values.mean(axis=-1)
        return np.asarray(
            centre + widening(self.subjects) * (weighted_means(self.weights, values) - centre)
        )


def draw(
    moving: NDArray[np.object_],
    fixed: NDArray[np.object_],
    draws: int,
    seed: int,
    always: str | None = None,
) -> Samples:
    """Give random samples of the subjects of pairs; parameters as of `draw_weights`."""
    drawn = {*moving, *fixed} - {always}
    return Samples(weights=draw_weights(moving, fixed, draws, seed, always), subjects=len(drawn))


def widening(subjects: int) -> float:
    """Give by how much means over samples of n subjects must spread more for their middle 95 % to be an interval.

    Drawing n of n subjects gives a variance that is too small by (n - 1) / n, and ends of a normal distribution where
    those of Student's t with n - 1 degrees of freedom belong. Of a single subject nothing is known: 1.

    References
    ----------
    Hesterberg, "What teachers should know about the bootstrap", American Statistician 2015, section 5.3: the expanded
    percentile interval.

    Examples
    --------
    >>> round(widening(8), 3), round(widening(40), 3)
    (1.29, 1.045)
    """
    if subjects < 2:
        return 1.0
    end = (1 + COVERAGE) / 2
    return math.sqrt(subjects / (subjects - 1)) * float(
        stats.t.ppf(end, subjects - 1) / stats.norm.ppf(end)
    )


def weighted_means(
    weights: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the mean of values in each sample.

    Parameters
    ----------
    weights
        Shape (draws, n).
    values
        Shape (..., n).

    Returns
    -------
    means
        Shape (draws, ...); samples in which these pairs weigh nothing are left out.
    """
    total = weights.sum(axis=1)
    kept = total > 0
    return np.asarray(((values @ weights[kept].T) / total[kept]).T)


def interval(samples: NDArray[np.float64]) -> Interval:
    """Give the range of the middle 95 % of samples whose ends are samples, as settings on a lattice must be."""
    if not len(samples):
        return NOTHING
    low = np.quantile(samples, (1 - COVERAGE) / 2, method="lower")
    high = np.quantile(samples, (1 + COVERAGE) / 2, method="higher")
    return Interval(float(low), float(high))


def estimate(samples: Samples, values: NDArray[np.float64]) -> Estimate:
    """Give the mean of values of n pairs, shape (n,), and its interval over samples of the subjects."""
    ends = interval(samples.means(values)) if samples.enough else NOTHING
    return Estimate(float(values.mean()), *ends)
