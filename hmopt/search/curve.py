"""The response of a scope: its pairs' scores at every measured setting, their mean, and folding beside it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from hmopt.catalogue import Metric, find_metric
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Groups, Scope
from hmopt.space import Index, Space

FOLDING = "folding"


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
    """

    scope: Scope
    space: Space
    metric: Metric
    settings: tuple[Index, ...]
    pairs: NDArray[np.intp]
    ids: tuple[str, ...]
    scores: NDArray[np.float64]
    folding: NDArray[np.float64]

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """Mean score over the pairs at each setting, shape (s,)."""
        return np.asarray(self.scores.mean(axis=1))

    @property
    def signed_means(self) -> NDArray[np.float64]:
        """Mean scores such that more is better, shape (s,)."""
        return _sign(self.metric) * self.means

    @property
    def signed(self) -> NDArray[np.float64]:
        """Scores such that more is better, shape (s, n)."""
        return _sign(self.metric) * self.scores

    @property
    def losses(self) -> NDArray[np.float64]:
        """How much worse than the best each setting is, at least 0, shape (s,)."""
        return np.asarray(self.signed_means.max() - self.signed_means)

    @property
    def values(self) -> NDArray[np.float64]:
        """The settings as values, shape (s, hyperparameters)."""
        return np.array([list(self.space.setting(index).values()) for index in self.settings])

    def best(self) -> int:
        """Give the place of the best setting; of equals the first."""
        return int(self.signed_means.argmax())

    def best_within(self, folding_limit: float) -> int | None:
        """Give the place of the best setting whose mean folding obeys a limit; None where none does."""
        feasible = self.folding <= folding_limit
        return (
            int(np.where(feasible, self.signed_means, -np.inf).argmax()) if feasible.any() else None
        )

    def best_of(self, means: NDArray[np.float64]) -> NDArray[np.intp]:
        """Give the place of the best setting by other means of these scores, shape (..., s); of equals the first."""
        return np.asarray((_sign(self.metric) * means).argmax(axis=-1))

    def at(self, settings: Sequence[Index]) -> "Curve":
        """Give the same curve at some of its settings only."""
        places = [self.settings.index(setting) for setting in settings]
        return replace(
            self, settings=tuple(settings), scores=self.scores[places], folding=self.folding[places]
        )

    def place(self, index: Index) -> int:
        """Give the place of a setting, or -1 where not all pairs were measured at it."""
        return self.settings.index(index) if index in self.settings else -1


def gain(
    metric: Metric, scores: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give how much better `scores` are than `others`: positive is better, whichever direction that is."""
    return _sign(metric) * (scores - others)


class Curves:
    """Curves of any scopes over the same measurements, with what scopes share worked out once.

    Parameters
    ----------
    measurements
        What was measured.
    metric
        Name of a measured metric.

    Raises
    ------
    LedgerError
        If the metric was not measured.
    """

    def __init__(self, measurements: Measurements, metric: str) -> None:
        measurements.array(metric)
        self._measurements = measurements
        self._metric = find_metric(metric)
        self._groups = Groups(measurements.pairs)
        self._ids = measurements.pairs["pair"].to_numpy()
        unknown = np.full((len(measurements.settings), len(self._ids)), np.nan)
        self._folding = measurements.values.get(FOLDING, unknown)
        self._of_label = cache(self._find_of_label)

    def of(self, scope: Scope) -> Curve | None:
        """Give the curve of a scope, or None where nothing was measured for it.

        A pair without any measurement (the label is missing in one of its images) is left out; so is then a setting
        at which one of the others was not measured.
        """
        scores, finite, measured = self._of_label(scope.label)
        pairs = self._groups.positions(scope)
        pairs = pairs[measured[pairs]]
        whole = np.flatnonzero(finite[:, pairs].all(axis=1))
        if not len(pairs) or not len(whole):
            return None
        settings = self._measurements.settings
        return Curve(
            scope=scope,
            space=self._measurements.space,
            metric=self._metric,
            settings=settings
            if len(whole) == len(settings)
            else tuple(settings[place] for place in whole),
            pairs=pairs,
            ids=tuple(self._ids[pairs]),
            scores=scores[np.ix_(whole, pairs)],
            folding=self._folding[np.ix_(whole, pairs)].mean(axis=1),
        )

    def _find_of_label(
        self, label: str | None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        scores = self._measurements.score(self._metric.name, label)
        finite = np.asarray(np.isfinite(scores))
        return scores, finite, np.asarray(finite.any(axis=0))


def find_curves(
    measurements: Measurements, scopes: Iterable[Scope], metric: str
) -> Iterator[Curve]:
    """Give the curve of every scope for which something was measured.

    Raises
    ------
    LedgerError
        If the metric was not measured.
    """
    curves = Curves(measurements, metric)
    return (curve for scope in scopes if (curve := curves.of(scope)) is not None)


def _sign(metric: Metric) -> int:
    return 1 if metric.direction == "maximize" else -1
