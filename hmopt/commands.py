"""Which commands made a study, and how long they took."""

import csv
import io
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import hmopt
from hmopt.csv_tables import neutralized, quoting_of, restored
from hmopt.errors import HmoptError
from hmopt.files import append, one_line
from hmopt.locks import alone, lock_beside

_COLUMNS = ("command", "started", "minutes", "version")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that worked on a study folder.

    Parameters
    ----------
    command
        As it was given, without the folder.
    minutes
        From its start to its end, over all the times that it was given.
    """

    command: str
    minutes: float


@contextmanager
def timed(path: Path, command: str) -> Iterator[None]:
    """Append a row to a table of commands: how long the block took. Interrupted work counts, failed work does not.

    Parameters
    ----------
    path
        The file, which is made where it is not there.
    command
        What was asked for, without the folder.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "commands.csv"
    >>> with timed(path, "hmopt train"):
    ...     pass
    >>> [known.command for known in read_commands(path)]
    ['hmopt train']
    """
    started = datetime.now(UTC)
    clock = time.monotonic()
    try:
        yield
    except KeyboardInterrupt:
        _append(path, command, started, clock)
        raise
    _append(path, command, started, clock)


def _append(path: Path, command: str, started: datetime, clock: float) -> None:
    minutes = (time.monotonic() - clock) / 60
    cell = neutralized(command)
    # a line is added in place, since several commands may work on a folder at a time
    with alone(lock_beside(path), "notes a command"):
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n", quoting=quoting_of([cell]))
        if not path.is_file():
            writer.writerow(_COLUMNS)
        writer.writerow(
            [cell, started.isoformat(timespec="seconds"), f"{minutes:.3f}", hmopt.__version__]
        )
        append(path, rows.getvalue())


def read_commands(path: Path) -> list[Command]:
    """Return the commands of a table, each once, in the order in which they were first given; none without the file.

    Raises
    ------
    HmoptError
        If the file was damaged.
    """
    if not path.is_file():
        return []
    minutes: dict[str, float] = {}
    try:
        text = path.read_bytes().decode("utf-8")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(header) != _COLUMNS or not text.endswith("\n"):
            raise ValueError("a header or a row cut short")
        for cell, started, duration, _ in rows:
            if started:
                datetime.fromisoformat(started)
            command = restored(cell)
            minutes[command] = minutes.get(command, 0.0) + _duration(duration)
    except (csv.Error, ValueError, OSError) as error:
        raise HmoptError(
            str(path),
            expected=f"rows of {', '.join(_COLUMNS)}",
            got=one_line(error),
            advice="Correct the row, or remove the file, which only records durations.",
        ) from error
    return [Command(command=command, minutes=total) for command, total in minutes.items()]


def _duration(text: str) -> float:
    minutes = float(text)
    if not 0 <= minutes < math.inf:
        raise ValueError(f"{text} minutes")
    return minutes
