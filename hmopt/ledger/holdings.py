"""What is in a ledger, told from the keys in its shards: values are not read."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hmopt.ledger.manifest import Shard, check_shard
from hmopt.ledger.shard import NAMES, read_keys
from hmopt.space import Index


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a ledger keeps of one metric of one oracle.

    Parameters
    ----------
    metric
        As `name@version`.
    settings, pairs, labels
        How many there are.
    rows
        How many values; one that was written twice counts twice until shards are brought together.
    """

    metric: str
    settings: int
    pairs: int
    labels: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a ledger keeps of one oracle.

    Parameters
    ----------
    identity
        The oracle's.
    hyperparameters
        Names of those that its settings are of.
    shards
        How many files.
    size
        Of these files, in bytes.
    metrics
        By name and version.
    """

    identity: str
    hyperparameters: tuple[str, ...]
    shards: int
    size: int
    metrics: tuple[Kept, ...]


def find_holdings(folder: Path, shards: Iterable[Shard]) -> list[Holding]:
    """Give what the live shards of a ledger hold, oracle by oracle; values are not read.

    Raises
    ------
    FileNotFoundError
        If a shard is gone.
    LedgerError
        If a shard was damaged or replaced.
    """
    groups: dict[object, list[Shard]] = {}
    for shard in shards:
        groups.setdefault((shard.identity, shard.lattice), []).append(shard)
    return [_holding(folder, group) for group in groups.values()]


def _holding(folder: Path, shards: Sequence[Shard]) -> Holding:
    metrics = sorted({metric for shard in shards for metric in shard.metrics})
    settings: dict[str, set[Index]] = {metric: set() for metric in metrics}
    names: dict[tuple[str, str], set[str]] = {
        (metric, kind): set() for metric in metrics for kind in NAMES
    }
    rows: Counter[str] = Counter()
    hyperparameters = tuple(name for name, *_ in shards[0].lattice)
    for shard in shards:
        table = read_keys(check_shard(folder, shard), hyperparameters)
        for metric in shard.metrics:
            part = table.filter(pc.equal(table["metric"], metric))
            rows[metric] += part.num_rows
            settings[metric] |= _settings(part)
            for kind in NAMES:
                names[metric, kind] |= _distinct(part[kind])
    return Holding(
        identity=shards[0].identity,
        hyperparameters=hyperparameters,
        shards=len(shards),
        size=sum((folder / shard.file).stat().st_size for shard in shards),
        metrics=tuple(
            Kept(
                metric=metric,
                settings=len(settings[metric]),
                pairs=len(names[metric, "pair"]),
                labels=len(names[metric, "label"]),
                rows=rows[metric],
            )
            for metric in metrics
        ),
    )


def _settings(rows: pa.Table) -> set[Index]:
    names = [name for name in rows.column_names if name not in NAMES]
    if not names:  # an oracle that takes no setting, as that of unregistered pairs
        return {()}
    distinct = rows.select(names).group_by(names).aggregate([])
    return set(zip(*(distinct[name].to_pylist() for name in names), strict=True))


def _distinct(column: pa.ChunkedArray) -> set[str]:
    found: set[str] = set()
    for chunk in column.chunks:
        used = np.unique(pc.drop_null(chunk.indices).to_numpy())
        found.update(chunk.dictionary.take(pa.array(used)).to_pylist())
    return found
