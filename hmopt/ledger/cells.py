"""Dense arrays of measurements, filled from rows in any order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hmopt.catalogue import find_metric
from hmopt.ledger.seal import damaged
from hmopt.space import Index, Space

Places = NDArray[np.int64]
"""For each row its place along an axis, -1 where it is not on it."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Axes of arrays of measurements: settings (S), pairs by id (P), and labels (L)."""

    space: Space
    settings: tuple[Index, ...]
    pairs: tuple[str, ...]
    labels: tuple[str, ...]

    def shape(self, metric: str) -> tuple[int, ...]:
        """Return (S, P, L), or (S, P) for a metric per pair."""
        pairs_at_settings = (len(self.settings), len(self.pairs))
        if find_metric(metric).per_label:
            return *pairs_at_settings, len(self.labels)
        return pairs_at_settings


class Cells:
    """Values of some metrics along `axes`, and which of them are known: NaN can be a known value.

    Parameters
    ----------
    axes
        Settings, pairs and labels.
    metrics
        Names of metrics.
    """

    def __init__(self, axes: Axes, metrics: Sequence[str]) -> None:
        self.axes = axes
        self.values: dict[str, NDArray[np.float64]] = {}
        self.known: dict[str, NDArray[np.bool_]] = {}
        for metric in metrics:
            shape = axes.shape(metric)
            self.values[metric] = np.full(shape, np.nan)
            self.known[metric] = np.zeros(shape, dtype=bool)

    def fill(self, path: Path, rows: pa.Table) -> None:
        """Take the values of a shard's rows that lie on the axes.

        They replace those that are there.

        Each row has a place along every axis, -1 where it is not on it. The three places become
        the flat index of a cell,

            cell = (setting · P + pair) · L + label,

        so that with 3 pairs and 2 labels, setting 1, pair 2 and label 0 are cell 10.

        Parameters
        ----------
        path
            Where the rows are from, for an error to name.
        rows
            Columns as of a shard.

        Raises
        ------
        LedgerError
            If two rows have the same key, as in no shard that was written.
        """
        axes = self.axes
        places = (
            _setting_places(rows, axes.space, axes.settings),
            _name_places(rows["pair"], axes.pairs),
            _name_places(rows["label"], axes.labels),
        )
        keys = [find_metric(metric).key for metric in self.values]
        metric_places = _name_places(rows["metric"], keys)
        row_values = rows["value"].to_numpy().astype(np.float64)
        for number, metric in enumerate(self.values):
            shape = axes.shape(metric)
            used = places[: len(shape)]  # a metric per pair has no place along labels
            is_on_axes = np.all([place >= 0 for place in used], axis=0)
            is_of_metric = metric_places == number
            taken = is_on_axes & is_of_metric
            taken_places = [place[taken] for place in used]
            cells = np.ravel_multi_index(taken_places, shape)
            distinct, first = np.unique(cells, return_index=True)
            if len(distinct) < len(cells):
                raise damaged(path, f"several values of {metric} for one pair")
            taken_values = row_values[taken]
            self.values[metric].flat[distinct] = taken_values[first]
            self.known[metric].flat[distinct] = True

    def complete(self, metric: str) -> NDArray[np.bool_]:
        """Return, shape (S, P), where a metric is known for every label."""
        known = self.known[metric]
        if known.ndim == 2:
            return known
        return np.asarray(known.all(axis=2))


def _name_places(column: pa.ChunkedArray, names: Sequence[str]) -> Places:
    """Return the place of each row's name among `names`, -1 where it is not there.

    A chunk of a column is a dictionary and indices into it, so that each name is looked up once,
    not for every row: with the names [cortex, pons], the dictionary [pons, thalamus] has the places
    [0 -> 1, 1 -> -1], and its rows [0, 0, 1, null] get [1, 1, -1, -1].
    """
    value_set = pa.array(names, pa.string())
    parts: list[Places] = [np.empty(0, dtype=np.int64)]
    for chunk in column.chunks:
        dictionary = chunk.dictionary.cast(pa.string())
        found = pc.index_in(dictionary, value_set=value_set)
        place_of_name = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
        places = np.append(place_of_name, -1)  # the last one is that of no name
        indices = pc.fill_null(chunk.indices, len(place_of_name))
        indices = indices.to_numpy(zero_copy_only=False)
        parts.append(places[indices])
    return np.concatenate(parts).astype(np.int64)


def _setting_places(rows: pa.Table, space: Space, settings: Sequence[Index]) -> Places:
    """Return the place of each row's setting among `settings`, -1 where it is not there.

    Settings are compared as one number each, their flat index on the lattice, by a binary search.
    """
    if not space.names:  # an oracle without hyperparameters, as that of unregistered pairs
        return np.zeros(rows.num_rows, dtype=np.int64)
    shape = tuple(known.points for known in space.hyperparameters)
    columns = tuple(rows[name].to_numpy() for name in space.names)
    found = np.ravel_multi_index(columns, shape)
    wanted_columns = np.array(settings, dtype=np.int64).T
    wanted = np.ravel_multi_index(tuple(wanted_columns), shape)
    wanted = np.atleast_1d(wanted)
    order = np.argsort(wanted)
    position = np.searchsorted(wanted, found, sorter=order)
    last = wanted.size - 1
    candidate = order[position.clip(max=last)]
    is_wanted = wanted[candidate] == found
    return np.where(is_wanted, candidate, -1)
