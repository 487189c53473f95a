import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from functools import partial
from time import sleep

import pytest

from hmopt.tuner.worker import LatestFirst

LIMIT_S = 240.0
"""How long anything is waited for, on a machine that is busy with other things."""


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
    assert first.result(LIMIT_S) == 0
    assert waiting[-1].result(LIMIT_S) == 3
    assert computed == [3]
    for earlier in waiting[:-1]:
        with pytest.raises(CancelledError):
            earlier.result(LIMIT_S)


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
    assert asked.result(LIMIT_S) == 1
    assert done.wait(LIMIT_S)
    assert order == ["asked", "later"]


def test_who_asks_is_told_of_an_error_and_the_next_is_answered(worker: LatestFirst[int]) -> None:
    with pytest.raises(ZeroDivisionError):
        worker.ask(lambda: 1 // 0).result(LIMIT_S)
    worker.later([lambda: 1 // 0])
    assert worker.ask(lambda: 2).result(LIMIT_S) == 2


def test_what_waits_when_it_is_closed_is_cancelled() -> None:
    worker = LatestFirst[int]()
    begun = threading.Event()

    def until_it_is_closed() -> int:
        begun.set()
        while not worker._closed:
            sleep(0.001)
        return 0

    first = worker.ask(until_it_is_closed)
    begun.wait()
    waiting = worker.ask(lambda: 2)
    worker.close()
    assert first.done()
    assert waiting.cancelled()
