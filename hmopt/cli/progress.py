"""How far long work is, for a terminal and for a log."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hmopt.progress import Track, silent

T = TypeVar("T")

SHORT_S = 2.0
"""Work that takes less shows nothing in a log."""
BETWEEN_LINES_S = 15.0
"""Time between two lines of a log."""


def tracker(console: Console, *, quiet: bool) -> Track:
    """Give what shows progress: bars on a terminal, lines elsewhere, nothing if quiet.

    Examples
    --------
    >>> list(tracker(Console(), quiet=True)([1, 2], "Counting", 2))
    [1, 2]
    """
    if quiet:
        return silent
    return Bars(console) if console.is_terminal else Lines(console)


class Bars:
    """Bars with the time left; work within work gets a bar of its own.

    Parameters
    ----------
    console
        The terminal.

    Examples
    --------
    >>> list(Bars(Console(quiet=True))([1, 2], "Counting", 2))
    [1, 2]
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None

    def __call__(
        self, items: Iterable[T], description: str, total: int, start: int = 0
    ) -> Iterator[T]:
        """Yield the items below a bar."""
        outermost = self._progress is None
        progress = self._progress = self._progress or self._started()
        task = progress.add_task(description, total=total, completed=start)
        try:
            for item in items:
                yield item
                progress.advance(task)
        finally:
            if outermost:
                progress.stop()
                self._progress = None

    def _started(self) -> Progress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        progress = Progress(
            *columns, TextColumn("left"), TimeRemainingColumn(), console=self._console
        )
        progress.start()
        return progress


class Lines:
    """Plain lines: one when work is seen to be long, one every quarter of a minute, and one at its end.

    Parameters
    ----------
    console
        Where the lines go.

    Examples
    --------
    >>> list(Lines(Console(quiet=True))([1, 2], "Counting", 2))
    [1, 2]
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(
        self, items: Iterable[T], description: str, total: int, start: int = 0
    ) -> Iterator[T]:
        """Yield the items between lines."""
        began = time.monotonic()
        due = began + SHORT_S
        for done, item in enumerate(items, start):
            now = time.monotonic()
            if now >= due:
                self._write(
                    f"{description}: {done} of {total}, {time_left(now - began, done - start, total - done)} left"
                )
                due = now + BETWEEN_LINES_S
            yield item
        passed = time.monotonic() - began
        if passed >= SHORT_S:
            self._write(f"{description}: done in {duration(passed)}")

    def _write(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def time_left(passed_s: float, done: int, remaining: int) -> str:
    """Give the time that the rest will take at the rate so far.

    Examples
    --------
    >>> time_left(10.0, 5, 20)
    '40 s'
    """
    return duration(passed_s / done * remaining) if done > 0 else "unknown time"


def duration(seconds: float) -> str:
    """Give a time as people say it.

    Examples
    --------
    >>> duration(8), duration(200), duration(7300)
    ('8 s', '3 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
