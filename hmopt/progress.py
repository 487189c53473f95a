"""How long work tells how far it is, without knowing who listens."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Wraps an iterable and shows how far it is; a drop-in for `rich.progress.track`."""

    def __call__(
        self, items: Iterable[T], description: str, total: int, start: int = 0
    ) -> Iterator[T]:
        """Yield the items; `total` counts them with the `start` that were done earlier."""
        ...


def silent(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
    """Yield the items and show nothing.

    Examples
    --------
    >>> list(silent([1, 2], "counting", 2))
    [1, 2]
    """
    yield from items
