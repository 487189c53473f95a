"""The best setting of a scope, and how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.resampling import Estimate, Interval, estimate, interval, weighted_means
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
        By hyperparameter: 95 % interval of the best value over samples of the subjects.
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


def find_optimum(response: Curve, weights: NDArray[np.float64], folding_limit: float) -> Optimum:
    """Give the best measured setting of a response.

    Parameters
    ----------
    response
        Scores of n pairs at s settings.
    weights
        What each pair weighs in each sample of the subjects, shape (draws, n).
    folding_limit
        The largest that the constrained optimum may have.
    """
    best, constrained, values = response.best(), response.best_within(folding_limit), response.values
    equal = values[response.losses <= TOLERANCE[response.metric.unit]]
    drawn = values[response.best_of(weighted_means(weights, response.scores))]
    names = response.space.names
    return Optimum(
        index=response.settings[best],
        setting=response.space.setting(response.settings[best]),
        intervals={name: interval(drawn[:, i]) for i, name in enumerate(names)},
        equals={name: Interval(float(equal[:, i].min()), float(equal[:, i].max())) for i, name in enumerate(names)},
        score=estimate(weights, response.scores[best]),
        folding=float(response.folding[best]),
        constrained=None if constrained is None else response.space.setting(response.settings[constrained]),
        score_constrained=np.nan if constrained is None else float(response.means[constrained]),
    )


def band(response: Curve, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the 95 % interval of the mean at each setting over samples of the subjects, shape (2, s)."""
    means = weighted_means(weights, response.scores)
    ends = [interval(means[:, setting]) for setting in range(means.shape[1])]
    return np.array(ends).T
