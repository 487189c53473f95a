"""Processes that engines run in: started when they are needed, replaced when they die.

Each is a Python of its own, started anew (never forked, which threads of torch do not survive), and
the leader of a group of processes, so that what it started ends with it. A registration that takes
longer than its limit is ended with the whole group.

The group also ends with this process, however this one ends, and whatever the engine is at:

    this process ──── holds the pipe open; the system closes it when the process is gone
      └ group:  worker ── what the engine started
                └ guard   reads from the pipe; at its end, it kills the group
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

import hmopt
from hmopt.errors import DeclarationError
from hmopt.interop.engines.command import last_line, told_status
from hmopt.interop.engines.failure import EngineFailure
from hmopt.interop.engines.messages import receive, send
from hmopt.interop.engines.source import EngineSource, LoadedEngine, Registered

Image = NDArray[np.float32]

START_LIMIT_S = 300.0
"""Seconds that an engine may take to be imported."""
_PATIENCE_S = 5.0
_TAIL = 4000
"""Bytes of what an engine prints that are kept, for a message."""
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
"""Environment variables that libraries read their number of threads from."""


class EndedWhileIdle(EngineFailure):
    """A process had ended before it was asked; the pair is not to blame."""


class EngineProcess:
    """One process with an engine.

    Parameters
    ----------
    source
        The engine.
    time_limit_s
        Of one registration; None: none.

    Raises
    ------
    DeclarationError
        If the engine cannot be imported there.
    """

    def __init__(self, source: EngineSource, time_limit_s: float | None) -> None:
        self._time_limit_s = time_limit_s
        self._asking = threading.Lock()
        watched, held = os.pipe()
        # it is closed with this object, or by the system; nothing is ever written
        self._alive = os.fdopen(held, "wb", buffering=0)
        self.popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "hmopt.interop.engines.worker", str(watched)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(source.threads),
            start_new_session=True,
            pass_fds=(watched,),
        )
        os.close(watched)
        assert self.popen.stderr is not None
        self._tail = bytearray()
        self._listening = threading.Thread(
            target=_keep_tail, args=(self.popen.stderr, self._tail), daemon=True
        )
        self._listening.start()
        self.defined_in = self._start(source)

    def _start(self, source: EngineSource) -> Path | None:
        """Send the engine; return the file that defines it, if it is known."""
        first = {"source": source.to_json(), "path": [place for place in sys.path if place]}
        try:
            header, _ = self._asked(START_LIMIT_S, first)
        except EngineFailure as failure:
            raise DeclarationError(
                f"model.{source.kind}",
                expected="an engine that can be imported",
                got=str(failure),
                advice="Correct the engine or its installation.",
            ) from failure
        if "refused" in header:
            self.end()
            raise _refused(header["refused"])
        defined_in = header["defined_in"]
        return None if defined_in is None else Path(defined_in)

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self.popen.poll() is None

    def register(self, moving: Image, fixed: Image, setting: Mapping[str, Any]) -> Registered:
        """Register two prepared images; see `LoadedEngine.register`.

        Raises
        ------
        EngineFailure
            If the engine fails, or its process ends or takes too long, and is then ended.
        EndedWhileIdle
            If the process had ended before it was asked.
        """
        header, arrays = self._asked(self._time_limit_s, {"setting": dict(setting)}, moving, fixed)
        if "got" in header:
            raise EngineFailure(header["got"], expected=header["expected"])
        return Registered(displacement=arrays[0], wall_time_s=header["wall_time_s"])

    def _asked(
        self, limit_s: float | None, header: Mapping[str, Any], *arrays: Image
    ) -> tuple[dict[str, Any], list[Image]]:
        """Send a message and return the answer."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        is_late = threading.Event()

        def end_late() -> None:
            is_late.set()
            self.end()

        timer = threading.Timer(limit_s, end_late) if limit_s is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        is_sent = False
        try:
            with self._asking:
                send(self.popen.stdin, header, *arrays)
                is_sent = True
                return receive(self.popen.stdout)
        except (EOFError, OSError, ValueError) as error:
            if is_late.is_set():
                self.end()  # waits until it has ended
                raise EngineFailure(f"none after {limit_s:g} s, the time limit") from error
            failure = EngineFailure if is_sent else EndedWhileIdle
            raise failure(self._how_it_ended()) from error
        finally:
            if timer is not None:
                timer.cancel()

    def _how_it_ended(self) -> str:
        # the end of its output can be seen a moment before its status
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(timeout=_PATIENCE_S)
        self.end()
        self._listening.join(timeout=_PATIENCE_S)
        return f"{told_status(self.popen.wait())}{last_line(bytes(self._tail))}"

    def end(self) -> None:
        """End the process and all that it started; a status that it has already stays."""
        with contextlib.suppress(OSError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        # where it is being asked, who asks sees the end of its output, and closes it then
        if self._asking.acquire(blocking=False):
            self._close()
            self._asking.release()

    def _close(self) -> None:
        for stream in (self.popen.stdin, self.popen.stdout, self._alive):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not sent is not sent any more
                    stream.close()


def _refused(line: str) -> DeclarationError:
    """Return the error of which a worker sent the text."""
    error = DeclarationError.__new__(DeclarationError)
    Exception.__init__(error, line)
    return error


def _keep_tail(stream: IO[bytes], tail: bytearray) -> None:
    """Read what a process prints, so that it never waits, and keep its end."""
    with stream:
        while chunk := os.read(stream.fileno(), 1 << 16):
            tail.extend(chunk)
            del tail[:-_TAIL]


def _environment(threads: int) -> dict[str, str]:
    environment = dict(os.environ)
    environment.update(dict.fromkeys(_THREADS, str(threads)))
    package = str(Path(hmopt.__file__).parents[1])
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = package if not before else f"{package}{os.pathsep}{before}"
    return environment


Task = tuple["Future[Registered]", Image, Image, dict[str, Any]]


class EngineProcesses:
    """Up to `jobs` processes with an engine, which register pairs in parallel.

    They are started when they are first needed, and end with this object, with an error, or with
    Python.

    Parameters
    ----------
    source
        The engine.
    jobs
        Number of processes; 0: in this process, to look for an error with a debugger.
    time_limit_s
        Of one registration; None: none.
    """

    def __init__(self, source: EngineSource, jobs: int, time_limit_s: float | None = None) -> None:
        self.source = source
        self.jobs = jobs
        self._time_limit_s = time_limit_s
        self._here: LoadedEngine | None = None
        self._idle: queue.LifoQueue[EngineProcess] = queue.LifoQueue()
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: set[EngineProcess] = set()
        self._finalizer = weakref.finalize(self, _end_all, self._running)

    def start(self) -> Path | None:
        """Start one process; return the file that defines the engine, if it is known.

        Raises
        ------
        DeclarationError
            If the engine cannot be imported.
        """
        if not self.jobs:
            return self._loaded().defined_in
        process = self._new_process()
        self._idle.put(process)
        return process.defined_in

    def submit(
        self, moving: Image, fixed: Image, setting: Mapping[str, Any]
    ) -> "Future[Registered]":
        """Register two prepared images as soon as a process is free.

        The result of the future is a `Registered`; its exception an `EngineFailure`, or a
        `DeclarationError` if the engine cannot be imported any more.
        """
        future: Future[Registered] = Future()
        if not self.jobs:
            _resolve(future, self._loaded().register, moving, fixed, setting)
            return future
        self._tasks.put((future, moving, fixed, dict(setting)))
        if len(self._threads) < self.jobs:
            thread = threading.Thread(target=_work, args=(weakref.ref(self), self._tasks))
            thread.daemon = True
            self._threads.append(thread)
            thread.start()
        return future

    def register(self, moving: Image, fixed: Image, setting: Mapping[str, Any]) -> Registered:
        """Register two prepared images, and wait for the result.

        Raises
        ------
        EngineFailure
            If the engine fails.
        """
        return self.submit(moving, fixed, setting).result()

    def end(self) -> None:
        """End every process; what they were at is lost. Later work starts new ones."""
        while True:
            try:
                self._idle.get_nowait()
            except queue.Empty:
                break
        _end_all(self._running)

    def _loaded(self) -> LoadedEngine:
        if self._here is None:
            self._here = self.source.load()
        return self._here

    def _new_process(self) -> EngineProcess:
        process = EngineProcess(self.source, self._time_limit_s)
        self._running.add(process)
        return process

    def run(self, moving: Image, fixed: Image, setting: Mapping[str, Any]) -> Registered:
        """Register two prepared images in a free process, or a new one."""
        process = self._free_process()
        try:
            return process.register(moving, fixed, setting)
        except EndedWhileIdle:  # at this very moment
            self._discard(process)
            process = self._new_process()
            return process.register(moving, fixed, setting)
        finally:
            if process.is_alive:
                self._idle.put(process)
            else:
                self._discard(process)

    def _free_process(self) -> EngineProcess:
        while True:
            try:
                process = self._idle.get_nowait()
            except queue.Empty:
                return self._new_process()
            if process.is_alive:
                return process
            self._discard(process)  # killed while it was idle

    def _discard(self, process: EngineProcess) -> None:
        process.end()
        self._running.discard(process)


def _work(owner: "weakref.ref[EngineProcesses]", tasks: "queue.SimpleQueue[Task | None]") -> None:
    """Take tasks until a None comes, or the owner is gone."""
    while True:
        task = tasks.get()
        processes = owner()
        if task is None or processes is None:
            return
        future, moving, fixed, setting = task
        if future.set_running_or_notify_cancel():
            _resolve(future, processes.run, moving, fixed, setting)
        del processes, task, future, moving, fixed


def _resolve(future: "Future[Registered]", run: Callable[..., Registered], *arguments: Any) -> None:
    """Set what a function returns or raises as the result of a future."""
    try:
        found = run(*arguments)
    except BaseException as error:  # whoever waits for the future gets it
        future.set_exception(error)
    else:
        future.set_result(found)


def _end_all(running: set[EngineProcess]) -> None:
    for process in list(running):
        process.end()
    running.clear()
