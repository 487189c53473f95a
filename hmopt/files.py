"""Files that are there whole or not at all, and names made from contents."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the name `path` when the block ends without an error.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with replacing(folder / "note.txt") as beside:
    ...     _ = beside.write_text("whole")
    >>> (folder / "note.txt").read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def real_place(path: Path) -> Path:
    """Return the absolute path of a file or folder, links followed, but for that of the file itself.

    A file of git-annex is a link to another file that lies in a folder of its own under another name: its own name
    and folder are the ones that count.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()).resolve()
    >>> (folder / "cohort.csv").symlink_to(".git/annex/objects/MD5E-s9--4b.csv")
    >>> real_place(folder / "cohort.csv").name
    'cohort.csv'
    """
    if path.is_symlink() and not path.is_dir():
        return path.parent.resolve() / path.name
    return path.resolve()


def content_hash(*parts: Any) -> str:
    """Give 16 hexadecimal digits that stand for JSON-like values.

    Examples
    --------
    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def slug(name: str) -> str:
    """Give a file name that stands for a name: what cannot stand in one makes way for a hyphen and a hash.

    Examples
    --------
    >>> slug("thalamus")
    'thalamus'
    >>> slug("T1→T2"), slug("T1-T2")
    ('t1-t2-5f98f8', 't1-t2-fa22b6')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80]
    return plain if plain == name else f"{plain}-{content_hash(name)[:6]}".lstrip("-")


def file_hash(path: Path) -> str:
    """Give 16 hexadecimal digits that stand for a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
