"""Measurements of one oracle as dense arrays, with the pairs they are of.

`Tabulated` is an oracle that answers from them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.catalogue import find_metric
from hmopt.errors import LedgerError
from hmopt.records import Block, Pair
from hmopt.space import Index, Space

T = TypeVar("T")
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

PAIR_COLUMNS = ("pair", "moving", "fixed", "moving_subject", "fixed_subject", "task")
"""Columns of every table of pairs; further ones are groups that a pair belongs to."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurements:
    """Values of metrics at settings (S), for pairs (P) and labels (L), of one oracle.

    Parameters
    ----------
    identity
        The oracle's identity.
    space
        Hyperparameters of the settings.
    settings
        S settings as lattice indices, sorted.
    pairs
        P rows, indexed from 0, with the columns of `PAIR_COLUMNS` and any groups, all of them text.
    labels
        Names of the L labels.
    values
        By metric: shape (S, P, L) for a metric per label, (S, P) for one per pair; NaN where
        nothing is to measure.

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
    values: Mapping[str, Array]

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        distinct = set(self.settings)
        if list(self.settings) != sorted(distinct):
            raise LedgerError(
                "settings", expected="sorted settings", got=self.settings, advice="Sort them."
            )
        missing = [column for column in PAIR_COLUMNS if column not in self.pairs]
        if missing:
            expected, got = f"columns {PAIR_COLUMNS}", f"none of {missing}"
            raise LedgerError("pairs", expected=expected, got=got, advice="Add them.")
        settings = len(self.settings)
        pairs = len(self.pairs)
        labels = len(self.labels)
        for name, array in self.values.items():
            shape: tuple[int, ...] = (settings, pairs)
            if find_metric(name).per_label:
                shape = (settings, pairs, labels)
            if array.shape != shape:
                expected, advice = f"shape {shape}", "Give a value per cell."
                raise LedgerError(name, expected=expected, got=array.shape, advice=advice)

    def array(self, metric: str) -> Array:
        """Return the values of a metric, shape (S, P, L) or (S, P).

        Raises
        ------
        LedgerError
            If it was not measured.
        """
        check_measured(metric, self.values)
        return self.values[metric]

    def score(self, metric: str, label: str | None = None, mask: Mask | None = None) -> Array:
        """Return one value per setting and pair: of a label, or the mean over the labels that the pair has.

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
        if label is None:
            return mean(chosen, axis=2)
        place = self._label_place(label)
        return chosen[:, :, place]

    @cached_property
    def failed(self) -> Mask:
        """Which pairs could not be registered at which settings, shape (S, P)."""
        if not self.values:
            return np.zeros((len(self.settings), len(self.pairs)), dtype=bool)
        return without_values(self.values)

    @property
    def failed_at_default(self) -> Mask:
        """Which pairs could not be registered at the default setting, shape (P,)."""
        default = self.space.index(self.space.default)
        if default not in self.settings:
            return np.zeros(len(self.pairs), dtype=bool)
        place = self.settings.index(default)
        failed: Mask = self.failed[place]
        return failed

    def at(self, settings: Sequence[Index]) -> "Measurements":
        """Return the same measurements at some of the settings only."""
        wanted = set(settings)
        kept = [place for place, setting in enumerate(self.settings) if setting in wanted]
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


def joined(parts: Sequence[Measurements], identity: str) -> Measurements:
    """Return measurements of the same pairs, labels and metrics at different settings as one.

    Parameters
    ----------
    parts
        At least one; no two hold the same setting.
    identity
        That of all together.
    """
    first = parts[0]
    settings = [setting for part in parts for setting in part.settings]
    # where each setting, in order, stands among those of all parts
    order = sorted(range(len(settings)), key=lambda place: settings[place])
    values = {}
    for metric in first.values:
        stacked = np.concatenate([part.array(metric) for part in parts])
        values[metric] = stacked[order]
    return replace(
        first,
        identity=identity,
        settings=tuple(settings[place] for place in order),
        values=values,
    )


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


def mean(values: Array, axis: int) -> Array:
    """Return the mean of what was measured along an axis; NaN where nothing was.

    Examples
    --------
    >>> mean(np.array([[1.0, 3.0, np.nan], [np.nan, np.nan, np.nan]]), axis=1)
    array([ 2., nan])
    """
    was_measured = np.isfinite(values)
    measured = np.where(was_measured, values, 0.0)
    count = was_measured.sum(axis=axis)
    total = measured.sum(axis=axis)
    average = total / np.maximum(count, 1)
    return np.where(count > 0, average, np.nan)


def without_values(values: Mapping[str, Array]) -> Mask:
    """Return, shape (..., P), which pairs have no value of any metric or label: their registration failed.

    Parameters
    ----------
    values
        By metric: shape (..., P, L) for a metric per label, (..., P) for one per pair, with at
        least one per pair, as `folding`. Without one nothing is known to have failed: a label can
        be missing.

    Examples
    --------
    >>> values = {"dice": np.array([[0.7, np.nan], [np.nan, np.nan]]), "folding": np.array([0.0, np.nan])}
    >>> without_values(values)
    array([False,  True])
    """
    per_pair = [array for name, array in values.items() if not find_metric(name).per_label]
    if not per_pair:
        first = next(iter(values.values()))
        return np.zeros(first.shape[:-1], dtype=bool)
    missing = np.ones(per_pair[0].shape, dtype=bool)
    for name, array in values.items():
        is_missing = np.isnan(array)
        missing &= is_missing.all(axis=-1) if find_metric(name).per_label else is_missing
    return missing


def pair_records(pairs: pd.DataFrame) -> list[Pair]:
    """Return the rows of a table of pairs as records.

    Examples
    --------
    >>> row = {"moving": "a_1", "fixed": "b_1", "moving_subject": "a", "fixed_subject": "b"}
    >>> [pair.id for pair in pair_records(pd.DataFrame([row]))]
    ['a_1->b_1']
    """
    columns = ["moving", "fixed", "moving_subject", "fixed_subject"]
    rows = pairs[columns].itertuples(index=False)
    return [
        Pair(moving=moving, fixed=fixed, moving_subject=moving_subject, fixed_subject=fixed_subject)
        for moving, fixed, moving_subject, fixed_subject in rows
    ]


def _places(entries: Iterable[T]) -> dict[T, int]:
    """Return the place of each of some different entries."""
    numbered = enumerate(entries)
    return {entry: place for place, entry in numbered}


class Tabulated:
    """An oracle that answers from measurements in memory: only at settings, pairs and metrics that they have.

    Parameters
    ----------
    measurements
        Its answers.
    identity
        Its identity; left out: that of the oracle that was measured.
    """

    def __init__(self, measurements: Measurements, identity: str | None = None) -> None:
        self._measurements = measurements
        self._identity = measurements.identity if identity is None else identity
        self._setting_places = _places(measurements.settings)
        self._pair_places = _places(measurements.pairs["pair"])

    @property
    def space(self) -> Space:
        """The hyperparameters that were measured."""
        return self._measurements.space

    @property
    def identity(self) -> str:
        """The identity under which it answers."""
        return self._identity

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that were measured."""
        return self._measurements.labels

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that were measured."""
        records = pair_records(self._measurements.pairs)
        return tuple(records)

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Yield a block for each setting.

        Raises
        ------
        LedgerError
            If a setting, a pair or a metric was not measured.
        """
        names = tuple(pair.id for pair in pairs)
        places = [self._pair_place(name) for name in names]
        arrays = {metric: self._measurements.array(metric) for metric in metrics}
        for index in settings:
            here = self._setting_place(index)
            yield Block(
                index=index,
                pairs=names,
                labels=self.labels,
                values={metric: array[here, places] for metric, array in arrays.items()},
            )

    def _pair_place(self, name: str) -> int:
        if name not in self._pair_places:
            raise LedgerError(
                "pair",
                expected="one that was measured",
                got=name,
                advice="Measure it with the model.",
            )
        return self._pair_places[name]

    def _setting_place(self, index: Index) -> int:
        if index not in self._setting_places:
            raise LedgerError(
                "setting",
                expected=f"one of the {len(self._setting_places)} that were measured",
                got=self.space.setting(index),
                advice="Choose one of them, or measure it with the model.",
            )
        return self._setting_places[index]
