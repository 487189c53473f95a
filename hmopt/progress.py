"""Progress of long work: the work reports it, the caller decides whether and how it is shown."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


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
            Number of items, including those that were done earlier.
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
