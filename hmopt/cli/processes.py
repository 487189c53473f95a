"""Trainings side by side, each in a process of its own."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_processes(run: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[R]:
    """Give what a function makes of each item, as soon as it is made, in no order.

    The first error ends all: what has not begun is not begun.

    Parameters
    ----------
    run
        A function of a module, or a `partial` of one: processes are started afresh and import it.
    items
        What it is called with.
    jobs
        Processes at a time.

    Examples
    --------
    >>> import math
    >>> sorted(in_processes(math.sqrt, [4.0, 1.0, 9.0], jobs=2))
    [1.0, 2.0, 3.0]
    """
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(run, item) for item in items]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
