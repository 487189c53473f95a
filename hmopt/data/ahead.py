"""Work done ahead of who waits for it."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def ahead(make: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield what is made of each item, in order; the next is made in another thread while the last is used.

    Parameters
    ----------
    make
        Called for one item at a time.
    items
        What to make something of.

    Examples
    --------
    >>> list(ahead(lambda number: number**2, [1, 2, 3]))
    [1, 4, 9]
    """
    with ThreadPoolExecutor(1) as maker:
        coming = None
        for item in items:
            following = maker.submit(make, item)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()
