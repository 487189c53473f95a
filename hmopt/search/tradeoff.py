"""Several metrics of a scope at every setting: what a Pareto front is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hmopt.catalogue import Metric, find_metric
from hmopt.catalogue.metrics import FOLDING
from hmopt.declaration.search import metric_of_axis
from hmopt.errors import SearchError
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Groups, Scope
from hmopt.space import Index, Space

Floats = NDArray[np.float64]
Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One of several objectives: a metric, or a metric of one label.

    Parameters
    ----------
    metric
        What is measured, with the direction that is better.
    label
        The label it is of; None: that of the scope, or the mean over the labels that a pair has.

    Examples
    --------
    >>> parse_axis("dice:thalamus").label, parse_axis("folding").direction
    ('thalamus', 'minimize')
    """

    metric: Metric
    label: str | None = None

    @property
    def name(self) -> str:
        """As it is declared: `dice`, or `dice:thalamus`."""
        if self.label is None:
            return self.metric.name
        return f"{self.metric.name}:{self.label}"

    @property
    def direction(self) -> Direction:
        """The direction that is better, as Optuna has it."""
        return self.metric.direction

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction == "maximize" else -1


def parse_axis(text: str) -> Axis:
    """Return the axis of `METRIC` or `METRIC:LABEL`.

    Raises
    ------
    DeclarationError
        If there is no such metric.
    SearchError
        If a label follows a metric that has one value for a whole pair.
    """
    metric = find_metric(metric_of_axis(text))
    _, colon, label = text.partition(":")
    if not colon:
        return Axis(metric=metric)
    if not metric.per_label:
        raise SearchError(
            "front",
            expected=f"{metric.name} without a label, as it is one value for a pair",
            got=repr(text),
            advice="Remove the label.",
        )
    return Axis(metric=metric, label=label)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tradeoff:
    """Scores of a scope's n pairs at s settings on k axes; every score is finite.

    Parameters
    ----------
    scope
        Whose.
    space
        The hyperparameters that settings are of.
    axes
        What is measured.
    settings
        The settings at which all its pairs were measured on every axis, sorted.
    pairs
        Positions of the pairs in the table of all pairs, shape (n,).
    ids
        Ids of these pairs.
    scores
        Shape (k, s, n).
    """

    scope: Scope
    space: Space
    axes: tuple[Axis, ...]
    settings: tuple[Index, ...]
    pairs: NDArray[np.intp]
    ids: tuple[str, ...]
    scores: Floats

    @property
    def names(self) -> list[str]:
        """Names of the axes."""
        return [axis.name for axis in self.axes]

    @property
    def directions(self) -> list[Direction]:
        """The directions of the axes, for `optuna.create_study(directions=…)`."""
        return [axis.direction for axis in self.axes]

    @property
    def signs(self) -> Floats:
        """1 for axes on which more is better, -1 for the others, shape (k,)."""
        signs = [axis.sign for axis in self.axes]
        return np.array(signs, dtype=float)

    @property
    def means(self) -> Floats:
        """Mean score of each setting on each axis, shape (s, k)."""
        means: Floats = self.scores.mean(axis=2)
        return means.T


def find_tradeoff(
    measurements: Measurements, scope: Scope, axes: Sequence[Axis]
) -> Tradeoff | None:
    """Return the scores of a scope on several axes; None where no pair was measured on all.

    A pair that lacks what one of the axes measures, as a label, is left out; so is then a setting
    at which one of the others was not measured.

    Parameters
    ----------
    measurements
        What was measured.
    scope
        Whose.
    axes
        At least one.

    Raises
    ------
    LedgerError
        If a metric or a label of an axis was not measured.
    """
    scores = []
    for axis in axes:
        label = scope.label if axis.label is None else axis.label
        scores.append(measurements.score(axis.metric.name, label))
    stacked = np.stack(scores)  # (k, settings, pairs)
    finite = np.asarray(np.isfinite(stacked).all(axis=0))
    measured = finite.any(axis=0) & ~measurements.failed_at_default
    pairs = Groups(measurements.pairs).positions(scope)
    pairs = pairs[measured[pairs]]
    whole = np.flatnonzero(finite[:, pairs].all(axis=1))
    if not len(pairs) or not len(whole):
        return None
    ids = measurements.pairs["pair"].to_numpy()
    return Tradeoff(
        scope=scope,
        space=measurements.space,
        axes=tuple(axes),
        settings=tuple(measurements.settings[place] for place in whole),
        pairs=pairs,
        ids=tuple(ids[pairs]),
        scores=stacked[:, whole[:, None], pairs],
    )


def default_axes(metric: str) -> list[str]:
    """Return the axes of a front where none are named: a metric against folding."""
    return [metric, FOLDING]
