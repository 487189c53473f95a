"""Locks that one process holds at a time, on one machine or on several that share a folder.

A lock is one of the operating system on a file that stays (`flock`, by the library filelock). The
system releases it when its process ends, however it ends, so that no lock is left behind:

    study/.train.lock    held by process 4711 on alpha    {"host": "alpha", "process": 4711, …}
                         held by nobody                   blank

Whoever holds it is written into the file, for those that wait.
"""

import errno
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ConfigDict, ValidationError

from hmopt.errors import HmoptError
from hmopt.files import WITHOUT_LOCKS, is_running, make_folder, read_whole, this_machine
from hmopt.progress import Track, silent, wait_until
from hmopt.schemas import Count, Name, Record

_LENGTH = 512
"""Bytes of a lock's file."""


class Worker(Record):
    """A process that works on a study folder.

    Examples
    --------
    >>> print(Worker(host="alpha", machine="00000000", process=4711, name="k2v8q1x0"))
    process 4711 on alpha
    """

    model_config = ConfigDict(extra="ignore")

    host: Name
    """Name of its machine."""
    machine: Name
    """Which machine, since it was started, and which container: where process ids count."""
    process: Count
    """Its id there."""
    name: Name
    """Random letters: ids are used again."""

    def __str__(self) -> str:
        """Return how messages call it."""
        return f"process {self.process} on {self.host}"

    @property
    def has_ended(self) -> bool:
        """Whether it is certain that it does not run any more; of another machine that is never known."""
        is_here = self.machine == this_machine() and os.name == "posix"
        return is_here and not is_running(self.process)


def this_worker() -> Worker:
    """Return this process."""
    return _worker(os.getpid())  # a forked process is another one


@lru_cache(maxsize=1)
def _worker(process: int) -> Worker:
    return Worker(
        host=platform.node() or "this machine",
        machine=this_machine(),
        process=process,
        name=secrets.token_hex(4),
    )


class _Holder(Worker):
    """Who holds a lock, and since when, in UTC."""

    since: Name


@contextmanager
def alone(path: Path, work: str, track: Track = silent) -> Iterator[None]:
    """Hold a lock in this block; while another process does, wait and show which one.

    Parameters
    ----------
    path
        The file of the lock. It is made where it is not there, and stays.
    work
        What is shown after who is waited for, as `trains this model`.
    track
        Shows the waiting.

    Raises
    ------
    HmoptError
        If the file system has no locks.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / ".train.lock"
    >>> with alone(path, "trains this model"):
    ...     print(holder_text(path).startswith(str(this_worker())))
    True
    """
    make_folder(path.parent)
    lock = FileLock(path, fallback_to_soft=False, thread_local=False)
    if not _is_acquired(lock, path):
        what = f"Waiting for {holder_text(path)}, which {work}"
        wait_until(lambda: _is_acquired(lock, path), what, track)
    try:
        _write_holder(path)
        yield
    finally:
        _write(path, "")
        lock.release()


def lock_beside(path: Path) -> Path:
    """Return the file of the lock of a file or folder.

    Examples
    --------
    >>> lock_beside(Path("mine/studies.db")).as_posix()
    'mine/.studies.db.lock'
    """
    return path.with_name(f".{path.name}.lock")


def _is_acquired(lock: FileLock, path: Path) -> bool:
    """Take a lock if nobody holds it; return whether it was taken."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        number = getattr(error, "errno", errno.ENOSYS)
        if number not in WITHOUT_LOCKS:
            raise
        raise HmoptError(
            str(path),
            expected="a file system that can lock files",
            got=os.strerror(number),
            advice="Mount it with locks, or keep the study folder on another one.",
        ) from error
    return True


def _write_holder(path: Path) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    holder = _Holder(**this_worker().model_dump(), since=now)
    _write(path, holder.model_dump_json())


def _write(path: Path, text: str) -> None:
    """Write over what a lock's file says of its holder; it only says who, and may fail.

    The length stays: file systems take far longer for a file that is emptied and filled again.
    """
    content = text.encode().ljust(_LENGTH)
    with suppress(OSError), path.open("r+b") as file:
        file.write(content)


def holder_text(path: Path) -> str:
    """Return who holds a lock and since when, as messages tell it; `another process` where it is not known."""
    try:
        holder = _Holder.model_validate_json(read_whole(path).strip())
        since = datetime.fromisoformat(holder.since).astimezone()
    except (OSError, ValidationError, ValueError):
        return "another process"
    return f"{holder} (since {since:%H:%M})"
