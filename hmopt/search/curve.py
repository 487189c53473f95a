"""The response curve of a scope: scores of its pairs and mean folding at every setting."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from hmopt.catalogue import Metric, find_metric
from hmopt.catalogue.metrics import FOLDING
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Groups, Scope
from hmopt.space import Index, Space

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Scores of a scope's n pairs at s settings; every score is finite.

    Parameters
    ----------
    scope
        Whose.
    space
        The hyperparameters that settings are of.
    metric
        What the scores are of, with the direction that is better.
    settings
        The settings at which all its pairs were measured, sorted.
    pairs
        Positions of the pairs in the table of all pairs, shape (n,).
    ids
        Ids of these pairs.
    scores
        Shape (s, n).
    folding
        Mean share of folded voxels over the same pairs, shape (s,); NaN where it was not measured.
    limited
        By name of a further metric that has a limit: its mean over the same pairs, shape (s,); NaN
        where it was not measured.
    """

    scope: Scope
    space: Space
    metric: Metric
    settings: tuple[Index, ...]
    pairs: NDArray[np.intp]
    ids: tuple[str, ...]
    scores: Floats
    folding: Floats
    limited: Mapping[str, Floats] = field(default_factory=dict)

    @cached_property
    def means(self) -> Floats:
        """Mean score over the pairs at each setting, shape (s,)."""
        means: Floats = self.scores.mean(axis=1)
        return means

    @property
    def signed_means(self) -> Floats:
        """Mean scores such that more is better, shape (s,)."""
        sign = _sign(self.metric)
        return sign * self.means

    @property
    def signed(self) -> Floats:
        """Scores such that more is better, shape (s, n)."""
        sign = _sign(self.metric)
        return sign * self.scores

    @property
    def losses(self) -> Floats:
        """How much worse than the best each setting is, at least 0, shape (s,)."""
        means = self.signed_means
        losses: Floats = means.max() - means
        return losses

    @property
    def values(self) -> Floats:
        """The settings as numbers, of a choice its place, NaN where inactive: (s, hyperparameters)."""
        rows = [self.space.coordinates(index) for index in self.settings]
        return np.array(rows)

    def best(self) -> int:
        """Return the place of the best setting; of equals the first."""
        return int(self.signed_means.argmax())

    def mean_of(self, metric: str) -> Floats:
        """Return the mean of the metric itself, of folding, or of one with a limit; NaN of any other: (s,)."""
        if metric == self.metric.name:
            return self.means
        if metric == FOLDING:
            return self.folding
        unknown = np.full(len(self.settings), np.nan)
        return self.limited.get(metric, unknown)

    def within(self, limits: Mapping[str, float]) -> NDArray[np.bool_]:
        """Tell which settings obey all limits, by name of the metric: (s,). What was not measured obeys none."""
        obeying = np.ones(len(self.settings), dtype=bool)
        for name, limit in limits.items():
            obeying &= excess(find_metric(name), self.mean_of(name), limit) <= 0
        return obeying

    def best_within(self, limits: Mapping[str, float]) -> int | None:
        """Return the place of the best setting that obeys all limits; None where there is none."""
        feasible = self.within(limits)
        if not feasible.any():
            return None
        means = np.where(feasible, self.signed_means, -np.inf)
        best = means.argmax()
        return int(best)

    def best_of(self, means: Floats) -> NDArray[np.intp]:
        """Return the place of the best setting by other means, shape (..., s)."""
        sign = _sign(self.metric)
        places: NDArray[np.intp] = (sign * means).argmax(axis=-1)
        return places

    def over(self, kept: NDArray[np.bool_]) -> "Curve":
        """Return the curve over some of its pairs, shape (n,).

        Means over all pairs, of folding and of metrics that have a limit, become unknown.
        """
        if kept.all():
            return self
        return replace(
            self,
            pairs=self.pairs[kept],
            ids=tuple(np.array(self.ids, dtype=object)[kept]),
            scores=self.scores[:, kept],
            folding=np.full(len(self.settings), np.nan),
            limited={},
        )

    def at(self, settings: Sequence[Index]) -> "Curve":
        """Return the same curve at some of its settings only."""
        places = [self.settings.index(setting) for setting in settings]
        return replace(
            self,
            settings=tuple(settings),
            scores=self.scores[places],
            folding=self.folding[places],
            limited={name: means[places] for name, means in self.limited.items()},
        )

    def place(self, index: Index) -> int:
        """Return the place of a setting, or -1 where not all pairs were measured at it."""
        if index not in self.settings:
            return -1
        return self.settings.index(index)


def gain(metric: Metric, scores: Floats, others: Floats) -> Floats:
    """Return how much better `scores` are than `others`: positive is better."""
    sign = _sign(metric)
    difference = scores - others
    return sign * difference


def excess(metric: Metric, values: Floats, limit: float) -> Floats:
    """Return by how much values exceed a metric's limit: above 0 they do not obey it, as Optuna has it.

    Examples
    --------
    >>> excess(find_metric("hd95_mm"), np.array([1.5, 2.5]), 2.0).tolist()
    [-0.5, 0.5]
    >>> excess(find_metric("dice"), np.array([0.5, 1.0]), 0.75).tolist()
    [0.25, -0.25]
    """
    sign = _sign(metric)
    return sign * (limit - values)


class Curves:
    """Curves of any scopes over the same measurements, with what scopes share worked out once.

    Parameters
    ----------
    measurements
        What was measured.
    metric
        Name of a measured metric.
    limits
        Names of metrics that have a limit.

    Raises
    ------
    LedgerError
        If the metric was not measured.
    """

    def __init__(self, measurements: Measurements, metric: str, limits: Iterable[str] = ()) -> None:
        measurements.array(metric)
        of_curves = {metric, FOLDING}
        self._limited = [
            name for name in limits if name in measurements.values and name not in of_curves
        ]
        self._measurements = measurements
        self._metric = find_metric(metric)
        self._groups = Groups(measurements.pairs)
        self._ids = measurements.pairs["pair"].to_numpy()
        unknown = np.full((len(measurements.settings), len(self._ids)), np.nan)
        self._folding = measurements.values.get(FOLDING, unknown)
        self._of_label = cache(self._find_of_label)

    def of(self, scope: Scope) -> Curve | None:
        """Return the curve of a scope, or None where nothing was measured for it.

        A pair without any measurement (the label is missing in one of its images) is left out, and
        one that could not be registered at the default setting; so is then a setting at which one
        of the others was not measured, or could not be registered.
        """
        scores, finite, measured = self._of_label(scope.label)
        pairs = self._groups.positions(scope)
        pairs = pairs[measured[pairs]]
        whole = np.flatnonzero(finite[:, pairs].all(axis=1))
        if not len(pairs) or not len(whole):
            return None
        settings = self._measurements.settings
        limited = {
            name: self._mean_of_label(name, scope.label, pairs)[whole] for name in self._limited
        }
        return Curve(
            scope=scope,
            space=self._measurements.space,
            metric=self._metric,
            settings=tuple(settings[place] for place in whole),
            pairs=pairs,
            ids=tuple(self._ids[pairs]),
            scores=scores[np.ix_(whole, pairs)],
            folding=self._folding[np.ix_(whole, pairs)].mean(axis=1),
            limited=limited,
        )

    def _mean_of_label(self, metric: str, label: str | None, pairs: NDArray[np.intp]) -> Floats:
        """Return the mean of a metric over those of some pairs that have it, (settings,).

        NaN where one of these was not measured.
        """
        values = self._measurements.score(metric, label)[:, pairs]
        known = np.isfinite(values).any(axis=0)
        if not known.any():
            return np.full(len(values), np.nan)
        means: Floats = values[:, known].mean(axis=1)
        return means

    def _find_of_label(
        self, label: str | None
    ) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return scores and which are finite, (settings, pairs); which pairs were measured."""
        scores = self._measurements.score(self._metric.name, label)
        finite = np.asarray(np.isfinite(scores))
        # with a pair that fails at the default, nothing could be compared with the default
        measured = np.asarray(finite.any(axis=0) & ~self._measurements.failed_at_default)
        return scores, finite, measured


def find_curves(
    measurements: Measurements, scopes: Iterable[Scope], metric: str
) -> Iterator[Curve]:
    """Yield the curve of every scope for which something was measured.

    Raises
    ------
    LedgerError
        If the metric was not measured.
    """
    curves = Curves(measurements, metric)
    found = map(curves.of, scopes)
    return (curve for curve in found if curve is not None)


def _sign(metric: Metric) -> int:
    return 1 if metric.direction == "maximize" else -1
