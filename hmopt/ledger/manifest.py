"""Which shards of a ledger are live: one small file, swapped whole."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from hmopt.errors import LedgerError
from hmopt.files import replacing
from hmopt.space import Index, Space

FILE_NAME = "manifest.json"
FORMAT = 1

Lattice = tuple[tuple[str, float, float, float, str], ...]
"""What gives lattice indices their meaning: name, low, high, step and prior of every hyperparameter."""


def lattice_of(space: Space) -> Lattice:
    """Give what lattice indices of a space mean, apart from how it is sampled in training."""
    return tuple((h.name, float(h.low), float(h.high), float(h.step), h.prior) for h in space.hyperparameters)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One live shard: enough to know without opening it whether it can hold what is asked for.

    Parameters
    ----------
    file
        Its name in the folder.
    identity
        The oracle that its values are of.
    lattice
        What its lattice indices mean.
    metrics
        Metrics in it, as `name@version`.
    settings
        Settings in it.
    """

    file: str
    identity: str
    lattice: Lattice
    metrics: frozenset[str]
    settings: frozenset[Index]


def read_manifest(folder: Path) -> list[Shard]:
    """Give the live shards, in the order in which they were written; none where there is no ledger yet.

    Raises
    ------
    LedgerError
        If the file is no manifest that this version can read.
    """
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise LedgerError(str(path), expected="JSON", got=str(error), advice="Restore it from a copy.") from error
    if content.get("format") != FORMAT:
        raise LedgerError(
            str(path), expected=f"format {FORMAT}", got=content.get("format"), advice="Use the hmopt that wrote it."
        )
    return [_from_json(entry) for entry in content["shards"]]


@contextmanager
def editing(folder: Path) -> Iterator[list[Shard]]:
    """Give the list of live shards to change, while no other writer can; it is swapped in when the block ends well.

    Files that are not live are removed after the swap, those of a writer that was killed too; a reader that still
    wants one reads the manifest again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        shards = read_manifest(folder)
        yield shards
        content = {"format": FORMAT, "shards": [_to_json(shard) for shard in shards]}
        with replacing(folder / FILE_NAME) as beside:
            beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        live = {shard.file for shard in shards}
        for path in folder.glob("*.parquet"):
            if path.name not in live:
                path.unlink(missing_ok=True)


def _to_json(shard: Shard) -> dict[str, object]:
    return {**asdict(shard), "metrics": sorted(shard.metrics), "settings": sorted(shard.settings)}


def _from_json(entry: dict[str, list[list[float]]]) -> Shard:
    return Shard(
        file=str(entry["file"]),
        identity=str(entry["identity"]),
        lattice=tuple((str(n), float(low), float(high), float(s), str(p)) for n, low, high, s, p in entry["lattice"]),
        metrics=frozenset(str(metric) for metric in entry["metrics"]),
        settings=frozenset(tuple(int(i) for i in setting) for setting in entry["settings"]),
    )
