"""The response of a scope: its mean score at every measured setting, and folding beside it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmopt.ledger.measurements import Measurements
from hmopt.metric import Metric, find_metric
from hmopt.search.scopes import Scope
from hmopt.space import Index

FOLDING = "folding"


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Mean scores of a scope's pairs at s settings.

    Parameters
    ----------
    scope
        Whose.
    metric
        What the scores are of.
    settings
        The settings at which all its pairs were measured, sorted.
    scores
        Mean over pairs, shape (s,), finite.
    folding
        Mean share of folded voxels over the same pairs, shape (s,); NaN where it was not measured.
    pairs
        Ids of the pairs that were averaged.
    """

    scope: Scope
    metric: Metric
    settings: tuple[Index, ...]
    scores: NDArray[np.float64]
    folding: NDArray[np.float64]
    pairs: tuple[str, ...]

    @property
    def gains(self) -> NDArray[np.float64]:
        """Scores such that more is better, shape (s,)."""
        return self.scores if self.metric.direction == "maximize" else -self.scores

    def best(self) -> int:
        """Give the place of the best setting; of equals the first."""
        return int(self.gains.argmax())

    def best_within(self, folding_limit: float) -> int | None:
        """Give the place of the best setting whose mean folding obeys a limit; None where none does."""
        feasible = self.folding <= folding_limit
        return int(np.where(feasible, self.gains, -np.inf).argmax()) if feasible.any() else None


def find_curves(measurements: Measurements, scopes: Iterable[Scope], metric: str) -> Iterator[Curve]:
    """Give the curve of every scope for which something was measured.

    A pair that lacks the label is left out; so is a setting at which one of the others was not measured.

    Raises
    ------
    LedgerError
        If the metric was not measured.
    """
    scores = {label: measurements.score(metric, label) for label in (None, *measurements.labels)}
    ids = measurements.pairs["pair"].to_numpy()
    unknown = np.full((len(measurements.settings), len(ids)), np.nan)
    folding = measurements.values.get(FOLDING, unknown)
    for scope in scopes:
        chosen = scores[scope.label]
        pairs = np.flatnonzero(scope.mask(measurements.pairs) & np.isfinite(chosen).any(axis=0))
        whole = np.flatnonzero(np.isfinite(chosen[:, pairs]).all(axis=1))
        if len(pairs) and len(whole):
            yield Curve(
                scope=scope,
                metric=find_metric(metric),
                settings=tuple(measurements.settings[place] for place in whole),
                scores=chosen[np.ix_(whole, pairs)].mean(axis=1),
                folding=folding[np.ix_(whole, pairs)].mean(axis=1),
                pairs=tuple(ids[pairs]),
            )
