"""Freed memory is kept: seen by the page faults of a process that allocates and frees again and again.

Processes side by side finish their step and end when the one that started them is stopped or killed.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import hmopt
from hmopt.errors import DeclarationError
from hmopt.workflow.machine import check_number, find_devices
from hmopt.workflow.register import iterations_of

PROGRAM = """
import resource
import numpy as np
{first}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23)
before = faults()
for _ in range(20):
    np.ones(2**23)
print(faults() - before)
"""
FEW = 100
LIMIT_S = 240.0
"""How long anything is waited for, on a machine that is busy with other things."""


def page_faults(first: str) -> int:
    program = PROGRAM.format(first=first)
    return int(
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        ).stdout
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is only on Linux")
def test_memory_that_was_freed_is_not_mapped_anew() -> None:
    kept = page_faults("from hmopt.workflow.machine import keep_freed_memory; keep_freed_memory()")
    assert kept < FEW


SIDE_BY_SIDE = """
import os
import sys
import time
from hmopt.stopping import stopping_between_steps, terminable
from hmopt.workflow.machine import in_processes


def work(item):
    with open(f"{item}.begun", "w") as file:
        file.write(f"{os.getpid()}\\n")
    with stopping_between_steps() as stop:
        while not stop.is_asked:
            time.sleep(0.02)
        open(f"{item}.state", "w").close()


if __name__ == "__main__":
    try:
        with terminable():
            list(in_processes(work, list("abcdef"), 2))
    except KeyboardInterrupt as stopped:
        sys.exit(3)
"""


def begun(folder: Path) -> list[int]:
    """Return the ids of the processes that have begun with an item."""
    texts = [path.read_text() for path in sorted(folder.glob("*.begun"))]
    return [int(text) for text in texts if text.endswith("\n")]


def is_running(process: int) -> bool:
    """Tell whether a process still runs; one that only waits to be cleared away does not."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return not told.stdout.strip().startswith("Z") and bool(told.stdout.strip())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_processes_finish_their_step_and_begin_nothing_else(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(SIDE_BY_SIDE)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    running = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + LIMIT_S
    while len(begun(tmp_path)) < 2:
        assert time.monotonic() < deadline, "nothing began"
        time.sleep(0.05)
    if number == signal.SIGINT:  # a terminal sends it to all
        os.killpg(running.pid, number)
    else:
        running.send_signal(number)
    expected = -9 if number == signal.SIGKILL else 3
    assert running.wait(timeout=LIMIT_S) == expected
    processes = begun(tmp_path)
    deadline = time.monotonic() + LIMIT_S
    while any(is_running(process) for process in processes):
        assert time.monotonic() < deadline, "a process goes on"
        time.sleep(0.05)
    assert len(begun(tmp_path)) == 2
    assert sorted(path.name for path in tmp_path.glob("*.state")) == ["a.state", "b.state"]


@pytest.mark.parametrize("command", ["search", "tune-by-gradient", "compare", "register", "train"])
def test_counts_that_no_machine_can_bear_are_refused_before_any_work(
    command: str, tmp_path: Path
) -> None:
    many = 10**12
    counts: dict[str, Callable[[], object]] = {
        "search": lambda: hmopt.search(tmp_path, workers=many),
        "tune-by-gradient": lambda: hmopt.tune_by_gradient(tmp_path, starts=many),
        "compare": lambda: hmopt.compare(tmp_path, jobs=many),
        "register": lambda: iterations_of(many),
        "train": lambda: find_devices("cpu", many),
    }
    with pytest.raises(
        DeclarationError, match=r"^--\w+: expected a whole number from \d to .* got 10+\."
    ):
        counts[command]()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "is_in"), [(0, False), (1, True), (7, True), (8, False)])
def test_both_ends_of_a_range_belong_to_it(number: int, is_in: bool) -> None:
    if is_in:
        check_number("--starts", number, least=1, most=7)
        return
    with pytest.raises(DeclarationError, match="--starts: expected a whole number from 1 to 7"):
        check_number("--starts", number, least=1, most=7)
