"""Locks are held by one process at a time, tell who holds them, and end with it."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hmopt.errors import HmoptError
from hmopt.locks import Worker, alone, holder_text, this_worker

HOLD = """
import sys, time
from pathlib import Path
from hmopt.locks import alone
with alone(Path(sys.argv[1]), "works"):
    print("held", flush=True)
    time.sleep(600)
"""


class Shown:
    """Keeps what was shown as progress, and calls a function as soon as something is shown."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.texts: list[str] = []
        self._then = then

    def __call__(
        self, items: Iterable[Any], description: str, total: int, start: int = 0
    ) -> Iterator[Any]:
        self.texts.append(description)
        self._then()
        yield from items


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that holds a lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".x.lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_who_waits_is_told_who_holds_the_lock_and_gets_it_when_that_process_is_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    path = tmp_path / ".x.lock"
    assert holder_text(path).startswith(f"process {holder.pid} on ")
    shown = Shown(then=lambda: holder.send_signal(signal.SIGKILL))
    with alone(path, "works", shown):
        assert holder.wait() == -signal.SIGKILL
        assert holder_text(path).startswith(str(this_worker()))
    (text,) = shown.texts
    assert text.startswith(f"Waiting for process {holder.pid} on ")
    assert text.endswith(", which works")


def test_nobody_holds_a_lock_after_the_block(tmp_path: Path) -> None:
    path = tmp_path / ".x.lock"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), alone(path, "works"):
            raise ZeroDivisionError
    assert holder_text(path) == "another process"
    assert path.read_bytes().strip() == b""


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_is_refused_in_one_line(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(HmoptError, match=r"a file system that can lock files, got [^\n]+\.$"),
        alone(tmp_path / ".x.lock", "works"),
    ):
        pass


def test_a_worker_is_known_to_have_ended_only_on_its_own_machine() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    me = this_worker()
    gone = me.model_copy(update={"process": ended.pid})
    assert gone.has_ended
    assert not me.has_ended
    elsewhere = Worker(host="beta", machine="00000000", process=ended.pid, name="x")
    assert not elsewhere.has_ended
