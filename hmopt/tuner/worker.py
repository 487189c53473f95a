"""One computation at a time, the latest that is asked for: a slider that is dragged leaves no queue behind."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LatestFirst(Generic[T]):
    """A thread that computes what is asked for, and in between what can wait.

    What is asked for while another computation runs replaces what was waiting, whose future is
    cancelled. What can wait is begun where nothing is asked for.

    Examples
    --------
    >>> worker = LatestFirst[int]()
    >>> worker.ask(lambda: 3).result()
    3
    >>> worker.close()
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._asked: tuple[Callable[[], T], Future[T]] | None = None
        self._later: deque[Callable[[], object]] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hmopt tune", daemon=True)
        self._thread.start()

    def ask(self, compute: Callable[[], T]) -> "Future[T]":
        """Return the future of a computation, which is cancelled if another is asked for before it begins."""
        future: Future[T] = Future()
        with self._condition:
            if self._asked is not None:
                _, earlier = self._asked
                earlier.cancel()
            self._asked = (compute, future)
            self._condition.notify()
        return future

    def later(self, computations: Iterable[Callable[[], object]]) -> None:
        """Take computations for when nothing else is asked for, in place of those that were not begun."""
        with self._condition:
            self._later = deque(computations)
            self._condition.notify()

    def close(self) -> None:
        """End the thread after the computation that runs."""
        with self._condition:
            self._closed = True
            self._later.clear()
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._closed or self._asked or self._later)
                if self._closed:
                    break
                asked, self._asked = self._asked, None
                waiting = None if asked is not None else self._later.popleft()
            if asked is not None:
                _fulfil(*asked)
            elif waiting is not None:
                _attempt(waiting)
        if self._asked is not None:
            self._asked[1].cancel()


def _fulfil(compute: Callable[[], T], future: "Future[T]") -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        found = compute()
    except BaseException as error:  # whoever asked is told
        future.set_exception(error)
    else:
        future.set_result(found)


def _attempt(compute: Callable[[], Any]) -> None:
    """Compute what nobody waits for; where it fails, it fails again, and is told, when it is asked for."""
    try:
        compute()
    except Exception:
        return
