"""The processes of engines: replaced when they die, ended when they hang, gone when their parent is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hmopt.errors import DeclarationError
from hmopt.interop.engines.failure import EngineFailure
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.processes import EngineProcess, EngineProcesses
from hmopt.interop.engines.source import EngineSource

GRID = Grid(shape=(6, 5), spacing_mm=(1.0, 2.0))
IMAGE = np.arange(30, dtype=np.float32).reshape(6, 5)

ENGINE = """
import os
import subprocess
import sys
import time

import numpy as np

import beside


def register(moving, fixed, setting, spacing_mm):
    if setting["what"] == "hang":
        subprocess.Popen(["sleep", "300"])
        print(os.getpid(), flush=True)
        time.sleep(300)
    if setting["what"] == "crash":
        os._exit(5)
    if setting["what"] == "exit":
        sys.exit("no licence")
    if setting["what"] == "print":
        sys.stdout.write("noise " * 100_000)
        os.system("echo more noise")
        sys.stdin.read()
    moving[:] = 0
    displacement = np.zeros((2, 6, 5))
    displacement[0] = os.getpid()
    displacement[1] = spacing_mm[1] * beside.FACTOR
    return displacement
"""


@pytest.fixture
def source(tmp_path: Path) -> EngineSource:
    (tmp_path / "engine.py").write_text(ENGINE)
    (tmp_path / "beside.py").write_text("FACTOR = 10\n")
    return EngineSource(kind="callable", name="engine.py:register", folder=tmp_path, grid=GRID)


def pid_of(processes: EngineProcesses, what: str = "") -> int:
    return int(processes.register(IMAGE, IMAGE, {"what": what}).displacement[0, 0, 0])


def is_running(pid: int) -> bool:
    """Tell whether a thread of a process runs; one that only waits to be cleared away does not."""
    asked = ["ps", "-L", "-o", "stat=", "-p", str(pid)]
    told = subprocess.run(asked, capture_output=True, text=True).stdout
    return any(not state.startswith("Z") for state in told.split())


def wait_for_the_end(pid: int) -> None:
    deadline = time.monotonic() + 240
    while is_running(pid):
        assert time.monotonic() < deadline, "a process goes on"
        time.sleep(0.02)


def test_a_process_serves_many_pairs_and_a_dead_one_is_replaced(source: EngineSource) -> None:
    processes = EngineProcesses(source, jobs=1)
    assert processes.start() == source.folder / "engine.py"
    first = pid_of(processes)
    assert first != os.getpid()
    assert pid_of(processes, "print") == first
    with pytest.raises(EngineFailure, match="exit status 5"):
        pid_of(processes, "crash")
    second = pid_of(processes)
    assert second != first
    os.kill(second, 9)  # as the system does to an idle process when memory runs out
    wait_for_the_end(second)
    assert pid_of(processes) != second
    processes.end()


def test_one_that_ends_when_it_is_about_to_be_asked_is_replaced(
    source: EngineSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = EngineProcesses(source, jobs=1)
    first = pid_of(processes)
    os.kill(first, 9)
    wait_for_the_end(first)
    with monkeypatch.context() as patch:
        patch.setattr(EngineProcess, "is_alive", True)  # as it was a moment before
        second = pid_of(processes)
    assert second != first
    assert pid_of(processes) == second
    processes.end()


def test_an_engine_that_exits_fails_for_that_pair(source: EngineSource) -> None:
    processes = EngineProcesses(source, jobs=1)
    first = pid_of(processes)
    with pytest.raises(EngineFailure, match="SystemExit: no licence"):
        pid_of(processes, "exit")
    assert pid_of(processes) == first
    processes.end()


def test_spacing_and_modules_beside_the_file_are_there_and_images_stay_as_they_are(
    source: EngineSource,
) -> None:
    processes = EngineProcesses(source, jobs=1)
    found = processes.register(IMAGE, IMAGE, {"what": ""})
    np.testing.assert_array_equal(found.displacement[1], 20.0)
    assert IMAGE.sum() == np.arange(30).sum()
    processes.end()


def test_one_that_hangs_is_ended_with_all_that_it_started(source: EngineSource) -> None:
    processes = EngineProcesses(source, jobs=1, time_limit_s=3.0)
    pid = pid_of(processes)
    began = time.monotonic()
    with pytest.raises(EngineFailure, match="none after 3 s, the time limit"):
        pid_of(processes, "hang")
    assert time.monotonic() - began < 240  # of 300
    assert not is_running(pid)
    left = subprocess.run(["ps", "-o", "stat=", "-g", str(pid)], capture_output=True, text=True)
    # one that has ended may wait for the system to clear it away
    assert [state for state in left.stdout.split() if not state.startswith("Z")] == []
    processes.end()


def test_nothing_runs_any_more_once_they_are_no_longer_needed(source: EngineSource) -> None:
    processes = EngineProcesses(source, jobs=2)
    pid = pid_of(processes)
    del processes
    wait_for_the_end(pid)


def test_they_end_with_a_parent_that_is_killed(source: EngineSource, tmp_path: Path) -> None:
    program = f"""
import os, sys
import numpy as np
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.processes import EngineProcess, EngineProcesses
from hmopt.interop.engines.source import EngineSource
source = EngineSource(kind="callable", name="engine.py:register", folder={str(tmp_path)!r},
                      grid=Grid(shape=(6, 5), spacing_mm=(1.0, 2.0)))
from dataclasses import replace
from pathlib import Path
processes = EngineProcesses(replace(source, folder=Path(source.folder)), jobs=1)
image = np.zeros((6, 5), np.float32)
print(int(processes.register(image, image, {{"what": ""}}).displacement[0, 0, 0]), flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    wait_for_the_end(int(done.stdout))


def test_an_engine_that_cannot_be_imported_is_refused_with_the_reason(tmp_path: Path) -> None:
    for name, text, message in (
        ("raises.py", "raise OSError('no licence')", "OSError: no licence"),
        ("exits.py", "import os; os._exit(4)", "exit status 4"),
    ):
        (tmp_path / name).write_text(text)
        source = EngineSource(kind="callable", name=f"{name}:register", folder=tmp_path, grid=GRID)
        with pytest.raises(DeclarationError, match=message):
            EngineProcesses(source, jobs=1).start()


BLOCKING = """
import ctypes
import os
import subprocess


def register(moving, fixed, setting, spacing_mm):
    child = subprocess.Popen(["sleep", "300"])
    with open("{pids}", "w") as file:
        file.write(f"{os.getpid()} {child.pid}\\n")
    ctypes.PyDLL(None).sleep(300)  # no other thread of this process gets a turn
"""


def states(group: int) -> list[str]:
    """Return the states of a group's processes, without those that only wait to be cleared away."""
    left = subprocess.run(["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True)
    return [state for state in left.stdout.split() if not state.startswith("Z")]


def test_an_engine_that_gives_no_thread_a_turn_ends_with_a_parent_that_is_killed(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pids"
    (tmp_path / "engine.py").write_text(BLOCKING.replace("{pids}", str(pids)))
    program = f"""
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.processes import EngineProcess, EngineProcesses
from hmopt.interop.engines.source import EngineSource
source = EngineSource(kind="callable", name="engine.py:register", folder=Path({str(tmp_path)!r}),
                      grid=Grid(shape=(6, 5), spacing_mm=(1.0, 2.0)))
image = np.zeros((6, 5), np.float32)
EngineProcesses(source, jobs=1).register(image, image, {{}})
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 240
    while not (pids.exists() and pids.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "the engine did not begin"
        time.sleep(0.05)
    worker, _child = map(int, pids.read_text().split())
    assert len(states(worker)) == 3  # worker, guard, and what the engine started
    parent.kill()
    parent.wait()
    while states(worker):
        assert time.monotonic() < deadline, "something goes on"
        time.sleep(0.05)
