"""Parquet files that hold a hash of their own bytes, so that any damage to them is seen.

A file cannot contain the hash of itself, since the hash would change with its content. So a marker
of the same length is written first, the hash is taken of the file with the marker in it, and then
replaces the marker:

    … footer … hmopt-sha256 = MARKER …      hash of these bytes: 3f9a…
    … footer … hmopt-sha256 = 3f9a…  …      the file as it is kept

To check a file, the hash in its footer is replaced by the marker again before hashing.
"""

import hashlib
import mmap
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hmopt.errors import LedgerError
from hmopt.files import check_ordinary, one_line

SEAL_KEY = b"hmopt-sha256"
MARKER = hashlib.sha256(b"the place of the hash").hexdigest().encode()
"""Stands in the footer in place of the hash while the file is hashed."""

RESTORE = (
    "Restore it from a copy, or move it away: `hmopt search` then measures again what it held."
)


def unsealed(metadata: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return metadata of a schema with the marker: a file that is written with it must be given to `seal`."""
    return {**metadata, SEAL_KEY: MARKER}


def is_sealed(metadata: Mapping[bytes, Any]) -> bool:
    """Return whether a file with this metadata holds its hash."""
    return SEAL_KEY in metadata


def seal(path: Path) -> str:
    """Write the hash of a file into its footer, and return it: 64 hexadecimal digits."""
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            digest = hashlib.sha256(content).hexdigest()
            start = content.rfind(MARKER)
        file.seek(start)
        file.write(digest.encode())
    return digest


def file_digest(path: Path, advice: str = RESTORE) -> str:
    """Return the hash of a Parquet file.

    The hash of a sealed file is checked. A file that stays the same is hashed once.

    Parameters
    ----------
    path
        The file. One without a seal was written by an earlier version: its hash is that of its
        bytes.
    advice
        One sentence that says what to do where the file is damaged.

    Raises
    ------
    LedgerError
        If it is no Parquet file, or not the bytes that were written. A missing file is a
        FileNotFoundError.
    """
    status = path.stat()
    state = (
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    return _digest(path, state, advice)


@lru_cache(maxsize=1 << 14)
def _digest(path: Path, _state: tuple[int, ...], advice: str) -> str:
    claimed = read_metadata(path, advice).get(SEAL_KEY)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if claimed is None:
            return hashlib.sha256(content).hexdigest()
        start = content.rfind(claimed)
        stop = start + len(claimed)
        view = memoryview(content)
        hasher = hashlib.sha256(view[:start])
        hasher.update(MARKER)
        hasher.update(view[stop:])
        view.release()
    digest = hasher.hexdigest()
    if start < 0 or digest.encode() != claimed:
        raise damaged(path, "bytes that were changed since", advice)
    return digest


def read_metadata(path: Path, advice: str = RESTORE) -> dict[bytes, bytes]:
    """Return the metadata in the footer of a Parquet file.

    Raises
    ------
    LedgerError
        If it is no Parquet file. A missing file is a FileNotFoundError.
    """
    try:
        check_ordinary(path)
        return dict(pq.read_metadata(path).metadata or {})
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, one_line(error), advice) from error


def damaged(path: Path, got: object, advice: str = RESTORE) -> LedgerError:
    """Return the error for a file of measurements that is not what was written."""
    expected = "the measurements that were written"
    return LedgerError(str(path), expected=expected, got=got, advice=advice)
