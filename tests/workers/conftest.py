"""Workers in processes of their own, and a server of PostgreSQL for them."""

import contextlib
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from tests.workers.work import HOLD, LEASE_VARIABLE

ROOT = Path(__file__).parents[2]
WORK = Path(__file__).with_name("work.py")
LIMIT_S = 240.0
"""How long anything is waited for, on a machine that is busy with other things."""
LONGEST_LOCK_S = 2.0
"""Longer than a worker that runs holds a lock."""


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < until, f"waited too long for {what}"
        time.sleep(0.01)


class Crew:
    """Workers on one folder.

    Parameters
    ----------
    folder
        Where they work.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def start(
        self, count: int, *task: str, lease_s: float = LIMIT_S
    ) -> list[subprocess.Popen[str]]:
        """Start workers, and return them once all have begun."""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "OMP_NUM_THREADS": "1",
            LEASE_VARIABLE: str(lease_s),
        }
        command = [sys.executable, str(WORK), str(self.folder), *task]
        started = [
            subprocess.Popen(
                command,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for _ in range(count)
        ]
        self.processes += started
        for process in started:
            log = self.log(process)
            wait_for(lambda log=log: log.exists(), "a worker")  # type: ignore[misc]
        (self.folder / "go").touch()
        return started

    def hold(self) -> None:
        """Let workers wait at the first trial of a study."""
        (self.folder / HOLD).touch()

    def release(self) -> None:
        """Let them go on."""
        (self.folder / HOLD).unlink()

    def log(self, process: subprocess.Popen[str]) -> Path:
        return self.folder / f"{process.pid}.log"

    def wait(self, *processes: subprocess.Popen[str]) -> None:
        """Wait until all of some workers, or simply all, have ended well."""
        for process in processes or self.processes:
            said, _ = process.communicate(timeout=LIMIT_S)
            assert process.returncode == 0, said

    def kill(self, process: subprocess.Popen[str]) -> None:
        """End a worker at once, as when memory runs out."""
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=LIMIT_S)
        self.processes.remove(process)

    def pause(self, process: subprocess.Popen[str]) -> None:
        """Stop a worker until it gets SIGCONT, at a moment when it holds no lock."""

        def stops_without_a_lock() -> bool:
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)  # until it has stopped
            if self._can_be_locked():
                return True
            process.send_signal(signal.SIGCONT)
            return False

        wait_for(stops_without_a_lock, "a moment without a lock")

    def _can_be_locked(self) -> bool:
        """Tell whether all locks can be taken: of those that others hold, soon."""
        for path in sorted(self.folder.rglob("*.lock")):
            try:
                with FileLock(path, timeout=LONGEST_LOCK_S, fallback_to_soft=False):
                    pass
            except Timeout:
                return False
        for path in self.folder.glob("*.db"):
            connection = sqlite3.connect(path, timeout=LONGEST_LOCK_S)
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            finally:
                connection.close()
        return True

    def is_at_a_study(self, process: subprocess.Popen[str]) -> bool:
        """Tell whether a worker holds a study."""
        try:
            leases = json.loads((self.folder / "ledger" / "leases.json").read_bytes())["leases"]
        except (FileNotFoundError, ValueError):  # it is being written
            return False
        held = [lease["of"] for lease in leases if lease["worker"]["process"] == process.pid]
        return any(name.startswith("known: ") for name in held)

    def measured_by(self, process: subprocess.Popen[str]) -> list[tuple[int, str]]:
        lines = self.log(process).read_text(encoding="utf-8").splitlines()
        return [tuple(json.loads(line)) for line in lines]

    def measured(self) -> Counter[tuple[int, str]]:
        """Return how often each pair was measured at each setting, by all workers."""
        counts: Counter[tuple[int, str]] = Counter()
        for log in self.folder.glob("*.log"):
            counts.update(tuple(json.loads(line)) for line in log.read_text().splitlines())
        return counts


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    found = Crew(tmp_path)
    yield found
    for process in found.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=LIMIT_S)


class Server:
    """PostgreSQL on 127.0.0.1, in a folder of its own."""

    def __init__(self, binaries: Path, folder: Path, user: str | None) -> None:
        self._binaries = binaries
        self._folder = folder
        self._user = user
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._run("initdb", "-D", str(folder), "-U", "hmopt", "-A", "trust", "--no-sync")
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://hmopt@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        command = [
            str(self._binaries / "postgres"),
            *("-D", str(self._folder), "-p", str(self._port), "-F"),
            *("-c", "listen_addresses=127.0.0.1"),
            *("-c", f"unix_socket_directories={self._folder}"),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, stdout=log, stderr=log)
        wait_for(self._answers, "PostgreSQL")

    def stop(self) -> None:
        """Stop as in an emergency: connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(LIMIT_S)

    def new_database(self, name: str) -> str:
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "hmopt", name)
        return self.url(name)

    def _answers(self) -> bool:
        command = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        done = subprocess.run(
            [str(self._binaries / command[0]), *command[1:]], check=False, timeout=LIMIT_S
        )
        return done.returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(
            command,
            user=self._user,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stderr


def find_binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where they are not installed."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs psycopg: pip install 'hmopt[postgresql]'")
    folder = Path(tempfile.mkdtemp(prefix="hmopt-postgresql-"))
    user = None
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        user = "nobody"
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    found = Server(binaries, folder, user)
    try:
        found.start()
        yield found
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            found.stop()
        shutil.rmtree(folder, ignore_errors=True)
