"""The response of one scope: its pairs' scores at every setting that was measured for all of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmopt.ledger.measurements import Measurements
from hmopt.metric import Metric, find_metric
from hmopt.space import Index, Space


@dataclass(frozen=True, kw_only=True)
class Response:
    """Scores of n pairs at s settings; every value is finite.

    Parameters
    ----------
    space
        The hyperparameters that settings are of.
    metric
        What the scores are of, with the direction that is better.
    settings
        The settings that all pairs were measured at, s of them.
    pairs
        Positions of the pairs in the table of all pairs, shape (n,).
    scores
        Shape (s, n).
    """

    space: Space
    metric: Metric
    settings: tuple[Index, ...]
    pairs: NDArray[np.intp]
    scores: NDArray[np.float64]

    @property
    def curve(self) -> NDArray[np.float64]:
        """Mean score over the pairs at each setting, shape (s,)."""
        return np.asarray(self.scores.mean(axis=1))

    @property
    def values(self) -> NDArray[np.float64]:
        """The settings as values, shape (s, hyperparameters)."""
        return np.array([list(self.space.setting(index).values()) for index in self.settings])

    def best(self, curves: NDArray[np.float64]) -> NDArray[np.intp]:
        """Give the position of the best setting on each curve; of equals the first.

        Parameters
        ----------
        curves
            Shape (..., s), in the metric's own unit.
        """
        return np.asarray((_sign(self.metric) * curves).argmax(axis=-1))

    def losses(self, curve: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give how much worse than the best each setting is, at least 0, shape (s,)."""
        towards_better = _sign(self.metric) * curve
        return np.asarray(towards_better.max() - towards_better)

    def place(self, index: Index) -> int:
        """Give the position of a setting, or -1 where not all pairs were measured at it."""
        return self.settings.index(index) if index in self.settings else -1


def gain(metric: Metric, scores: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give how much better `scores` are than `others`: positive is better, whichever direction that is."""
    return _sign(metric) * (scores - others)


def find_response(
    measurements: Measurements, scores: NDArray[np.float64], mask: NDArray[np.bool_], metric: str
) -> Response | None:
    """Give the response of the pairs under a mask, or None where nothing was measured for them.

    Pairs without any measurement (the label is missing in one of their images) are left out; so are then settings
    that some remaining pair was not measured at.

    Parameters
    ----------
    measurements
        Where settings and space come from.
    scores
        Of all settings and pairs, shape (S, P); NaN where nothing was measured.
    mask
        The pairs wanted, shape (P,).
    metric
        Name of the metric.
    """
    finite = np.isfinite(scores)
    pairs = np.flatnonzero(mask & finite.any(axis=0))
    whole = np.flatnonzero(finite[:, pairs].all(axis=1))
    if not len(pairs) or not len(whole):
        return None
    return Response(
        space=measurements.space,
        metric=find_metric(metric),
        settings=tuple(measurements.settings[position] for position in whole),
        pairs=pairs,
        scores=scores[np.ix_(whole, pairs)],
    )


def _sign(metric: Metric) -> int:
    return 1 if metric.direction == "maximize" else -1
