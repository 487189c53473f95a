"""All measurements made so far, on disk."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.catalogue import find_metric
from hmopt.errors import LedgerError
from hmopt.ledger.cells import Axes, Cells
from hmopt.ledger.holdings import Holding, find_holdings
from hmopt.ledger.manifest import (
    Lattice,
    Shard,
    ShardHeader,
    check_shard,
    editing,
    lattice_of,
    read_manifest,
)
from hmopt.ledger.measurements import Measurements
from hmopt.ledger.shard import block_rows, distinct_rows, read_all, read_shard, write_shard
from hmopt.records import Block, Pair
from hmopt.space import Index, Space

T = TypeVar("T")

READ_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What a ledger lacks at one setting: each of these metrics for each of these pairs."""

    index: Index
    pairs: tuple[Pair, ...]
    metrics: tuple[str, ...]


class Ledger:
    """Measurements of any number of oracles, as immutable Parquet shards and a manifest that names the live ones.

    A measurement is kept under the oracle's identity, the metric and its version, the setting as lattice indices, the
    ordered pair and the label, as float32; which rows came in one shard never matters. The first value written under
    a key stays. A NaN is kept as well, so that it is not asked for again. Any number of processes may read and write
    at once.

    Parameters
    ----------
    folder
        Where it is; made when first written to.

    Examples
    --------
    >>> import tempfile
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> block = Block(index=(70,), pairs=(pair.id,), labels=("thalamus",), values={"dice": np.array([[0.75]])})
    >>> ledger = Ledger(Path(tempfile.mkdtemp()))
    >>> ledger.write("0f", space, [block])
    >>> ledger.missing("0f", space, [(70,)], [pair], ["dice"], ["thalamus"])
    []
    >>> ledger.block("0f", space, (70,), [pair.id], ["dice"], ["thalamus"]).values["dice"]
    array([[0.75]])
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def write(self, identity: str, space: Space, blocks: Iterable[Block]) -> None:
        """Keep blocks of an oracle's measurements, in one shard.

        Raises
        ------
        LedgerError
            If a manifest is there that cannot be read.
        """
        kept = [block for block in blocks if block.pairs and block.values]
        if not kept:
            return
        metrics = {find_metric(metric).key for block in kept for metric in block.values}
        settings = {block.index for block in kept}
        rows = block_rows(space, kept)
        with editing(self.folder) as shards:
            header = _header(len(shards), identity, lattice_of(space), metrics, settings)
            shard = write_shard(self.folder, header, rows)
            shards.append(shard)

    def settings(self, identity: str, space: Space) -> list[Index]:
        """Give every setting at which something of an oracle was measured, sorted."""
        live = [shard for shard in read_manifest(self.folder) if _is_of(shard, identity, space)]
        return sorted({setting for shard in live for setting in shard.settings})

    def missing(
        self,
        identity: str,
        space: Space,
        settings: Sequence[Index],
        pairs: Sequence[Pair],
        metrics: Sequence[str],
        labels: Sequence[str],
    ) -> list[Gap]:
        """Give what of an oracle is still to be measured, setting by setting."""
        ids = tuple(pair.id for pair in pairs)
        axes = Axes(space=space, settings=tuple(settings), pairs=ids, labels=tuple(labels))
        cells = self._read(identity, axes, metrics)
        unknown = np.stack([~cells.complete(metric) for metric in metrics])
        gaps = [
            _gap(index, unknown[:, place], pairs, metrics) for place, index in enumerate(settings)
        ]
        return [gap for gap in gaps if gap.pairs]

    def block(
        self,
        identity: str,
        space: Space,
        index: Index,
        pairs: Sequence[str],
        metrics: Sequence[str],
        labels: Sequence[str],
    ) -> Block:
        """Give the measurements at one setting, pairs by their ids; NaN also where nothing was measured."""
        axes = Axes(space=space, settings=(index,), pairs=tuple(pairs), labels=tuple(labels))
        values = self._read(identity, axes, metrics).values
        return Block(
            index=index,
            pairs=axes.pairs,
            labels=axes.labels,
            values={m: v[0] for m, v in values.items()},
        )

    def measurements(
        self,
        identity: str,
        space: Space,
        pairs: pd.DataFrame,
        metrics: Sequence[str],
        labels: Sequence[str],
    ) -> Measurements:
        """Give the measurements at every setting where all pairs were measured by all metrics.

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
        cells = self._read(identity, axes, metrics)
        whole = np.all([cells.complete(metric).all(axis=1) for metric in metrics], axis=0)
        if not whole.any():
            raise LedgerError(
                str(self.folder),
                expected=f"measurements of all {len(ids)} pairs by {', '.join(metrics)} with model {identity}",
                got=f"{len(settings)} settings, none measured for all of them",
                advice="Run `hmopt search`.",
            )
        return Measurements(
            identity=identity,
            space=space,
            settings=tuple(settings[place] for place in np.flatnonzero(whole)),
            pairs=pairs.reset_index(drop=True),
            labels=tuple(labels),
            values={metric: array[whole] for metric, array in cells.values.items()},
        )

    def compact(self) -> None:
        """Bring the shards of each oracle together into one; of rows that were written twice the first stays."""
        with editing(self.folder) as shards:
            groups: dict[object, list[Shard]] = {}
            places: dict[object, int] = {}
            for place, shard in enumerate(shards):
                oracle = (shard.identity, shard.lattice)
                groups.setdefault(oracle, []).append(shard)
                places.setdefault(oracle, place)
            shards[:] = [self._merged(group, places[oracle]) for oracle, group in groups.items()]

    def _merged(self, shards: list[Shard], place: int) -> Shard:
        first = shards[0]
        if len(shards) == 1:
            check_shard(self.folder, first)
            return first
        names = [name for name, *_ in first.lattice]
        tables = [read_all(check_shard(self.folder, shard), names) for shard in shards]
        metrics = set().union(*(shard.metrics for shard in shards))
        settings = set().union(*(shard.settings for shard in shards))
        header = _header(place, first.identity, first.lattice, metrics, settings)
        return write_shard(self.folder, header, distinct_rows(tables))

    def holdings(self) -> list[Holding]:
        """Give what there is of each oracle, in the order in which oracles were first written; no value is read."""
        return self._undisturbed(lambda: find_holdings(self.folder, read_manifest(self.folder)))

    def _read(self, identity: str, axes: Axes, metrics: Sequence[str]) -> Cells:
        return self._undisturbed(lambda: self._read_once(identity, axes, metrics))

    def _undisturbed(self, read: Callable[[], T]) -> T:
        for _ in range(READ_ATTEMPTS):
            try:
                return read()
            except (
                FileNotFoundError
            ) as error:  # another process brought shards together after the manifest was read
                gone = error
        raise LedgerError(
            str(self.folder),
            expected="every shard of the manifest",
            got=str(gone),
            advice="Restore it from a copy.",
        )

    def _read_once(self, identity: str, axes: Axes, metrics: Sequence[str]) -> Cells:
        cells = Cells(axes, metrics)
        keys, settings = {find_metric(metric).key for metric in metrics}, set(axes.settings)
        for shard in reversed(
            read_manifest(self.folder)
        ):  # what was written first is filled in last, and stays
            if (
                _is_of(shard, identity, axes.space)
                and shard.metrics & keys
                and shard.settings & settings
            ):
                path = check_shard(self.folder, shard)
                cells.fill(path, read_shard(path, axes, metrics))
        return cells


def _is_of(shard: Shard, identity: str, space: Space) -> bool:
    return shard.identity == identity and shard.lattice == lattice_of(space)


def _gap(
    index: Index, unknown: NDArray[np.bool_], pairs: Sequence[Pair], metrics: Sequence[str]
) -> Gap:
    return Gap(
        index=index,
        pairs=tuple(pairs[place] for place in np.flatnonzero(unknown.any(axis=0))),
        metrics=tuple(metrics[place] for place in np.flatnonzero(unknown.any(axis=1))),
    )


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
