"""Stopping work that takes long: SIGTERM is treated as Ctrl-C, and a step is finished first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C; and what schedulers and `kill` send to end a process."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: the work ends as after Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` where SIGTERM comes in this block.

    Only the main thread gets signals; in another one, and where SIGTERM is treated otherwise
    already, nothing is changed.

    Examples
    --------
    >>> try:
    ...     with terminable():
    ...         signal.raise_signal(signal.SIGTERM)
    ... except Terminated:
    ...     print("terminated")
    terminated
    """
    if not _is_in_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


@dataclass
class Stop:
    """Whether work was asked to stop.

    Parameters
    ----------
    number
        The signal that asked; None while none has.
    """

    number: int | None = None

    @property
    def is_asked(self) -> bool:
        """Whether it was."""
        return self.number is not None

    def check(self) -> None:
        """Refuse to go on after the work was stopped.

        It is called after the block of `stopping_between_steps`, which is left by an exception
        unless whoever uses hmopt handles the signal in another way.

        Raises
        ------
        KeyboardInterrupt
            If it was asked to stop.
        """
        if self.is_asked:
            raise KeyboardInterrupt


@contextmanager
def stopping_between_steps() -> Iterator[Stop]:
    """Hold back Ctrl-C and SIGTERM in this block, which asks for them between its steps and then ends.

    At the end of the block a signal that came does what it would have done before it. A second
    Ctrl-C does so at once. In other threads than the main one, signals are not held back.

    Yields
    ------
    Stop
        Tells whether one came.

    Examples
    --------
    >>> done = []
    >>> try:
    ...     with terminable(), stopping_between_steps() as stop:
    ...         for step in range(3):
    ...             signal.raise_signal(signal.SIGTERM)  # in the middle of the first step
    ...             done.append(step)
    ...             if stop.is_asked:
    ...                 break
    ... except KeyboardInterrupt:
    ...     print("stopped after step", done)
    stopped after step [0]
    """
    stop = Stop()
    before: dict[signal.Signals, Any] = {}

    def hold(number: int, _frame: FrameType | None) -> None:
        stop.number = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    if _is_in_main_thread():
        for number in _SIGNALS:
            known = signal.getsignal(number)
            if known is None or known is signal.SIG_IGN:  # not of Python, or ignored on purpose
                continue
            before[number] = known
            signal.signal(number, hold)
    try:
        yield stop
    finally:
        for number, known in before.items():
            signal.signal(number, known)
        if stop.number is not None:
            signal.raise_signal(stop.number)


def _is_in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
