"""The manifest of a ledger: one small file that names the live shards, and is replaced as a whole.

A reader takes the list of shards from it, and opens only those that can hold what it looks for. A
writer adds its shard first and the manifest afterwards, so that an interrupted writer leaves a
shard that no manifest names. Each shard says in its footer what it holds; so it is found again at
the next writing, and a lost manifest can be made again.
"""

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from hmopt.errors import LedgerError
from hmopt.files import checked, read_json, write_json
from hmopt.ledger.seal import damaged, file_digest, is_sealed, read_metadata
from hmopt.locks import alone
from hmopt.schemas import Record
from hmopt.space import Hyperparameter, Index, Prior, Space

FILE_NAME = "manifest.json"
FORMAT = 1
HEADER = b"hmopt"
"""Key of a shard's footer under which it says what it holds."""

Entry = tuple[str, float, float, float, Prior] | tuple[str, str]
"""Of a float hyperparameter name, low, high, step and prior; of any other name and `Hyperparameter.meaning`."""
Lattice = tuple[Entry, ...]
"""Meaning of lattice indices: an entry of every hyperparameter."""
OracleKey = tuple[str, Lattice]
"""Identity of an oracle, and the meaning of its lattice indices."""

_UNFINISHED = re.compile(r"\.\d+-[0-9a-z]+\.parquet")
"""Names of files of interrupted writers of earlier versions."""
_EXPECTED = "the manifest of a ledger"
_ADVICE = "Restore it from a copy, or move it away: it is then made again from the shards."


def lattice_of(space: Space) -> Lattice:
    """Return the meaning of lattice indices of a space.

    How it is sampled in training is no part of it.
    """
    entries: list[Entry] = []
    for known in space.hyperparameters:
        if known.type != "float" or known.only_if:
            entries.append((known.name, known.meaning))
            continue
        low = float(known.low)
        high = float(known.high)
        step = float(known.step)
        entries.append((known.name, low, high, step, known.prior))
    return tuple(entries)


def _hyperparameter(entry: Entry) -> Hyperparameter:
    """Return a hyperparameter with the lattice that an entry describes."""
    if len(entry) == 2:
        name, meaning = entry
        values = json.loads(meaning)
        if "low" in values:
            values["default"] = values["low"]
        return Hyperparameter(name=name, **values)
    name, low, high, step, prior = entry
    return Hyperparameter(name=name, low=low, high=high, step=step, prior=prior, default=low)


class _Strict(Record):
    model_config = ConfigDict(extra="forbid")


class Shard(_Strict):
    """One live shard: enough to know without opening it whether it can hold what is asked for."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\.parquet$")]
    """Its name in the folder."""
    identity: Annotated[str, Field(min_length=1)]
    """The oracle that its values are of."""
    lattice: Lattice
    """Meaning of its lattice indices."""
    metrics: frozenset[Annotated[str, Field(pattern=r"^[a-z0-9_]+@\d+$")]]
    """Metrics in it, as `name@version`."""
    settings: frozenset[tuple[Annotated[int, Field(ge=0, strict=True)], ...]]
    """Settings in it."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Hash of the file; None where an earlier version wrote it and nothing was written since."""

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        points = []
        for entry in self.lattice:
            # a hyperparameter checks itself
            known = _hyperparameter(entry)
            points.append(known.points)
        for setting in self.settings:
            places = zip(setting, points, strict=False)
            is_inside = all(place < count for place, count in places)
            if len(setting) != len(points) or not is_inside:
                raise ValueError(f"setting {list(setting)} is not on a lattice of {points} points")
        return self

    @property
    def oracle(self) -> OracleKey:
        """What shards of the same oracle have in common."""
        return self.identity, self.lattice


class _Manifest(Record):
    model_config = ConfigDict(extra="ignore")

    format: int
    shards: list[Shard]


class ShardHeader(_Strict):
    """What the footer of a shard says about it: all that a manifest holds, and its place among the shards."""

    format: int = FORMAT
    place: Annotated[int, Field(ge=0)]
    """Rises from one written shard to the next: of two values under one key the first one counts."""
    identity: str
    lattice: Lattice
    metrics: list[str]
    settings: list[Index]


class _NewerError(LedgerError):
    """The manifest was written by a later version."""


def read_manifest(folder: Path) -> list[Shard]:
    """Return the live shards, in the order in which they were written.

    There are none where there is no ledger yet.

    A manifest that is lost or damaged is made again from the footers of the shards.

    Raises
    ------
    LedgerError
        If the file is no manifest that this version can read, and some shard of an earlier version
        does not say what it holds.

    Warns
    -----
    UserWarning
        If the manifest was damaged.
    """
    try:
        return _read(folder / FILE_NAME)
    except FileNotFoundError:
        return _described_shards(shard_files(folder))
    except LedgerError as error:
        if isinstance(error, _NewerError):
            raise
        files = shard_files(folder)
        are_sealed = [is_sealed(read_metadata(path)) for path in files]
        if not files or not all(are_sealed):
            raise
        shards = _described_shards(files)
        warnings.warn(
            f"{error} The {len(shards)} shards themselves are read instead.", stacklevel=2
        )
        return shards


def _read(path: Path) -> list[Shard]:
    content = read_json(path, error=LedgerError, what=_EXPECTED, advice=_ADVICE)
    found = content.get("format")
    if isinstance(found, int) and found > FORMAT:
        expected = f"format {FORMAT}"
        advice = "Use the version of hmopt that wrote it, or a later one."
        raise _NewerError(str(path), expected=expected, got=found, advice=advice)
    manifest = checked(
        content, _Manifest, field=str(path), error=LedgerError, what=_EXPECTED, advice=_ADVICE
    )
    return manifest.shards


def shard_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder by name, except those that are still being written."""
    paths = folder.glob("*.parquet")
    finished = [path for path in paths if not path.name.startswith(".")]
    return sorted(finished)


def _described_shards(paths: Iterable[Path]) -> list[Shard]:
    """Return the shards that say in their footers what they hold, in the order in which they were written.

    Files that say nothing are named in a warning. Of two files with the same content the first by
    name is taken.
    """
    described: list[tuple[int, Shard]] = []
    known: set[str] = set()
    for path in paths:
        metadata = read_metadata(path)
        if not is_sealed(metadata):
            _leave_alone(f"{path}: does not say what it holds")
            continue
        digest = file_digest(path)
        if digest in known:
            _leave_alone(f"{path}: a copy of another shard")
            continue
        known.add(digest)
        described.append(_shard(path, metadata, digest))
    return _by_place(described)


def _leave_alone(reason: str) -> None:
    warnings.warn(f"{reason}; it is ignored.", stacklevel=5)


def _by_place(described: Iterable[tuple[int, Shard]]) -> list[Shard]:
    ordered = sorted(described, key=itemgetter(0))
    return [shard for _place, shard in ordered]


def _shard(path: Path, metadata: dict[bytes, bytes], digest: str) -> tuple[int, Shard]:
    """Return the place of a shard among the shards, and the shard, as its footer says."""
    try:
        header = ShardHeader.model_validate_json(metadata.get(HEADER, b""))
        shard = Shard(
            file=path.name,
            identity=header.identity,
            lattice=header.lattice,
            metrics=frozenset(header.metrics),
            settings=frozenset(header.settings),
            sha256=digest,
        )
    except ValidationError as error:
        raise damaged(path, "a footer that this version cannot read") from error
    return header.place, shard


@contextmanager
def editing(folder: Path) -> Iterator[list[Shard]]:
    """Yield the list of live shards to change, while no other writer can.

    The changed list is written when the block ends.

    Shards that the block takes off the list are removed after the manifest is replaced; a reader
    that still wants one reads the manifest again. Shards of interrupted writers, which no manifest
    names, are added to the list first; other files are left alone.
    """
    with alone(folder / ".lock", "writes to this ledger"):
        shards = read_manifest(folder)
        _add_unlisted(folder, shards)
        before = {shard.file for shard in shards}
        yield shards
        shards[:] = [_with_hash(folder, shard) for shard in shards]
        entries = [_to_json(shard) for shard in shards]
        write_json(folder / FILE_NAME, {"format": FORMAT, "shards": entries})
        after = {shard.file for shard in shards}
        for name in before - after:
            (folder / name).unlink(missing_ok=True)
        for path in folder.glob(".*.parquet"):
            if _UNFINISHED.fullmatch(path.name):  # nobody else writes while the lock is held
                path.unlink(missing_ok=True)


def _add_unlisted(folder: Path, shards: list[Shard]) -> None:
    """Add the shards that no manifest names; those that cannot be used are named in a warning."""
    listed = {shard.file for shard in shards}
    hashes = {shard.sha256 for shard in shards}
    found: list[tuple[int, Shard]] = []
    for path in shard_files(folder):
        if path.name in listed:
            continue
        try:
            metadata = read_metadata(path)
            if not is_sealed(metadata):
                _leave_alone(f"{path}: does not say what it holds")
                continue
            found.append(_shard(path, metadata, file_digest(path)))
        except LedgerError as error:
            warnings.warn(f"{error} It is ignored.", stacklevel=4)
    shards += [shard for shard in _by_place(found) if shard.sha256 not in hashes]


def _with_hash(folder: Path, shard: Shard) -> Shard:
    """Return a shard of an earlier version with the hash of its file as it is now."""
    if shard.sha256 is not None:
        return shard
    digest = file_digest(folder / shard.file)
    return shard.model_copy(update={"sha256": digest})


def _to_json(shard: Shard) -> dict[str, Any]:
    return {
        "file": shard.file,
        "identity": shard.identity,
        "lattice": shard.lattice,
        "metrics": sorted(shard.metrics),
        "settings": sorted(shard.settings),
        "sha256": shard.sha256,
    }


def check_shard(folder: Path, shard: Shard) -> Path:
    """Return the file of a live shard, after checking that it is what was written.

    Raises
    ------
    LedgerError
        If it was damaged or replaced. A missing file is a FileNotFoundError.
    """
    path = folder / shard.file
    digest = file_digest(path)
    if shard.sha256 is not None and digest != shard.sha256:
        raise damaged(path, "another file of this name")
    return path
