"""One immutable Parquet file of measurements: a row for each metric, setting, pair and label."""

import itertools
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hmopt.catalogue import find_metric
from hmopt.errors import LedgerError
from hmopt.files import one_line
from hmopt.ledger.cells import Axes
from hmopt.ledger.manifest import HEADER, Shard, ShardHeader
from hmopt.ledger.seal import damaged, is_sealed, seal, unsealed
from hmopt.records import Block
from hmopt.space import Space

NAMES = ("metric", "pair", "label")
LEAST_ROWS, MOST_ROWS = 1 << 12, 1 << 14
"""Rows that are read together, unless a file has fewer."""


def block_rows(space: Space, blocks: Sequence[Block]) -> pa.Table:
    """Give the rows of blocks, in the order of `distinct_rows`."""
    return distinct_rows(
        [_metric_rows(space, block, metric) for block in blocks for metric in block.values]
    )


def distinct_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """Give the rows of several tables by metric, label, setting and pair, each once: of two under one key the first.

    In that order, what a scope reads stands together: its metrics and its label, or one setting of all.
    """
    rows = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    settings = [name for name in rows.column_names if name not in (*NAMES, "value")]
    ranks = {name: _ranks(rows[name]) for name in NAMES} | {
        name: rows[name].to_numpy() for name in settings
    }
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


def write_shard(folder: Path, header: ShardHeader, rows: pa.Table) -> Shard:
    """Write rows in the order of `distinct_rows` into a file named by its hash, whole or not at all.

    Names stand in each group of rows that has them. The footer tells what is in the file.

    Parameters
    ----------
    folder
        The ledger's.
    header
        What is in the rows.
    rows
        As of `distinct_rows`.

    Returns
    -------
    Shard
        As a manifest holds it.
    """
    columns = [
        (name, pa.string() if name in NAMES else rows.schema.field(name).type)
        for name in rows.column_names
    ]
    plain = pa.schema(columns)
    described = plain.with_metadata(unsealed({HEADER: header.model_dump_json().encode()}))
    beside = folder / f".{os.getpid()}-shard.parquet"
    try:
        with pq.ParquetWriter(beside, described, compression="zstd") as writer:
            for start, stop in itertools.pairwise(_bounds(rows)):
                part = (
                    rows.slice(start, stop - start)
                    .cast(plain)
                    .replace_schema_metadata(described.metadata)
                )
                writer.write_table(part, row_group_size=MOST_ROWS)
        digest = seal(beside)
        path = folder / f"{digest[:32]}.parquet"
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return Shard(
        file=path.name,
        identity=header.identity,
        lattice=header.lattice,
        metrics=frozenset(header.metrics),
        settings=frozenset(header.settings),
        sha256=digest,
    )


def _bounds(rows: pa.Table) -> list[int]:
    """Give where groups of rows begin, and the end: at another metric or label, once a group is large enough."""
    metric, label = _ranks(rows["metric"]), _ranks(rows["label"])
    bounds = [0]
    for place in (np.flatnonzero(np.diff(metric) | np.diff(label)) + 1).tolist():
        if place - bounds[-1] >= LEAST_ROWS:
            bounds.append(place)
    return [*bounds, rows.num_rows]


def read_shard(path: Path, axes: Axes, metrics: Sequence[str]) -> pa.Table:
    """Return the rows of every group that can hold some on the axes, names as dictionaries; the rest is not read.

    Raises
    ------
    LedgerError
        If the file is not a shard of measurements. A file that is not there is a FileNotFoundError.
    """
    columns = [*NAMES, *axes.space.names, "value"]
    with _reading(path), pq.ParquetFile(path, read_dictionary=list(NAMES)) as file:
        _check_columns(path, file.schema_arrow, axes.space.names)
        rows = file.read_row_groups(groups_of(file.metadata, axes, metrics), columns=columns)
        has_hash = is_sealed(file.metadata.metadata or {})
    if not has_hash:
        _check_values(path, rows, metrics)
    return rows


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say which file it is that Arrow cannot read."""
    try:
        yield
    except (FileNotFoundError, LedgerError):
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise damaged(path, one_line(error)) from error


def _check_columns(path: Path, schema: pa.Schema, settings: Sequence[str]) -> None:
    """Refuse a file that lacks a column of a shard, or has one of another type."""
    kinds = {
        **dict.fromkeys(NAMES, "text"),
        **dict.fromkeys(settings, "whole numbers"),
        "value": "numbers",
    }
    for name, kind in kinds.items():
        if name not in schema.names:
            raise damaged(path, f"no column {name}")
        found = schema.field(name).type
        found = found.value_type if pa.types.is_dictionary(found) else found
        fits = {
            "text": pa.types.is_string(found),
            "whole numbers": pa.types.is_integer(found),
            "numbers": pa.types.is_floating(found),
        }
        if not fits[kind]:
            raise damaged(path, f"column {name} of {found} instead of {kind}")
    if len(schema.names) != len(kinds):
        raise damaged(path, f"columns {', '.join(schema.names)}")


def _check_values(path: Path, rows: pa.Table, metrics: Sequence[str]) -> None:
    """Refuse values that a metric cannot have."""
    keys = rows["metric"].combine_chunks()
    values = rows["value"].to_numpy()
    for name in metrics:
        metric = find_metric(name)
        mine = values[pc.equal(keys, metric.key).to_numpy(zero_copy_only=False)]
        wrong = mine[~metric.can_be(mine)]
        if len(wrong):
            raise damaged(path, f"a {name} of {wrong[0]:g}")


def groups_of(metadata: pq.FileMetaData, axes: Axes, metrics: Sequence[str]) -> list[int]:
    """Give the groups of rows that can hold some on the axes, by the least and greatest value of each column."""
    wanted: dict[str, list[Any]] = {
        "metric": sorted(find_metric(metric).key for metric in metrics),
        "label": sorted(axes.labels),
        "pair": sorted(axes.pairs),
    }
    for place, name in enumerate(axes.space.names):
        wanted[name] = sorted({setting[place] for setting in axes.settings})
    return [
        number
        for number in range(metadata.num_row_groups)
        if _can_hold(metadata.row_group(number), wanted)
    ]


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


def read_keys(path: Path, settings: Sequence[str]) -> pa.Table:
    """Return all rows of a shard without their values, names as dictionaries.

    Raises
    ------
    LedgerError
        If the file is not a shard whose settings are of these hyperparameters.
    """
    with _reading(path):
        _check_columns(path, pq.read_schema(path), settings)
        return pq.read_table(path, columns=[*NAMES, *settings], read_dictionary=list(NAMES))


def read_all(path: Path, settings: Sequence[str]) -> pa.Table:
    """Return all rows of a shard, names as dictionaries.

    Raises
    ------
    LedgerError
        If the file is not a shard whose settings are of these hyperparameters.
    """
    with _reading(path):
        _check_columns(path, pq.read_schema(path), settings)
        rows = pq.read_table(path, read_dictionary=list(NAMES))
    return rows.replace_schema_metadata(None)
