"""Progress of long work: the work reports it, the caller decides whether and how it is shown."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")

BETWEEN_LOOKS_S = 0.2
"""Time between two looks at what is waited for."""


class Track(Protocol):
    """A function that yields the items of an iterable and shows the progress, as `rich.progress.track` does."""

    def __call__(
        self, items: Iterable[T], description: str, total: int, start: int = 0
    ) -> Iterator[T]:
        """Yield the items.

        Parameters
        ----------
        items
            The work, one item each.
        description
            What is shown beside the bar.
        total
            Number of items, including those that were done earlier; 0 where it is not known.
        start
            How many were done earlier.
        """
        ...


def silent(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
    """Yield the items and show nothing.

    Examples
    --------
    >>> list(silent([1, 2], "counting", 2))
    [1, 2]
    """
    yield from items


def wait_until(is_over: Callable[[], bool], what: str, track: Track = silent) -> None:
    """Wait until something holds, and show what is waited for.

    Parameters
    ----------
    is_over
        Asked several times a second.
    what
        Is shown, with the time that has passed.
    track
        Shows it.

    Examples
    --------
    >>> looks = iter([False, True])
    >>> wait_until(lambda: next(looks), "Waiting for the tide")
    """

    def looks() -> Iterator[None]:
        while not is_over():
            yield
            time.sleep(BETWEEN_LOOKS_S)

    for _ in track(looks(), what, 0):
        pass


def duration(seconds: float) -> str:
    """Return a duration in one unit, as messages show it.

    Examples
    --------
    >>> duration(8), duration(200), duration(7300)
    ('8 s', '3 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
