"""The progress of long work, on a terminal and in a log."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hmopt.progress import Track, duration, silent

T = TypeVar("T")

SHORT_S = 2.0
"""Work that takes less shows nothing in a log."""
BETWEEN_LINES_S = 15.0
"""Time between two lines of a log."""
RECENT_S = 60.0
"""Time over which the rate of work is taken."""
FEWEST_MARKS = 4
"""Marks that are kept however old they are: where one item takes minutes, the last few of them tell the rate."""
BETWEEN_MARKS_S = 1.0


class RecentRate:
    """Estimates the time left from the rate of the last minute of work.

    A pause stops counting a minute after the work went on, and a rate that changes is followed. Marks are times at
    which so many items were done::

        marks     (0 s, 0) (15 s, 5) (30 s, 10) … (75 s, 25)     the first is older than a minute: it goes
        rate      (25 - 5) / (75 s - 15 s), a third of an item a second

    Parameters
    ----------
    done
        Items that were done earlier, which tell nothing about the rate.

    Examples
    --------
    >>> RecentRate().time_left(20)
    'unknown time'
    """

    def __init__(self, done: int = 0) -> None:
        self._marks = deque([(time.monotonic(), done)])

    def update(self, done: int) -> None:
        """Note that so many items are done now."""
        now = time.monotonic()
        latest, _ = self._marks[-1]
        if now - latest < BETWEEN_MARKS_S:
            return
        self._marks.append((now, done))
        while len(self._marks) > FEWEST_MARKS and self._marks[0][0] < now - RECENT_S:
            self._marks.popleft()

    def time_left(self, remaining: int) -> str:
        """Return how long that many items take at the recent rate."""
        began, done_at_first = self._marks[0]
        ended, done_at_last = self._marks[-1]
        done = done_at_last - done_at_first
        if done == 0:
            return "unknown time"
        return duration((ended - began) / done * remaining)


def tracker(console: Console, *, quiet: bool) -> Track:
    """Return what shows progress: bars on a terminal, lines elsewhere, nothing if quiet.

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
        task = progress.add_task(description, total=total or None, completed=start, left="")
        rate = RecentRate(start)
        try:
            for done, item in enumerate(items, start + 1):
                yield item
                if total:
                    rate.update(done)
                    progress.update(task, completed=done, left=rate.time_left(total - done))
        finally:
            if not total:  # of what was waited for nothing stays
                progress.remove_task(task)
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
        left = TextColumn("{task.fields[left]} left")
        progress = Progress(*columns, left, console=self._console)
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
        rate = RecentRate(start)
        for done, item in enumerate(items, start):
            rate.update(done)
            now = time.monotonic()
            if now >= due:
                self._write(f"{description}: {_state(done, total, rate, now - began)}")
                due = now + BETWEEN_LINES_S
            yield item
        passed = time.monotonic() - began
        if passed >= SHORT_S:
            self._write(f"{description}: done in {duration(passed)}")

    def _write(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _state(done: int, total: int, rate: RecentRate, passed_s: float) -> str:
    """Return how far work is; of work without a known number of items how long it has taken."""
    if not total:
        return f"{duration(passed_s)} so far"
    left = rate.time_left(total - done)
    return f"{done} of {total}, {left} left"
