"""Measurements of one oracle as dense arrays, with the pairs they are of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.catalogue import find_metric
from hmopt.errors import LedgerError
from hmopt.records import Pair
from hmopt.space import Index, Space

PAIR_COLUMNS = ("pair", "moving", "fixed", "moving_subject", "fixed_subject", "task")
"""What is told of every pair; further columns are groups that it belongs to."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurements:
    """Values of metrics at settings (S), for pairs (P) and labels (L), of one oracle.

    Parameters
    ----------
    identity
        The oracle's identity.
    space
        What the settings are of.
    settings
        S settings as lattice indices, sorted.
    pairs
        P rows with the columns of `PAIR_COLUMNS` and any groups, all of them text; index 0 to P - 1.
    labels
        Names of the L labels.
    values
        By metric: shape (S, P, L) for a metric per label, (S, P) for one per pair; NaN where nothing is to measure.

    Raises
    ------
    LedgerError
        If settings are not sorted, a column is missing, or an array's shape does not fit.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> pairs = pd.DataFrame(
    ...     [("a->b", "a", "b", "a", "b", "cross"), ("b->a", "b", "a", "b", "a", "cross")], columns=PAIR_COLUMNS
    ... )
    >>> measurements = Measurements(
    ...     identity="0f",
    ...     space=Space(hyperparameters=(Hyperparameter(name="regularization"),)),
    ...     settings=((0,), (200,)),
    ...     pairs=pairs,
    ...     labels=("thalamus", "cortex"),
    ...     values={"dice": np.array([[[0.5, 0.7], [0.5, np.nan]], [[0.9, 0.5], [0.8, np.nan]]])},
    ... )
    >>> measurements.score("dice")
    array([[0.6, 0.5],
           [0.7, 0.8]])
    >>> measurements.score("dice", label="thalamus", mask=np.array([True, False]))
    array([[0.5],
           [0.9]])
    """

    identity: str
    space: Space
    settings: tuple[Index, ...]
    pairs: pd.DataFrame
    labels: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        if list(self.settings) != sorted(set(self.settings)):
            raise LedgerError(
                "settings", expected="sorted settings", got=self.settings, advice="Sort them."
            )
        missing = [column for column in PAIR_COLUMNS if column not in self.pairs]
        if missing:
            raise LedgerError(
                "pairs",
                expected=f"columns {PAIR_COLUMNS}",
                got=f"none of {missing}",
                advice="Add them.",
            )
        size = (len(self.settings), len(self.pairs), len(self.labels))
        for name, array in self.values.items():
            shape = size if find_metric(name).per_label else size[:2]
            if array.shape != shape:
                raise LedgerError(
                    name,
                    expected=f"shape {shape}",
                    got=array.shape,
                    advice="Give a value per cell.",
                )

    def array(self, metric: str) -> NDArray[np.float64]:
        """Give the values of a metric, shape (S, P, L) or (S, P).

        Raises
        ------
        LedgerError
            If it was not measured.
        """
        check_measured(metric, self.values)
        return self.values[metric]

    def score(
        self, metric: str, label: str | None = None, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Give one value per setting and pair: of a label, or the mean over the labels that the pair has.

        Parameters
        ----------
        metric
            Name of a measured metric; one that is not per label has the same value for every label.
        label
            One of `labels`; left out: the mean.
        mask
            Shape (P,): the pairs to take; left out: all.

        Returns
        -------
        array
            Shape (S, pairs taken); NaN where nothing is to measure.

        Raises
        ------
        LedgerError
            If the metric or the label was not measured.
        """
        values = self.array(metric)
        chosen = values if mask is None else values[:, mask]
        if chosen.ndim == 2:
            return chosen
        return mean(chosen, axis=2) if label is None else chosen[:, :, self._label_place(label)]

    def at(self, settings: Sequence[Index]) -> "Measurements":
        """Give the same measurements at some of the settings only."""
        kept = [place for place, setting in enumerate(self.settings) if setting in set(settings)]
        return replace(
            self,
            settings=tuple(self.settings[place] for place in kept),
            values={metric: array[kept] for metric, array in self.values.items()},
        )

    def _label_place(self, label: str) -> int:
        if label not in self.labels:
            raise LedgerError(
                "label",
                expected=f"one of {', '.join(self.labels)}",
                got=repr(label),
                advice="Correct the name.",
            )
        return self.labels.index(label)


def check_measured(metric: str, measured: Iterable[str]) -> None:
    """Refuse a metric that was not measured.

    Raises
    ------
    LedgerError
        If it was not.
    """
    known = list(measured)
    if metric not in known:
        raise LedgerError(
            "metric",
            expected=f"one that was measured ({', '.join(known)})",
            got=repr(metric),
            advice="Add it to search.reported and run `hmopt search` again.",
        )


def mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Give the mean of what was measured along an axis; NaN where nothing was.

    Examples
    --------
    >>> mean(np.array([[1.0, 3.0, np.nan], [np.nan, np.nan, np.nan]]), axis=1)
    array([ 2., nan])
    """
    count = np.isfinite(values).sum(axis=axis)
    total = np.where(np.isfinite(values), values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def pair_records(pairs: pd.DataFrame) -> list[Pair]:
    """Give the rows of a table of pairs as records."""
    columns = ["moving", "fixed", "moving_subject", "fixed_subject"]
    return [
        Pair(moving=moving, fixed=fixed, moving_subject=moving_subject, fixed_subject=fixed_subject)
        for moving, fixed, moving_subject, fixed_subject in pairs[columns].itertuples(index=False)
    ]
