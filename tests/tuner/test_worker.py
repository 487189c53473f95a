import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from functools import partial

import pytest

from hmopt.tuner.worker import LatestFirst


@pytest.fixture
def worker() -> Iterator[LatestFirst[int]]:
    made = LatestFirst[int]()
    yield made
    made.close()


def test_of_what_waits_only_the_latest_is_computed(worker: LatestFirst[int]) -> None:
    begun, go_on = threading.Event(), threading.Event()
    computed = []

    def slow() -> int:
        begun.set()
        go_on.wait()
        return 0

    def quick(number: int) -> int:
        computed.append(number)
        return number

    first = worker.ask(slow)
    begun.wait()
    waiting = [worker.ask(partial(quick, number)) for number in (1, 2, 3)]
    go_on.set()
    assert first.result(10) == 0
    assert waiting[-1].result(10) == 3
    assert computed == [3]
    for earlier in waiting[:-1]:
        with pytest.raises(CancelledError):
            earlier.result(10)


def test_what_can_wait_lets_what_is_asked_for_go_first(worker: LatestFirst[int]) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def slow() -> int:
        begun.set()
        go_on.wait()
        return 0

    worker.ask(slow)
    begun.wait()
    worker.later([lambda: order.append("later"), done.set])

    def first() -> int:
        order.append("asked")
        return 1

    asked = worker.ask(first)
    go_on.set()
    assert asked.result(10) == 1
    assert done.wait(10)
    assert order == ["asked", "later"]


def test_who_asks_is_told_of_an_error_and_the_next_is_answered(worker: LatestFirst[int]) -> None:
    with pytest.raises(ZeroDivisionError):
        worker.ask(lambda: 1 // 0).result(10)
    worker.later([lambda: 1 // 0])
    assert worker.ask(lambda: 2).result(10) == 2


def test_what_waits_when_it_is_closed_is_cancelled() -> None:
    worker = LatestFirst[int]()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        go_on.wait()
        return 0

    first = worker.ask(slow)
    begun.wait()
    waiting = worker.ask(lambda: 2)
    threading.Timer(0.05, go_on.set).start()
    worker.close()
    assert first.done()
    assert waiting.cancelled()
