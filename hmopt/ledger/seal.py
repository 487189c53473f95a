"""Parquet files that hold a hash of their own bytes, so that any damage to them is seen."""

import hashlib
import mmap
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hmopt.errors import LedgerError
from hmopt.files import one_line

SEAL_KEY = b"hmopt-sha256"
MARKER = hashlib.sha256(b"the place of the hash").hexdigest().encode()
"""Stands in the footer where the hash goes: the hash is of the file with this in its place."""

RESTORE = (
    "Restore it from a copy, or move it away: `hmopt search` then measures again what it held."
)


def unsealed(metadata: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return metadata of a schema with room for the hash: a file written with it is to be given to `seal`."""
    return {**metadata, SEAL_KEY: MARKER}


def seal(path: Path) -> str:
    """Put the hash of a file into its place in the footer, and return it: 64 hexadecimal digits."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        digest = hashlib.sha256(content).hexdigest()
        place = content.rfind(MARKER)
        content[place : place + len(MARKER)] = digest.encode()
    return digest


def file_digest(path: Path, advice: str = RESTORE) -> str:
    """Return the hash of a Parquet file, which is checked where the file is sealed; once while it stays the same file.

    Parameters
    ----------
    path
        The file. One without a seal is of an earlier version: its hash is that of its bytes.
    advice
        One sentence that says what to do where the file is damaged.

    Raises
    ------
    LedgerError
        If it is no Parquet file, or not the bytes that were written. A file that is not there is a FileNotFoundError.
    """
    state = path.stat()
    return _digest(
        path, (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns), advice
    )


@lru_cache(maxsize=1 << 14)
def _digest(path: Path, _state: tuple[int, ...], advice: str) -> str:
    claimed = read_metadata(path, advice).get(SEAL_KEY)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if claimed is None:
            return hashlib.sha256(content).hexdigest()
        place = content.rfind(claimed)
        digest = hashlib.sha256(memoryview(content)[:place])
        digest.update(MARKER)
        digest.update(memoryview(content)[place + len(claimed) :])
    if place < 0 or digest.hexdigest().encode() != claimed:
        raise damaged(path, "bytes that were changed since", advice)
    return digest.hexdigest()


def read_metadata(path: Path, advice: str = RESTORE) -> dict[bytes, bytes]:
    """Return the metadata in the footer of a Parquet file.

    Raises
    ------
    LedgerError
        If it is no Parquet file. A file that is not there is a FileNotFoundError.
    """
    try:
        return dict(pq.read_metadata(path).metadata or {})
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, one_line(error), advice) from error


def damaged(path: Path, got: object, advice: str = RESTORE) -> LedgerError:
    """Return the error that says that a file of measurements is not what was written."""
    return LedgerError(
        str(path), expected="the measurements that were written", got=got, advice=advice
    )


def is_sealed(metadata: Mapping[bytes, Any]) -> bool:
    """Tell whether a file with this metadata holds its hash."""
    return SEAL_KEY in metadata
