"""Which shards of a ledger are live: one small file, swapped whole, that can be made again from the shards."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hmopt.errors import LedgerError
from hmopt.files import checked, read_json, write_json
from hmopt.ledger.seal import RESTORE, damaged, file_digest, is_sealed, read_metadata
from hmopt.space import Hyperparameter, Index, Space

FILE_NAME = "manifest.json"
FORMAT = 1
HEADER = b"hmopt"
"""Key under which a shard's footer tells what is in it."""

Lattice = tuple[tuple[str, float, float, float, str], ...]
"""What gives lattice indices their meaning: name, low, high, step and prior of every hyperparameter."""

_UNFINISHED = re.compile(r"\.\d+-[0-9a-z]+\.parquet")
"""Names of files that a writer was killed over."""
_ADVICE = (
    "Restore it from a copy. Or move it away: shards that tell what they hold are then found again."
)


def lattice_of(space: Space) -> Lattice:
    """Return what lattice indices of a space mean, apart from how it is sampled in training."""
    return tuple(
        (h.name, float(h.low), float(h.high), float(h.step), h.prior) for h in space.hyperparameters
    )


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Shard(_Strict):
    """One live shard: enough to know without opening it whether it can hold what is asked for."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\.parquet$")]
    """Its name in the folder."""
    identity: Annotated[str, Field(min_length=1)]
    """The oracle that its values are of."""
    lattice: Lattice
    """What its lattice indices mean."""
    metrics: frozenset[Annotated[str, Field(pattern=r"^[a-z0-9_]+@\d+$")]]
    """Metrics in it, as `name@version`."""
    settings: frozenset[tuple[Annotated[int, Field(ge=0, strict=True)], ...]]
    """Settings in it."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Hash of the file; None where an earlier version wrote it and nothing was written since."""

    @model_validator(mode="after")
    def _settings_lie_on_the_lattice(self) -> Self:
        points = [
            Hyperparameter(
                name=name, low=low, high=high, step=step, prior=_prior(prior), default=low
            ).points
            for name, low, high, step, prior in self.lattice
        ]
        for setting in self.settings:
            if len(setting) != len(points) or any(
                place >= count for place, count in zip(setting, points, strict=True)
            ):
                raise ValueError(f"setting {list(setting)} is not on a lattice of {points} points")
        return self


def _prior(name: str) -> Literal["uniform", "log-uniform"]:
    if name == "uniform":
        return "uniform"
    if name == "log-uniform":
        return "log-uniform"
    raise ValueError(f"{name!r} is no prior")


class _Manifest(_Strict):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    format: int
    shards: list[Shard]


class ShardHeader(_Strict):
    """What the footer of a shard tells about it: all that a manifest holds, and its place among the shards."""

    format: int = FORMAT
    place: Annotated[int, Field(ge=0)]
    """Rises from one shard to the next that was written: of two values under one key the first one counts."""
    identity: str
    lattice: Lattice
    metrics: list[str]
    settings: list[Index]


def read_manifest(folder: Path) -> list[Shard]:
    """Return the live shards, in the order in which they were written; none where there is no ledger yet.

    A manifest that is lost or damaged is made again from what the shards tell about themselves.

    Raises
    ------
    LedgerError
        If the file is no manifest that this version can read, and some shard is of an earlier version, which does not
        tell what it holds.

    Warns
    -----
    UserWarning
        If the manifest was damaged.
    """
    path = folder / FILE_NAME
    try:
        return _read(path)
    except FileNotFoundError:
        return [shard for _, shard in _tell(shard_files(folder))]
    except LedgerError as error:
        found = shard_files(folder)
        silent = [one.name for one in found if not is_sealed(read_metadata(one))]
        if not found or silent or isinstance(error, _NewerError):
            raise
        shards = [shard for _, shard in _tell(found)]
        warnings.warn(
            f"{error} Its {len(shards)} shards tell what they hold, and are used.", stacklevel=2
        )
        return shards


class _NewerError(LedgerError):
    """The manifest was written by a later version."""


def _read(path: Path) -> list[Shard]:
    what = "the manifest of a ledger"
    content = read_json(path, error=LedgerError, what=what, advice=_ADVICE)
    form = content.get("format")
    if isinstance(form, int) and form > FORMAT:
        raise _NewerError(
            str(path), expected=f"format {FORMAT}", got=form, advice="Use the hmopt that wrote it."
        )
    return checked(
        content, _Manifest, field=str(path), error=LedgerError, what=what, advice=_ADVICE
    ).shards


def shard_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder by name, those apart that are still being written."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _tell(paths: Iterable[Path]) -> list[tuple[int, Shard]]:
    """Return what sealed shards tell about themselves, in the order in which they were written.

    Files that tell nothing are named in a warning. Of two files with the same content the first by name is taken.
    """
    told: list[tuple[int, Shard]] = []
    known: set[str] = set()
    for path in paths:
        metadata = read_metadata(path)
        if not is_sealed(metadata):
            warnings.warn(
                f"{path}: does not tell what it holds; it is left alone and not read.", stacklevel=4
            )
            continue
        digest = file_digest(path)
        if digest in known:
            warnings.warn(
                f"{path}: a copy of another shard; it is left alone and not read.", stacklevel=4
            )
            continue
        known.add(digest)
        told.append(_shard(path, metadata, digest))
    return sorted(told, key=lambda one: one[0])


def _shard(path: Path, metadata: dict[bytes, bytes], digest: str) -> tuple[int, Shard]:
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
        raise damaged(path, "a footer that this version cannot read", RESTORE) from error
    return header.place, shard


@contextmanager
def editing(folder: Path) -> Iterator[list[Shard]]:
    """Give the list of live shards to change, while no other writer can; it is swapped in when the block ends well.

    Shards that the block takes off the list are removed after the swap; a reader that still wants one reads the
    manifest again. Shards that no manifest names, as a writer leaves them that was killed, are taken into the list;
    other files are left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        shards = read_manifest(folder)
        _take_in(folder, shards)
        before = {shard.file for shard in shards}
        yield shards
        shards[:] = [_with_hash(folder, shard) for shard in shards]
        write_json(
            folder / FILE_NAME, {"format": FORMAT, "shards": [_to_json(shard) for shard in shards]}
        )
        for name in before - {shard.file for shard in shards}:
            (folder / name).unlink(missing_ok=True)
        for path in folder.glob(".*.parquet"):
            if _UNFINISHED.fullmatch(path.name):  # nobody else writes while the lock is held
                path.unlink(missing_ok=True)


def _take_in(folder: Path, shards: list[Shard]) -> None:
    """Add the shards that no manifest names; what cannot be used of them is named in a warning."""
    live = {shard.file for shard in shards}
    hashes = {shard.sha256 for shard in shards}
    told: list[tuple[int, Shard]] = []
    for path in shard_files(folder):
        if path.name in live:
            continue
        try:
            told += _tell([path])
        except LedgerError as error:
            warnings.warn(f"{error} It is left alone.", stacklevel=4)
    for _, shard in sorted(told, key=lambda one: one[0]):
        if shard.sha256 not in hashes:
            shards.append(shard)


def _with_hash(folder: Path, shard: Shard) -> Shard:
    """Return a shard of an earlier version with the hash of its file as it is now."""
    if shard.sha256 is not None:
        return shard
    return shard.model_copy(update={"sha256": file_digest(folder / shard.file)})


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
    """Return the file of a live shard, once it was seen to be what was written.

    Raises
    ------
    LedgerError
        If it was damaged or replaced. A file that is not there is a FileNotFoundError.
    """
    path = folder / shard.file
    digest = file_digest(path)
    if shard.sha256 is not None and digest != shard.sha256:
        raise damaged(path, "another file of this name", RESTORE)
    return path
