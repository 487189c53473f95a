"""Ctrl-C and SIGTERM: held back within a step, and otherwise as they are."""

import signal
import threading

import pytest

from hmopt.stopping import Terminated, stopping_between_steps, terminable

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def test_sigterm_ends_a_block_as_ctrl_c_does_and_its_handler_is_put_back() -> None:
    with pytest.raises(KeyboardInterrupt), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_caller_stays() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        with terminable():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_step_is_finished_before_work_stops(number: signal.Signals) -> None:
    done: list[int] = []

    def work() -> None:
        with terminable(), stopping_between_steps() as stop:
            for step in range(5):
                if step == 2:
                    signal.raise_signal(number)
                done.append(step)
                if stop.is_asked:
                    break

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert done == [0, 1, 2]
    assert (caught.type is Terminated) == (number == signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait_for_the_step() -> None:
    done: list[str] = []

    def work() -> None:
        with stopping_between_steps():
            signal.raise_signal(signal.SIGINT)
            done.append("the first is held back")
            signal.raise_signal(signal.SIGINT)
            done.append("the second is not")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the first is held back"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_between_steps() as stop:
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not stop.is_asked


def test_without_a_signal_and_in_another_thread_nothing_happens() -> None:
    found: list[bool] = []

    def work() -> None:
        with terminable(), stopping_between_steps() as stop:
            stop.check()
            found.append(stop.is_asked)

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False, False]


def test_work_does_not_go_on_where_the_caller_only_notes_the_signal() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with stopping_between_steps() as stop:
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            stop.check()
    finally:
        signal.signal(signal.SIGTERM, before)
