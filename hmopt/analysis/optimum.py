"""The best setting of a scope, and how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.between import between
from hmopt.analysis.resampling import Estimate, Interval, Samples, estimate, interval
from hmopt.search.curve import Curve
from hmopt.space import Index, Setting

TOLERANCE = {"1": 0.002, "mm": 0.02, "voxel": 0.02}
"""How much worse than the best still counts as equally good, by the metric's unit."""


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
        By hyperparameter: from the lowest to the highest value of the settings that are as good as the best one to
        within `TOLERANCE`.
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


def find_optimum(response: Curve, samples: Samples, folding_limit: float) -> Optimum:
    """Give the best measured setting of a response.

    Parameters
    ----------
    response
        Scores of n pairs at s settings.
    samples
        Of the subjects of these pairs.
    folding_limit
        The largest that the constrained optimum may have.
    """
    best, constrained, values = response.best(), response.best_within(folding_limit), response.values
    equal = values[response.losses <= TOLERANCE[response.metric.unit]]
    drawn = np.vstack([values[best], _drawn_optima(response, samples)])
    names = response.space.names
    return Optimum(
        index=response.settings[best],
        setting=response.space.setting(response.settings[best]),
        intervals={name: _around(drawn[:, i]) for i, name in enumerate(names)},
        equals={name: Interval(float(equal[:, i].min()), float(equal[:, i].max())) for i, name in enumerate(names)},
        score=estimate(samples, response.scores[best]),
        folding=float(response.folding[best]),
        constrained=None if constrained is None else response.space.setting(response.settings[constrained]),
        score_constrained=np.nan if constrained is None else float(response.means[constrained]),
    )


def _drawn_optima(response: Curve, samples: Samples) -> NDArray[np.float64]:
    """Values of the best setting in each sample, shape (draws, hyperparameters)."""
    candidates, matrix = between(response.space, response.settings)
    best = response.best_of(samples.means(response.scores) @ matrix.T)
    return np.array([list(response.space.setting(index).values()) for index in candidates])[best]


def _around(values: NDArray[np.float64]) -> Interval:
    """Give the interval of all but the first value, stretched to hold the first."""
    inner = interval(values[1:])
    return Interval(min(inner.low, float(values[0])), max(inner.high, float(values[0])))


def band(response: Curve, samples: Samples) -> NDArray[np.float64]:
    """Give the 95 % interval of the mean at each setting over samples of the subjects, shape (2, s)."""
    means = samples.means(response.scores)
    ends = [interval(means[:, setting]) for setting in range(means.shape[1])]
    return np.array(ends).T
