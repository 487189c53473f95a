"""One immutable Parquet file of measurements.

A row holds one value, and a column each part of its key; settings are lattice indices:

    metric   label      regularization   pair     value
    dice@1   cortex                 20   a->b     0.71
    dice@1   cortex                 20   b->a     0.73
    dice@1   cortex                100   a->b     0.69
    dice@1   thalamus               20   a->b     0.88
    folding@1  null                 20   a->b     0.001     one value for the pair, none for each label

A pair that could not be registered has a row more, whose label is the reason:

    failure@1  crash (SIGSEGV)           20   a->b     1.0

Rows are sorted by metric, label, setting and pair. So the rows that a scope needs, as those of one
label, stand together, in few of the groups of rows that Parquet reads as a whole.
"""

import itertools
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hmopt.catalogue import METRICS, find_metric
from hmopt.errors import LedgerError
from hmopt.files import naming, one_line, private_folder, put
from hmopt.ledger.manifest import HEADER, Shard, ShardHeader
from hmopt.ledger.seal import damaged, is_sealed, seal, unsealed
from hmopt.records import Block
from hmopt.space import Index, Space

NAMES = ("metric", "pair", "label")
"""Columns of text; all others but `value` are lattice indices."""
LEAST_ROWS = 1 << 12
MOST_ROWS = 1 << 14
"""Rows of a group: at least so many, unless a file has fewer, and at most so many."""

FAILURE = "failure@1"
"""What stands for the metric in rows that say why a pair could not be registered at a setting."""

Places = NDArray[np.int64]
"""For each row its place along an axis, -1 where it is not on it."""
Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Axes of arrays of measurements: settings (S), pairs by id (P), and labels (L)."""

    space: Space
    settings: tuple[Index, ...]
    pairs: tuple[str, ...]
    labels: tuple[str, ...]

    def shape(self, metric: str) -> tuple[int, ...]:
        """Return (S, P, L), or (S, P) for a metric per pair."""
        settings = len(self.settings)
        pairs = len(self.pairs)
        if find_metric(metric).per_label:
            return settings, pairs, len(self.labels)
        return settings, pairs


def block_rows(space: Space, blocks: Sequence[Block]) -> pa.Table:
    """Return the rows of blocks, in the order of `distinct_rows`."""
    tables: list[pa.Table] = []
    for block in blocks:
        for metric in block.values:
            rows = _metric_rows(space, block, metric)
            tables.append(rows)
        if block.failures:
            tables.append(_failure_rows(space, block))
    return distinct_rows(tables)


def distinct_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of several tables sorted by key, each key once: of equal keys the first row in `tables` stays.

    For example, sorting is stable, so that of the rows (key, value)

        b 1 | a 2 | b 3    in order of keys    a 2 | b 1 | b 3    the third is no new key    a 2 | b 1
    """
    rows = pa.concat_tables(tables)
    rows = rows.unify_dictionaries()
    rows = rows.combine_chunks()
    others = (*NAMES, "value")
    hyperparameters = [name for name in rows.column_names if name not in others]
    keys = [
        _ranks(rows["metric"]),
        _ranks(rows["label"]),
        *(rows[name].to_numpy() for name in hyperparameters),
        _ranks(rows["pair"]),
    ]
    order = np.lexsort(keys[::-1])  # numpy sorts by the last key first
    steps = [np.diff(key[order]) for key in keys]
    changes = [step != 0 for step in steps]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = np.any(changes, axis=0)
    first_of_key = order[is_new]
    return rows.take(pa.array(first_of_key))


def _ranks(column: pa.ChunkedArray) -> Places:
    """Return the place of each row's name in alphabetic order, -1 where it has none.

    Names are sorted once, not row by row. For the dictionary [thalamus, cortex], whose ranks are
    [1, 0], rows with the indices [0, 1, null, 0] have the ranks [1, 0, -1, 1].
    """
    names = column.combine_chunks()
    dictionary = names.dictionary.to_numpy(zero_copy_only=False)
    order = np.argsort(dictionary)
    rank_of_name = np.argsort(order)
    return _of_rows(rank_of_name, names.indices)


def _of_rows(of_names: Places, indices: pa.Array) -> Places:
    """Return for each row what belongs to its name, -1 where it has none.

    Parameters
    ----------
    of_names
        For each name of a dictionary, a number.
    indices
        For each row its name's place in the dictionary; null where it has none.
    """
    of_no_name = len(of_names)
    numbers = np.append(of_names, -1)
    filled = pc.fill_null(indices, of_no_name)
    places = filled.to_numpy(zero_copy_only=False)
    return np.asarray(numbers[places], dtype=np.int64)


def _metric_rows(space: Space, block: Block, metric: str) -> pa.Table:
    """Return the rows of one metric of a block: pair by pair, and of each pair label by label."""
    values = np.asarray(block.values[metric], dtype=np.float32)
    count = values.size
    pairs = np.arange(len(block.pairs), dtype=np.int32)
    labels = np.arange(len(block.labels), dtype=np.int32)
    if values.ndim == 2:
        pair = np.repeat(pairs, len(labels))
        label = pa.array(np.tile(labels, len(pairs)))
    else:
        pair = pairs
        label = pa.nulls(count, pa.int32())
    key = find_metric(metric).key
    same_metric = np.zeros(count, dtype=np.int32)
    columns: dict[str, pa.Array] = {
        "metric": _dictionary(pa.array(same_metric), [key]),
        "pair": _dictionary(pa.array(pair), block.pairs),
        "label": _dictionary(label, block.labels),
        "value": pa.array(values.ravel()),
    }
    return _table(columns, space, block, count)


def _failure_rows(space: Space, block: Block) -> pa.Table:
    """Return a row for each pair of a block that failed: its label is the reason, its value 1."""
    count = len(block.failures)
    each = pa.array(np.arange(count, dtype=np.int32))
    same = pa.array(np.zeros(count, dtype=np.int32))
    columns: dict[str, pa.Array] = {
        "metric": _dictionary(same, [FAILURE]),
        "pair": _dictionary(each, list(block.failures)),
        "label": _dictionary(each, list(block.failures.values())),
        "value": pa.array(np.ones(count, dtype=np.float32)),
    }
    return _table(columns, space, block, count)


def _table(columns: dict[str, pa.Array], space: Space, block: Block, count: int) -> pa.Table:
    """Return columns as a table, with the setting of a block in every row."""
    for name, place in zip(space.names, block.index, strict=True):
        same_place = np.full(count, place, dtype=np.int32)
        columns[name] = pa.array(same_place)
    return pa.table(columns)


def _dictionary(places: pa.Array, names: Sequence[str]) -> pa.Array:
    texts = pa.array(names, pa.string())
    return pa.DictionaryArray.from_arrays(places, texts)


def write_shard(folder: Path, header: ShardHeader, rows: pa.Table) -> Shard:
    """Write rows into a file that is named by its hash, whole or not at all.

    Parameters
    ----------
    folder
        The ledger's.
    header
        What the rows are of; stored in the footer.
    rows
        In the order of `distinct_rows`. Each group of rows gets only the names that it has.

    Returns
    -------
    Shard
        The entry of a manifest.
    """
    types = {field.name: field.type for field in rows.schema}
    types.update(dict.fromkeys(NAMES, pa.string()))
    plain = pa.schema(types)
    header_json = header.model_dump_json()
    metadata = unsealed({HEADER: header_json.encode()})
    described = plain.with_metadata(metadata)
    with private_folder(folder) as private:
        beside = private / "shard.parquet"
        with naming(folder), pq.ParquetWriter(beside, described, compression="zstd") as writer:
            for start, stop in itertools.pairwise(_bounds(rows)):
                group = rows.slice(start, stop - start).cast(plain)
                group = group.replace_schema_metadata(described.metadata)
                writer.write_table(group, row_group_size=MOST_ROWS)
        digest = seal(beside)
        path = folder / f"{digest[:32]}.parquet"
        put(beside, path)
    return Shard(
        file=path.name,
        identity=header.identity,
        lattice=header.lattice,
        metrics=frozenset(header.metrics),
        settings=frozenset(header.settings),
        sha256=digest,
    )


def _bounds(rows: pa.Table) -> list[int]:
    """Return where groups of rows begin, and the end: at another metric or label, once a group is large enough.

    With groups of at least 4 rows, and three labels of 3 rows each, the second group begins at the
    third label:

        a a a b b b | c c c    bounds 0, 6, 9
    """
    metric = _ranks(rows["metric"])
    label = _ranks(rows["label"])
    is_change = np.diff(metric) | np.diff(label)
    before_changes = np.flatnonzero(is_change)
    changes = before_changes + 1
    bounds = [0]
    for place in changes.tolist():
        if place - bounds[-1] >= LEAST_ROWS:
            bounds.append(place)
    return [*bounds, rows.num_rows]


def read_shard(path: Path, axes: Axes, metrics: Sequence[str]) -> pa.Table:
    """Return the rows of every group that can hold some on the axes, names as dictionaries.

    The rest is not read.

    Raises
    ------
    LedgerError
        If the file is not a shard of measurements. A missing file is a FileNotFoundError.
    """
    hyperparameters = axes.space.names
    columns = [*NAMES, *hyperparameters, "value"]
    with _reading(path), pq.ParquetFile(path, read_dictionary=list(NAMES)) as file:
        _check_columns(path, file.schema_arrow, hyperparameters)
        groups = groups_of(file.metadata, axes, metrics)
        rows = file.read_row_groups(groups, columns=columns)
        metadata = file.metadata.metadata or {}
        has_hash = is_sealed(metadata)
    if not has_hash:
        _check_values(path, rows, metrics)
    return rows


def read_keys(path: Path, hyperparameters: Sequence[str]) -> pa.Table:
    """Return all rows of a shard without their values, names as dictionaries.

    Raises
    ------
    LedgerError
        If the file is not a shard whose settings are of these hyperparameters.
    """
    columns = [*NAMES, *hyperparameters]
    with _reading(path):
        schema = pq.read_schema(path)
        _check_columns(path, schema, hyperparameters)
        return pq.read_table(path, columns=columns, read_dictionary=list(NAMES))


def read_all(path: Path, hyperparameters: Sequence[str]) -> pa.Table:
    """Return all rows of a shard, names as dictionaries.

    Raises
    ------
    LedgerError
        If the file is not a shard whose settings are of these hyperparameters.
    """
    with _reading(path):
        schema = pq.read_schema(path)
        _check_columns(path, schema, hyperparameters)
        rows = pq.read_table(path, read_dictionary=list(NAMES))
    return rows.replace_schema_metadata(None)


def check_rows(path: Path, hyperparameters: Sequence[str]) -> None:
    """Check all rows of a shard: columns, types, each key once, and values that their metrics can have.

    Metrics that are not known, as those of a plugin that is not loaded, are left out.

    Raises
    ------
    LedgerError
        If the file is not a shard whose settings are of these hyperparameters, or breaks a rule.
    """
    rows = read_all(path, hyperparameters)
    keys = _distinct_metrics(rows)
    known = [name for name, metric in METRICS.items() if metric.key in keys]
    _check_values(path, rows, known)
    if distinct_rows([rows]).num_rows < rows.num_rows:
        raise damaged(path, "a key twice")


def _distinct_metrics(rows: pa.Table) -> set[str]:
    names = pc.unique(rows["metric"].combine_chunks().cast(pa.string()))
    return set(names.to_pylist())


def read_failures(path: Path, hyperparameters: Sequence[str]) -> Iterator[tuple[Index, str, str]]:
    """Yield setting, pair and reason of each registration that failed, of a shard.

    Raises
    ------
    LedgerError
        If the file is not a shard whose settings are of these hyperparameters.
    """
    rows = read_all(path, hyperparameters)
    failed = rows.filter(pc.equal(rows["metric"], FAILURE))
    columns = [failed[name].to_pylist() for name in hyperparameters]
    settings = list(zip(*columns, strict=True)) if columns else [()] * failed.num_rows
    pairs = failed["pair"].to_pylist()
    reasons = failed["label"].to_pylist()
    yield from zip(settings, pairs, reasons, strict=True)


def without_failures(
    rows: pa.Table, hyperparameters: Sequence[str], failed: Collection[tuple[Index, str]]
) -> pa.Table:
    """Return the rows of a shard but for those of registrations that failed.

    Parameters
    ----------
    rows
        As of `read_all`.
    hyperparameters
        Names of the columns that a setting is in.
    failed
        Settings and pairs.
    """
    columns = [rows[name].to_pylist() for name in hyperparameters]
    settings = list(zip(*columns, strict=True)) if columns else [()] * rows.num_rows
    pairs = rows["pair"].to_pylist()
    keys = zip(settings, pairs, strict=True)
    is_kept = [key not in failed for key in keys]
    return rows.filter(pa.array(is_kept, pa.bool_()))


def without_metric(rows: pa.Table, key: str) -> pa.Table:
    """Return the rows of a shard but for those of one metric, by its `name@version`."""
    names = rows["metric"].cast(pa.string())
    return rows.filter(pc.not_equal(names, key))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file in the error where Arrow cannot read it."""
    try:
        yield
    except (FileNotFoundError, LedgerError):
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise damaged(path, one_line(error)) from error


def _check_columns(path: Path, schema: pa.Schema, hyperparameters: Sequence[str]) -> None:
    """Refuse a file that lacks a column of a shard, has one of another type, or further ones."""
    kinds = dict.fromkeys(NAMES, "text")
    kinds.update(dict.fromkeys(hyperparameters, "whole numbers"))
    kinds["value"] = "numbers"
    for name, kind in kinds.items():
        if name not in schema.names:
            raise damaged(path, f"no column {name}")
        found = schema.field(name).type
        if pa.types.is_dictionary(found):
            found = found.value_type
        fits = {
            "text": pa.types.is_string(found),
            "whole numbers": pa.types.is_integer(found),
            "numbers": pa.types.is_floating(found),
        }
        if not fits[kind]:
            raise damaged(path, f"column {name} of {found} instead of {kind}")
    if len(schema.names) != len(kinds):
        found_names = ", ".join(schema.names)
        raise damaged(path, f"columns {found_names}")


def _check_values(path: Path, rows: pa.Table, metrics: Sequence[str]) -> None:
    """Refuse values that a metric cannot have: of a file without a hash, damage is seen by nothing else."""
    keys = rows["metric"].combine_chunks()
    values = rows["value"].to_numpy()
    for name in metrics:
        metric = find_metric(name)
        equal = pc.equal(keys, metric.key)
        is_of_metric = equal.to_numpy(zero_copy_only=False)
        of_metric = values[is_of_metric]
        is_possible = metric.can_be(of_metric)
        wrong = of_metric[~is_possible]
        if len(wrong):
            first = wrong[0]
            raise damaged(path, f"a {name} of {first:g}")


def groups_of(metadata: pq.FileMetaData, axes: Axes, metrics: Sequence[str]) -> list[int]:
    """Return the groups of rows that can hold some on the axes, by the least and greatest value of each column.

    Arrow's own filters (`pyarrow.parquet.read_table(filters=…)`) read the same groups, and then
    filter their rows one by one, which takes 2 to 80 times as long as here, where `Cells.fill`
    finds the place of every row at once.

    For example, asked for the label `cortex` at setting 100, of these groups the first is read:

        group   label                regularization
        0       amygdala … cortex    0 … 200           read
        1       hippocampus … pons   0 … 200           passed over: no label between is asked for
    """
    keys = [find_metric(metric).key for metric in metrics]
    wanted: dict[str, list[Any]] = {
        "metric": sorted(keys),
        "label": sorted(axes.labels),
        "pair": sorted(axes.pairs),
    }
    for place, name in enumerate(axes.space.names):
        indices = {setting[place] for setting in axes.settings}
        wanted[name] = sorted(indices)
    found = []
    group_count = metadata.num_row_groups
    for number in range(group_count):
        row_group = metadata.row_group(number)
        if _can_hold(row_group, wanted):
            found.append(number)
    return found


def _can_hold(group: pq.RowGroupMetaData, wanted: Mapping[str, list[Any]]) -> bool:
    for place in range(group.num_columns):
        column = group.column(place)
        name = column.path_in_schema
        if name not in wanted:
            continue
        if not _reaches(column.statistics, wanted[name]):
            return False
    return True


def _reaches(statistics: pq.Statistics | None, values: list[Any]) -> bool:
    """Return whether a column can hold one of these sorted values, or none at all: a metric per pair has no label."""
    if statistics is None or not statistics.has_min_max:
        return True
    if statistics.null_count:
        return True
    from_least = values[bisect_left(values, statistics.min) :]
    if not from_least:
        return False
    return bool(from_least[0] <= statistics.max)


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
        self.values: dict[str, Values] = {}
        self.known: dict[str, Mask] = {}
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
        stored_values = rows["value"].to_numpy()
        row_values = stored_values.astype(np.float64)
        for number, metric in enumerate(self.values):
            shape = axes.shape(metric)
            used = places[: len(shape)]  # a metric per pair has no place along labels
            is_on_axis = [place >= 0 for place in used]
            is_on_axes = np.all(is_on_axis, axis=0)
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

    def complete(self, metric: str) -> Mask:
        """Return, shape (S, P), where a metric is known for every label.

        One that is only known of registrations that are made anyway counts as known everywhere.
        """
        known = self.known[metric]
        if find_metric(metric).is_by_product:
            return np.ones(known.shape[:2], dtype=bool)
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
        filled = pc.fill_null(found, -1)
        place_of_name = filled.to_numpy(zero_copy_only=False)
        places = _of_rows(place_of_name, chunk.indices)
        parts.append(places)
    return np.concatenate(parts)


def _setting_places(rows: pa.Table, space: Space, settings: Sequence[Index]) -> Places:
    """Return the place of each row's setting among `settings`, -1 where it is not there.

    Settings are compared as one number each, their flat index on the lattice, by a binary search.
    """
    if not space.names:  # an oracle without hyperparameters, as that of unregistered pairs
        return np.zeros(rows.num_rows, dtype=np.int64)
    shape = [known.points for known in space.hyperparameters]
    columns = [rows[name].to_numpy() for name in space.names]
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
