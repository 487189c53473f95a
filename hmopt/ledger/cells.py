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


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What the axes of measurement arrays stand for: settings, pairs (by id) and labels."""

    space: Space
    settings: tuple[Index, ...]
    pairs: tuple[str, ...]
    labels: tuple[str, ...]

    def shape(self, metric: str) -> tuple[int, ...]:
        """Give (settings, pairs, labels), or (settings, pairs) for a metric per pair."""
        shape = (len(self.settings), len(self.pairs), len(self.labels))
        return shape if find_metric(metric).per_label else shape[:2]


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
        self.values = {metric: np.full(axes.shape(metric), np.nan) for metric in metrics}
        self.known = {metric: np.zeros(axes.shape(metric), dtype=bool) for metric in metrics}

    def fill(self, path: Path, rows: pa.Table) -> None:
        """Take the values of a shard's rows that lie on the axes; they take the place of those that are there.

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
        places = [
            _setting_places(rows, axes.space, axes.settings),
            _places(rows["pair"], axes.pairs),
            _places(rows["label"], axes.labels),
        ]
        value = rows["value"].to_numpy().astype(np.float64)
        metric_place = _places(rows["metric"], [find_metric(metric).key for metric in self.values])
        for number, metric in enumerate(self.values):
            used = places[: len(axes.shape(metric))]
            here = (metric_place == number) & np.all([place >= 0 for place in used], axis=0)
            cell = np.ravel_multi_index([place[here] for place in used], axes.shape(metric))
            count = len(cell)
            cell, first = np.unique(cell, return_index=True)
            if len(cell) < count:
                raise damaged(path, f"several values of {metric} for one pair")
            self.values[metric].flat[cell] = value[here][first]
            self.known[metric].flat[cell] = True

    def complete(self, metric: str) -> NDArray[np.bool_]:
        """Tell, shape (settings, pairs), where a metric is known for every label."""
        known = self.known[metric]
        return np.asarray(known.all(axis=tuple(range(2, known.ndim))))


def _places(column: pa.ChunkedArray, names: Sequence[str]) -> NDArray[np.int64]:
    """Give the place of each row's name among `names`, -1 where it is not there; names are looked up once a chunk."""
    value_set = pa.array(names, pa.string())
    parts = [np.empty(0, dtype=np.int64)]
    for chunk in column.chunks:
        place = pc.index_in(chunk.dictionary.cast(pa.string()), value_set=value_set)
        lookup = np.append(pc.fill_null(place, -1).to_numpy(zero_copy_only=False), -1)
        parts.append(
            lookup[pc.fill_null(chunk.indices, len(lookup) - 1).to_numpy(zero_copy_only=False)]
        )
    return np.concatenate(parts).astype(np.int64)


def _setting_places(rows: pa.Table, space: Space, settings: Sequence[Index]) -> NDArray[np.int64]:
    if not space.names:  # an oracle that takes no setting, as that of unregistered pairs
        return np.zeros(rows.num_rows, dtype=np.int64)
    shape = tuple(h.points for h in space.hyperparameters)
    keys = np.ravel_multi_index(tuple(rows[name].to_numpy() for name in space.names), shape)
    wanted = np.atleast_1d(np.ravel_multi_index(tuple(np.array(settings, dtype=np.int64).T), shape))
    order = np.argsort(wanted)
    nearest = order[np.searchsorted(wanted, keys, sorter=order).clip(max=wanted.size - 1)]
    return np.where(wanted[nearest] == keys, nearest, -1)
