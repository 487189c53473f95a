"""The best setting of a scope, and how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.between import between
from hmopt.analysis.resampling import (
    COVERAGE,
    NOTHING,
    Estimate,
    Interval,
    Samples,
    estimate,
    interval,
)
from hmopt.catalogue import Metric
from hmopt.search.curve import Curve
from hmopt.space import Index, Setting


def margin_of(metric: Metric, declared: float | None) -> float:
    """Give the difference of a metric that is negligible: the declared one, or its tolerance.

    Examples
    --------
    >>> from hmopt.catalogue import find_metric
    >>> margin_of(find_metric("dice"), None), margin_of(find_metric("dice"), 0.005)
    (0.002, 0.005)
    """
    return metric.tolerance if declared is None else declared


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best measured setting of a scope.

    Parameters
    ----------
    index, setting
        The best setting, on the lattice and as values.
    intervals
        By hyperparameter: 95 % interval of the best value over samples of the subjects, measured or not: between the
        settings that were measured scores follow a smooth curve. It holds the best measured one.
    equals
        By hyperparameter: from the lowest to the highest value of the settings around the best one that are
        equivalent to it: their mean loss is below the margin with 95 % confidence.
    score
        Mean over the pairs at the best setting, and its 95 % interval over samples of the subjects.
    folding
        Mean share of folded voxels at the best setting; NaN where it was not measured.
    constrained
        The best of the settings whose mean folding obeys the limit; None where none does.
    score_constrained
        The score there.
    """

    index: Index
    setting: Setting
    intervals: Mapping[str, Interval]
    equals: Mapping[str, Interval]
    score: Estimate
    folding: float
    constrained: Setting | None
    score_constrained: float


def find_optimum(
    response: Curve, samples: Samples, folding_limit: float, margin: float | None = None
) -> Optimum:
    """Give the best measured setting of a response.

    Parameters
    ----------
    response
        Scores of n pairs at s settings.
    samples
        Of the subjects of these pairs.
    folding_limit
        The largest that the constrained optimum may have.
    margin
        Loss that is negligible; left out: that of the metric's unit.
    """
    best, constrained, names = (
        response.best(),
        response.best_within(folding_limit),
        response.space.names,
    )
    drawn = _drawn_optima(response, samples)
    equal = response.values[_equivalent(response, samples, margin_of(response.metric, margin))]
    return Optimum(
        index=response.settings[best],
        setting=response.space.setting(response.settings[best]),
        intervals={
            name: _around(drawn[:, i], response.values[:, i], best) for i, name in enumerate(names)
        },
        equals={name: _range(equal[:, i]) for i, name in enumerate(names)},
        score=within_range(response.metric, estimate(samples, response.scores[best])),
        folding=float(response.folding[best]),
        constrained=None
        if constrained is None
        else response.space.setting(response.settings[constrained]),
        score_constrained=np.nan if constrained is None else float(response.means[constrained]),
    )


def within_range(metric: Metric, found: Estimate) -> Estimate:
    """Give an estimate whose interval is cut to the values that the metric can have."""
    low, high = np.clip([found.low, found.high], *metric.range)
    return Estimate(found.value, float(low), float(high))


def _drawn_optima(response: Curve, samples: Samples) -> NDArray[np.float64]:
    """Values of the best setting in each sample, shape (draws, hyperparameters); none of too few subjects."""
    if not samples.enough:
        return np.empty((0, len(response.space.names)))
    candidates, matrix = between(response.space, response.settings)
    best = response.best_of(samples.means(response.scores) @ matrix.T)
    return np.array([list(response.space.setting(index).values()) for index in candidates])[best]


def _around(drawn: NDArray[np.float64], measured: NDArray[np.float64], best: int) -> Interval:
    """Give the interval of drawn values, stretched to reach half-way from the best measured value to its neighbours.

    What lies nearer to the best value than half-way to the next measured one was never told from it.
    """
    inner = interval(drawn)
    if np.isnan(inner.low):
        return NOTHING
    values = np.unique(measured)
    place = int(np.searchsorted(values, measured[best]))
    below, above = values[max(place - 1, 0)], values[min(place + 1, len(values) - 1)]
    low, high = (values[place] + below) / 2, (values[place] + above) / 2
    return Interval(min(inner.low, float(low)), max(inner.high, float(high)))


def _equivalent(response: Curve, samples: Samples, margin: float) -> NDArray[np.intp]:
    """Give the places of the settings that lose less than the margin to the best one with 95 % confidence.

    The test has one side, as the best setting cannot be the worse one. Of one hyperparameter only the settings next to
    each other around the best one count.
    """
    if not samples.enough:
        return np.empty(0, dtype=np.intp)
    best = response.best()
    lost = response.signed[best] - response.signed
    upper = np.quantile(samples.means(lost), COVERAGE, axis=0)
    equal = upper <= margin
    equal[best] = True
    if len(response.space.names) > 1:
        return np.flatnonzero(equal)
    first, last = best, best
    while first > 0 and equal[first - 1]:
        first -= 1
    while last + 1 < len(equal) and equal[last + 1]:
        last += 1
    return np.arange(first, last + 1)


def _range(values: NDArray[np.float64]) -> Interval:
    return Interval(float(values.min()), float(values.max())) if len(values) else NOTHING


def band(response: Curve, samples: Samples) -> NDArray[np.float64]:
    """Give the 95 % interval of the mean at each setting over samples of the subjects, shape (2, s)."""
    if not samples.enough:
        return np.full((2, len(response.settings)), np.nan)
    means = samples.means(response.scores)
    ends = [interval(means[:, setting]) for setting in range(means.shape[1])]
    return np.clip(np.array(ends).T, *response.metric.range)
