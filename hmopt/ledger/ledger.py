"""All measurements made so far, on disk."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hmopt.catalogue import find_metric
from hmopt.errors import LedgerError
from hmopt.files import read_record, write_json
from hmopt.ledger.leases import Leases
from hmopt.ledger.manifest import (
    Lattice,
    OracleKey,
    Shard,
    ShardHeader,
    check_shard,
    editing,
    lattice_of,
    read_manifest,
)
from hmopt.ledger.measurements import Measurements, without_values
from hmopt.ledger.shard import (
    FAILURE,
    NAMES,
    Axes,
    Cells,
    block_rows,
    distinct_rows,
    read_all,
    read_failures,
    read_keys,
    read_shard,
    without_failures,
    without_metric,
    write_shard,
)
from hmopt.locks import alone, lock_beside
from hmopt.records import Block, Pair
from hmopt.schemas import Record
from hmopt.space import Index, Space

T = TypeVar("T")

READ_ATTEMPTS = 20
CONTEXTS = "contexts.json"
"""By oracle and metric: a hash of what decides its values beside the key of a measurement."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What a ledger lacks at one setting: each of these metrics for each of these pairs."""

    index: Index
    pairs: tuple[Pair, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """How much a ledger has of one metric of one oracle.

    Parameters
    ----------
    metric
        As `name@version`.
    settings, pairs, labels
        How many different ones.
    rows
        How many values; one that was written twice counts twice until shards are compacted.
    """

    metric: str
    settings: int
    pairs: int
    labels: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Holding:
    """How much a ledger has of one oracle.

    Parameters
    ----------
    identity
        The oracle's.
    hyperparameters
        Names of the hyperparameters of its settings.
    shards
        Number of files.
    size
        Their size in bytes.
    metrics
        By name and version.
    failures
        By reason, how many registrations of a pair at a setting failed.
    """

    identity: str
    hyperparameters: tuple[str, ...]
    shards: int
    size: int
    metrics: tuple[Kept, ...]
    failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of a grid of settings and pairs a ledger holds of one oracle.

    Parameters
    ----------
    evaluations
        Pairs at settings of which all metrics were measured.
    settings
        Settings at which some pair was measured.
    partial
        Of these, those at which some pair was not.
    failed
        Pairs at settings that could not be registered.
    """

    evaluations: int
    settings: int
    partial: int
    failed: int


class Ledger:
    """Measurements of any number of oracles, as immutable Parquet shards and a manifest that names the live ones.

    The key of a measurement is: the oracle's identity, the metric and its version, the setting as
    lattice indices, the ordered pair, and the label. Its value is stored as float32. The first
    value written under a key stays; in which order or shard rows are written makes no other
    difference. A NaN is stored as well, so that it is not measured again. Any number of processes
    may read and write at the same time.

    Parameters
    ----------
    folder
        Its folder; made when first written to.

    Examples
    --------
    >>> import tempfile
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> block = Block(index=(70,), pairs=(pair.id,), labels=("thalamus",), values={"dice": np.array([[0.75]])})
    >>> ledger = Ledger(Path(tempfile.mkdtemp()))
    >>> _ = ledger.write("0f", space, [block])
    >>> ledger.missing("0f", space, [(70,)], [pair], ["dice"], ["thalamus"])
    []
    >>> ledger.block("0f", space, (70,), [pair.id], ["dice"], ["thalamus"]).values["dice"]
    array([[0.75]])
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.leases = Leases(self.folder)

    def write(
        self,
        identity: str,
        space: Space,
        blocks: Iterable[Block],
        instead_of: Shard | None = None,
    ) -> Shard | None:
        """Write blocks of an oracle's measurements, as one shard.

        Parameters
        ----------
        identity, space
            Of the oracle.
        blocks
            What was measured.
        instead_of
            A shard with some of these blocks, which is removed.

        Returns
        -------
        Shard or None
            What was written; None where there are no blocks.

        Raises
        ------
        LedgerError
            If a manifest is there that cannot be read.
        """
        written = [block for block in blocks if block.pairs and block.values]
        if not written:
            return None
        settings = {block.index for block in written}
        names: set[str] = set()
        for block in written:
            names.update(block.values)
        metrics = [find_metric(name).key for name in names]
        if any(block.failures for block in written):
            metrics.append(FAILURE)
        lattice = lattice_of(space)
        rows = block_rows(space, written)
        with editing(self.folder) as shards:
            if instead_of is not None:
                # another process may have merged it with others by now
                shards[:] = [one for one in shards if one.file != instead_of.file]
            header = _header(len(shards), identity, lattice, metrics, settings)
            shard = write_shard(self.folder, header, rows)
            shards.append(shard)
        return shard

    def settings(self, identity: str, space: Space) -> list[Index]:
        """Return every setting at which something of an oracle was measured, sorted."""
        oracle = (identity, lattice_of(space))
        shards = read_manifest(self.folder)
        found: set[Index] = set()
        for shard in shards:
            if shard.oracle == oracle:
                found |= shard.settings
        return sorted(found)

    def missing(
        self,
        identity: str,
        space: Space,
        settings: Sequence[Index],
        pairs: Sequence[Pair],
        metrics: Sequence[str],
        labels: Sequence[str],
    ) -> list[Gap]:
        """Return what of an oracle is still to be measured, setting by setting."""
        ids = tuple(pair.id for pair in pairs)
        axes = Axes(space=space, settings=tuple(settings), pairs=ids, labels=tuple(labels))
        cells = self.read(identity, axes, metrics)
        return find_gaps(cells, pairs)

    def block(
        self,
        identity: str,
        space: Space,
        index: Index,
        pairs: Sequence[str],
        metrics: Sequence[str],
        labels: Sequence[str],
    ) -> Block:
        """Return the measurements at one setting, pairs by their ids.

        Values that were not measured are NaN.
        """
        axes = Axes(space=space, settings=(index,), pairs=tuple(pairs), labels=tuple(labels))
        cells = self.read(identity, axes, metrics)
        return block_of(cells, place=0)

    def measurements(
        self,
        identity: str,
        space: Space,
        pairs: pd.DataFrame,
        metrics: Sequence[str],
        labels: Sequence[str],
    ) -> Measurements:
        """Return the measurements at every setting where all pairs were measured by all metrics.

        Parameters
        ----------
        identity, space
            The oracle's.
        pairs
            Columns as of `Measurements.pairs`.
        metrics, labels
            Names.

        Raises
        ------
        LedgerError
            If there is no such setting.
        """
        ids = tuple(pairs["pair"])
        settings = tuple(self.settings(identity, space))
        axes = Axes(space=space, settings=settings, pairs=ids, labels=tuple(labels))
        cells = self.read(identity, axes, metrics)
        by_metric = [cells.complete(metric).all(axis=1) for metric in metrics]
        is_complete = np.all(by_metric, axis=0)  # (settings,)
        if not is_complete.any():
            what = f"measurements of all {len(ids)} pairs by {', '.join(metrics)}"
            raise LedgerError(
                str(self.folder),
                expected=f"{what} with model {identity}",
                got=f"{len(settings)} settings, none measured for all of them",
                advice="Run `hmopt search`.",
            )
        return Measurements(
            identity=identity,
            space=space,
            settings=tuple(itertools.compress(settings, is_complete)),
            pairs=pairs.reset_index(drop=True),
            labels=tuple(labels),
            values={metric: array[is_complete] for metric, array in cells.values.items()},
        )

    def coverage(
        self,
        identity: str,
        space: Space,
        pairs: Sequence[str],
        metrics: Sequence[str],
        labels: Sequence[str],
    ) -> Coverage:
        """Return how many of some pairs were measured, at how many settings.

        Parameters
        ----------
        identity, space
            The oracle's.
        pairs
            Ids.
        metrics, labels
            Names.
        """
        settings = tuple(self.settings(identity, space))
        axes = Axes(space=space, settings=settings, pairs=tuple(pairs), labels=tuple(labels))
        cells = self.read(identity, axes, metrics)
        by_metric = [cells.complete(metric) for metric in metrics]
        known = np.all(by_metric, axis=0)  # (settings, pairs)
        failed = known & without_values(cells.values)
        some = known.any(axis=1)
        lacking = ~known.all(axis=1)
        return Coverage(
            evaluations=int(known.sum()),
            settings=int(some.sum()),
            partial=int((some & lacking).sum()),
            failed=int(failed.sum()),
        )

    def read(self, identity: str, axes: Axes, metrics: Sequence[str]) -> Cells:
        """Return what is known of an oracle along some axes, from one reading of the shards."""

        def read() -> Cells:
            return self._read_once(identity, axes, metrics)

        return self._undisturbed(read)

    def failures(self, identity: str, space: Space) -> dict[Index, dict[str, str]]:
        """Return by setting and pair why registrations of an oracle failed.

        Raises
        ------
        LedgerError
            If a shard was damaged.
        """
        return self._undisturbed(lambda: self._failures_once(identity, space))

    def forget_failures(self, identity: str, space: Space) -> int:
        """Remove what is kept of registrations that failed, so that they are made again.

        Returns
        -------
        int
            How many there were.
        """
        failures = self.failures(identity, space)
        failed: set[tuple[Index, str]] = set()
        for setting, reasons in failures.items():
            failed.update((setting, pair) for pair in reasons)
        if not failed:
            return 0
        oracle = (identity, lattice_of(space))
        with editing(self.folder) as shards:
            kept = []
            for place, shard in enumerate(shards):
                if shard.oracle == oracle:
                    kept += self._without(shard, place, space, failed)
                else:
                    kept.append(shard)
            shards[:] = kept
        return len(failed)

    def agree(self, identity: str, space: Space, contexts: Mapping[str, str]) -> None:
        """Remove measurements of metrics whose values were decided by something else than they are now.

        What a metric depends on beside its key, as the third subject of a cycle, is kept in `contexts.json`. Values of
        which nothing is kept there are taken to be of now: an earlier version wrote them.

        Parameters
        ----------
        identity, space
            The oracle's.
        contexts
            By metric: a hash of what decides its values.
        """
        path = self.folder / CONTEXTS
        now = {find_metric(name).key: context for name, context in contexts.items()}
        if _are_kept(now, identity, _read_contexts(path)):
            return
        oracle = (identity, lattice_of(space))
        # other processes add theirs to the same file
        with alone(lock_beside(path), "writes to this ledger"):
            kept = _read_contexts(path)
            of_oracle = dict(kept.get(identity, {}))
            changed = [
                key for key, context in now.items() if of_oracle.get(key, context) != context
            ]
            if changed:
                with editing(self.folder) as shards:
                    for key in changed:
                        shards[:] = self._without_metric(shards, oracle, space, key)
            # afterwards: what is interrupted before is removed by the next call
            write_json(path, {"oracles": {**kept, identity: {**of_oracle, **now}}})

    def _without_metric(
        self, shards: Sequence[Shard], oracle: OracleKey, space: Space, key: str
    ) -> list[Shard]:
        """Return the shards without the rows of a metric of one oracle."""
        kept = []
        for place, shard in enumerate(shards):
            if shard.oracle != oracle or key not in shard.metrics:
                kept.append(shard)
                continue
            rows = read_all(check_shard(self.folder, shard), space.names)
            kept += self._rewritten(shard, place, rows, without_metric(rows, key))
        return kept

    def _without(
        self, shard: Shard, place: int, space: Space, failed: set[tuple[Index, str]]
    ) -> list[Shard]:
        """Return a shard without the rows of failed registrations; none where no row is left."""
        path = check_shard(self.folder, shard)
        rows = read_all(path, space.names)
        return self._rewritten(shard, place, rows, without_failures(rows, space.names, failed))

    def _rewritten(self, shard: Shard, place: int, rows: pa.Table, kept: pa.Table) -> list[Shard]:
        """Return a shard with some of its rows; none where no row is left."""
        if kept.num_rows == rows.num_rows:
            return [shard]
        if not kept.num_rows:
            return []
        metrics = set(_distinct(kept["metric"]))
        header = _header(place, *shard.oracle, metrics, _settings(kept.drop_columns(["value"])))
        return [write_shard(self.folder, header, distinct_rows([kept]))]

    def _failures_once(self, identity: str, space: Space) -> dict[Index, dict[str, str]]:
        oracle = (identity, lattice_of(space))
        found: dict[Index, dict[str, str]] = {}
        for shard in read_manifest(self.folder):
            if shard.oracle != oracle or FAILURE not in shard.metrics:
                continue
            path = check_shard(self.folder, shard)
            for setting, pair, reason in read_failures(path, space.names):
                found.setdefault(setting, {}).setdefault(pair, reason)
        return found

    def holdings(self) -> list[Holding]:
        """Return how much there is of each oracle, in the order in which oracles were first written."""
        return self._undisturbed(self._holdings_once)

    def compact(self) -> None:
        """Merge the shards of each oracle into one.

        Of rows that were written twice the first stays.
        """
        with editing(self.folder) as shards:
            merged = []
            groups = _by_oracle(shards)
            for group in groups.values():
                place = shards.index(group[0])
                merged.append(self._merged(group, place))
            shards[:] = merged

    def _merged(self, shards: list[Shard], place: int) -> Shard:
        first = shards[0]
        if len(shards) == 1:
            check_shard(self.folder, first)
            return first
        hyperparameters = [name for name, *_ in first.lattice]
        tables: list[pa.Table] = []
        metrics: set[str] = set()
        settings: set[Index] = set()
        for shard in shards:
            path = check_shard(self.folder, shard)
            tables.append(read_all(path, hyperparameters))
            metrics |= shard.metrics
            settings |= shard.settings
        header = _header(place, first.identity, first.lattice, metrics, settings)
        rows = distinct_rows(tables)
        return write_shard(self.folder, header, rows)

    def _undisturbed(self, read: Callable[[], T]) -> T:
        """Read again where another process compacted shards after the manifest was read."""
        for _ in range(READ_ATTEMPTS):
            try:
                return read()
            except FileNotFoundError as error:
                gone = error
        raise LedgerError(
            str(self.folder),
            expected="every shard of the manifest",
            got=f"no file {gone.filename or gone}",
            advice="Restore it from a copy, or move manifest.json away: `hmopt search` then measures again.",
        )

    def _read_once(self, identity: str, axes: Axes, metrics: Sequence[str]) -> Cells:
        cells = Cells(axes, metrics)
        oracle = (identity, lattice_of(axes.space))
        keys = {find_metric(metric).key for metric in metrics}
        settings = set(axes.settings)
        # the newest first, so that of two values under one key the first written one is filled in last
        for shard in reversed(read_manifest(self.folder)):
            has_metric = shard.metrics & keys
            has_setting = shard.settings & settings
            if shard.oracle != oracle or not has_metric or not has_setting:
                continue
            path = check_shard(self.folder, shard)
            rows = read_shard(path, axes, metrics)
            cells.fill(path, rows)
        return cells

    def _holdings_once(self) -> list[Holding]:
        shards = read_manifest(self.folder)
        groups = _by_oracle(shards).values()
        return [self._holding(group) for group in groups]

    def _holding(self, shards: list[Shard]) -> Holding:
        hyperparameters = tuple(name for name, *_ in shards[0].lattice)
        settings: dict[str, set[Index]] = {}
        names: dict[tuple[str, str], set[str]] = {}
        rows: Counter[str] = Counter()
        reasons: dict[tuple[Index, str], str] = {}
        for shard in shards:
            path = check_shard(self.folder, shard)
            keys = read_keys(path, hyperparameters)
            if FAILURE in shard.metrics:
                for setting, pair, reason in read_failures(path, hyperparameters):
                    reasons.setdefault((setting, pair), reason)
            for metric in shard.metrics - {FAILURE}:
                is_of_metric = pc.equal(keys["metric"], metric)
                of_metric = keys.filter(is_of_metric)
                rows[metric] += of_metric.num_rows
                known_settings = settings.setdefault(metric, set())
                known_settings |= _settings(of_metric)
                for name in NAMES:
                    known_names = names.setdefault((metric, name), set())
                    known_names |= _distinct(of_metric[name])
        metrics = [
            Kept(
                metric=metric,
                settings=len(settings[metric]),
                pairs=len(names[metric, "pair"]),
                labels=len(names[metric, "label"]),
                rows=rows[metric],
            )
            for metric in sorted(settings)
        ]
        paths = [self.folder / shard.file for shard in shards]
        return Holding(
            identity=shards[0].identity,
            hyperparameters=hyperparameters,
            shards=len(shards),
            size=sum(path.stat().st_size for path in paths),
            metrics=tuple(metrics),
            failures=dict(Counter(reasons.values()).most_common()),
        )


def find_gaps(cells: Cells, pairs: Sequence[Pair]) -> list[Gap]:
    """Return what is still to be measured for cells to be complete, setting by setting.

    Parameters
    ----------
    cells
        What a ledger holds of some settings, pairs and metrics.
    pairs
        The pairs along the second axis of the cells.
    """
    metrics = tuple(cells.values)
    known = np.stack([cells.complete(metric) for metric in metrics])
    unknown = ~known  # (metrics, settings, pairs)
    gaps = []
    for place, index in enumerate(cells.axes.settings):
        of_setting = unknown[:, place]  # (metrics, pairs)
        if not of_setting.any():
            continue
        pair_places = np.flatnonzero(of_setting.any(axis=0))
        is_lacking = np.atleast_1d(of_setting.any(axis=1))
        lacking = [
            metric
            for metric, is_unknown in zip(metrics, is_lacking, strict=True)
            if is_unknown or find_metric(metric).is_by_product
        ]
        gap = Gap(
            index=index,
            pairs=tuple(pairs[place] for place in pair_places),
            metrics=tuple(lacking),
        )
        gaps.append(gap)
    return gaps


def block_of(cells: Cells, place: int) -> Block:
    """Return the values at one setting of cells, by its place.

    Values that were not measured are NaN.
    """
    axes = cells.axes
    return Block(
        index=axes.settings[place],
        pairs=axes.pairs,
        labels=axes.labels,
        values={metric: values[place] for metric, values in cells.values.items()},
    )


def _by_oracle(shards: Iterable[Shard]) -> dict[OracleKey, list[Shard]]:
    groups: dict[OracleKey, list[Shard]] = {}
    for shard in shards:
        group = groups.setdefault(shard.oracle, [])
        group.append(shard)
    return groups


def _header(
    place: int, identity: str, lattice: Lattice, metrics: Iterable[str], settings: Iterable[Index]
) -> ShardHeader:
    return ShardHeader(
        place=place,
        identity=identity,
        lattice=lattice,
        metrics=sorted(metrics),
        settings=sorted(settings),
    )


def _settings(keys: pa.Table) -> set[Index]:
    """Return the different settings of a shard's rows."""
    names = keys.column_names
    hyperparameters = [name for name in names if name not in NAMES]
    if not hyperparameters:  # an oracle without hyperparameters, as that of unregistered pairs
        return {()}
    settings = keys.select(hyperparameters)
    groups = settings.group_by(hyperparameters)
    distinct = groups.aggregate([])
    columns = [distinct[name].to_pylist() for name in hyperparameters]
    return set(zip(*columns, strict=True))


def _read_contexts(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Return by oracle and `name@version` what is kept of metrics; nothing where no file is there."""
    try:
        return read_record(
            path,
            _Contexts,
            error=LedgerError,
            what="the contexts of a ledger's metrics",
            advice="Restore it from a copy, or remove it and the measurements around three subjects.",
        ).oracles
    except FileNotFoundError:
        return {}


def _are_kept(
    contexts: Mapping[str, str], identity: str, kept: Mapping[str, Mapping[str, str]]
) -> bool:
    """Return whether these contexts are those that are kept of an oracle."""
    of_oracle = kept.get(identity, {})
    return all(of_oracle.get(key) == context for key, context in contexts.items())


class _Contexts(Record):
    oracles: dict[str, dict[str, str]]


def _distinct(column: pa.ChunkedArray) -> set[str]:
    """Return the different names of a column.

    The dictionary of a column can hold further names that no row has.
    """
    found: set[str] = set()
    for chunk in column.chunks:
        indices = pc.drop_null(chunk.indices)
        used = pc.unique(indices)
        names = chunk.dictionary.take(used)
        found.update(names.to_pylist())
    return found
