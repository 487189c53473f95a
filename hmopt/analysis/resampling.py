"""How sure a mean over pairs is, when pairs share subjects."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COVERAGE = 0.95


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


NOTHING = Interval(np.nan, np.nan)


def draw_weights(
    moving: NDArray[np.object_], fixed: NDArray[np.object_], draws: int, seed: int, always: str | None = None
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
        counts[:, columns] = generator.multinomial(len(drawn), np.full(len(drawn), 1 / len(drawn)), size=draws)
    places = pd.Index(names)
    first, second = counts[:, places.get_indexer(pd.Index(moving))], counts[:, places.get_indexer(pd.Index(fixed))]
    weights = np.where(moving == fixed, first, first * second)
    return np.asarray(weights[weights.sum(axis=1) > 0])


def weighted_means(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
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


def estimate(weights: NDArray[np.float64], values: NDArray[np.float64]) -> Estimate:
    """Give the mean of values of n pairs, and its interval over samples of the subjects.

    Parameters
    ----------
    weights
        Shape (draws, n), from `draw_weights`.
    values
        Shape (n,).
    """
    return Estimate(float(values.mean()), *interval(weighted_means(weights, values)))
