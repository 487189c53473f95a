"""One immutable Parquet file of measurements: a row for each metric, setting, pair and label."""

import itertools
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hmopt.files import replacing
from hmopt.ledger.cells import Axes
from hmopt.metric import find_metric
from hmopt.records import Block
from hmopt.space import Space

NAMES = ("metric", "pair", "label")
LEAST_ROWS, MOST_ROWS = 1 << 12, 1 << 14
"""Rows that are read together, unless a file has fewer."""


def block_rows(space: Space, blocks: Sequence[Block]) -> pa.Table:
    """Give the rows of blocks, in the order of `distinct_rows`."""
    return distinct_rows([_metric_rows(space, block, metric) for block in blocks for metric in block.values])


def distinct_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """Give the rows of several tables by metric, label, setting and pair, each once: of two under one key the first.

    In that order, what a scope reads stands together: its metrics and its label, or one setting of all.
    """
    rows = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    settings = [name for name in rows.column_names if name not in (*NAMES, "value")]
    ranks = {name: _ranks(rows[name]) for name in NAMES} | {name: rows[name].to_numpy() for name in settings}
    keys = [ranks[name] for name in ("metric", "label", *settings, "pair")]
    order = np.lexsort(keys[::-1])  # stable, so that the first of equals comes first
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    return rows.take(pa.array(order[new]))


def _ranks(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Give the place of each row's name in alphabetic order, -1 where it has none."""
    names = column.combine_chunks()
    place = np.argsort(np.argsort(names.dictionary.to_numpy(zero_copy_only=False)))
    indices = pc.fill_null(names.indices, len(place)).to_numpy(zero_copy_only=False)
    return np.asarray(np.append(place, -1)[indices])


def _metric_rows(space: Space, block: Block, metric: str) -> pa.Table:
    values = np.asarray(block.values[metric], dtype=np.float32)
    count, labels = values.size, len(block.labels)
    if values.ndim == 2:
        pair = np.repeat(np.arange(len(block.pairs), dtype=np.int32), labels)
        label = pa.array(np.tile(np.arange(labels, dtype=np.int32), len(block.pairs)))
    else:
        pair = np.arange(len(block.pairs), dtype=np.int32)
        label = pa.nulls(count, pa.int32())
    columns: dict[str, pa.Array] = {
        "metric": _dictionary(pa.array(np.zeros(count, dtype=np.int32)), [find_metric(metric).key]),
        "pair": _dictionary(pa.array(pair), block.pairs),
        "label": _dictionary(label, block.labels),
        "value": pa.array(values.ravel()),
    }
    settings = {
        name: pa.array(np.full(count, place, dtype=np.int32))
        for name, place in zip(space.names, block.index, strict=True)
    }
    return pa.table(columns | settings)


def _dictionary(places: pa.Array, names: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(places, pa.array(names, pa.string()))


def write_shard(path: Path, rows: pa.Table) -> None:
    """Write rows in the order of `distinct_rows`, whole or not at all; names stand in each group that has them."""
    plain = pa.schema(
        [(name, pa.string() if name in NAMES else rows.schema.field(name).type) for name in rows.column_names]
    )
    with replacing(path) as beside, pq.ParquetWriter(beside, plain, compression="zstd") as writer:
        for start, stop in itertools.pairwise(_bounds(rows)):
            writer.write_table(rows.slice(start, stop - start).cast(plain), row_group_size=MOST_ROWS)


def _bounds(rows: pa.Table) -> list[int]:
    """Give where groups of rows begin, and the end: at another metric or label, once a group is large enough."""
    metric, label = _ranks(rows["metric"]), _ranks(rows["label"])
    bounds = [0]
    for place in (np.flatnonzero(np.diff(metric) | np.diff(label)) + 1).tolist():
        if place - bounds[-1] >= LEAST_ROWS:
            bounds.append(place)
    return [*bounds, rows.num_rows]


def read_shard(path: Path, axes: Axes, metrics: Sequence[str]) -> pa.Table:
    """Give the rows of every group that can hold some on the axes, names as dictionaries; the rest is not read."""
    columns = [*NAMES, *axes.space.names, "value"]
    with pq.ParquetFile(path, read_dictionary=list(NAMES)) as file:
        return file.read_row_groups(groups_of(file.metadata, axes, metrics), columns=columns)


def groups_of(metadata: pq.FileMetaData, axes: Axes, metrics: Sequence[str]) -> list[int]:
    """Give the groups of rows that can hold some on the axes, by the least and greatest value of each column."""
    wanted: dict[str, list[Any]] = {
        "metric": sorted(find_metric(metric).key for metric in metrics),
        "label": sorted(axes.labels),
        "pair": sorted(axes.pairs),
    }
    for place, name in enumerate(axes.space.names):
        wanted[name] = sorted({setting[place] for setting in axes.settings})
    return [number for number in range(metadata.num_row_groups) if _can_hold(metadata.row_group(number), wanted)]


def _can_hold(group: pq.RowGroupMetaData, wanted: Mapping[str, list[Any]]) -> bool:
    columns = [group.column(place) for place in range(group.num_columns)]
    return all(
        _reaches(column.statistics, wanted[column.path_in_schema])
        for column in columns
        if column.path_in_schema in wanted
    )


def _reaches(statistics: pq.Statistics | None, values: list[Any]) -> bool:
    """Give whether a column can hold one of these values, or none at all: a metric per pair has no label."""
    if statistics is None or not statistics.has_min_max or statistics.null_count:
        return True
    place = bisect_left(values, statistics.min)
    return place < len(values) and bool(values[place] <= statistics.max)


def read_keys(path: Path) -> pa.Table:
    """Give all rows of a shard without their values, names as dictionaries."""
    columns = [name for name in pq.read_schema(path).names if name != "value"]
    return pq.read_table(path, columns=columns, read_dictionary=list(NAMES))


def read_all(path: Path) -> pa.Table:
    """Give all rows of a shard, names as dictionaries."""
    return pq.read_table(path, read_dictionary=list(NAMES))
