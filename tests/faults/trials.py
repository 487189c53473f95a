"""Trials of commands that are killed, stopped or run out of disk, and then run again.

Each trial takes a copy of a tiny study, disturbs one command on it, runs the command again to its
end, and compares what the folder then holds with what an undisturbed run leaves. Commands run in
processes that are forked from this one, which only imports: a trial takes a second or two, of which
none goes into importing torch.
"""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DECLARATION = """
name = "tiny"
[cohort]
manifest = "{data}/cohort.csv"
label_names = "{data}/dseg.tsv"
license = "cc0-1.0"
[preprocessing]
shape = [24, 24]
[split]
train = 2
tune = 2
search = 3
[pairs]
same = ["modality"]
search = 6
tune = 1
[network]
encoder = [4, 4]
decoder = [4]
final = []
[hypernetwork]
widths = [4]
[training]
steps = 12
batch = 1
threads = 1
checkpoint_every = 3
[search]
coarse = 5
refinements = 0
scopes = [["cohort"]]
[compare]
values = {{ regularization = [0.5] }}
seeds = 1
optimum_seeds = 1
hypermorph_seeds = 1
"""
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "{folder}", "--device", "cpu"),
    "search": ("search", "{folder}", "--device", "cpu"),
    "report": ("report", "{folder}", "--results"),
    "publish": ("publish", "{folder}", "--to", "{folder}/published"),
}
"""In the order in which they work on a study; each begins with what the one before it left."""
ONCE = ("publish",)
"""Commands that make a folder, and refuse one that is there."""
COMPARE = ("compare", "{folder}", "--jobs", "2", "--device", "cpu")

INTERRUPTED = 130
"""Exit status where SIGTERM comes before or after the command's own work, as nothing here sends Ctrl-C."""
LIMIT_S = 300.0
"""A command that takes longer hangs."""
DIFFERS = ("minutes", "log_hash", "sha256", "spent")
"""Keys whose values tell of time, or are hashes of such."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
"""Audited events that change files, besides `open`."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: the signal), what it printed, and seconds."""

    status: int
    said: str
    seconds: float


def in_child(work: Callable[[], int], stop: Callable[[int], None] | None = None) -> Ended:
    """Run a function in a process of its own session, forked from this one.

    Parameters
    ----------
    work
        Returns the exit status.
    stop
        Is given the process's id as soon as it runs, and may end it.
    """
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.setsid()
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(reading)
            status = work()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException as error:  # what a command never ought to raise
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    chunks: list[bytes] = []
    with os.fdopen(reading, "rb") as stream:
        listening = threading.Thread(target=lambda: chunks.extend(iter(stream.read1, b"")))
        listening.daemon = True
        listening.start()
        late = threading.Timer(LIMIT_S, os.kill, (child, signal.SIGKILL))
        late.daemon = True
        late.start()
        if stop is not None:
            stop(child)
        _, found = os.waitpid(child, 0)
        late.cancel()
        seconds = time.monotonic() - began
        listening.join(timeout=30)
    said = b"".join(chunks).decode(errors="replace")
    return Ended(os.waitstatus_to_exitcode(found), said, seconds)


def run_command(arguments: tuple[str, ...], folder: Path) -> int:
    """Run a command of hmopt in this process, and return its exit status."""
    from hmopt.cli.app import app
    from hmopt.stopping import Terminated, terminable

    given = [text.format(folder=folder) for text in arguments]
    try:
        with terminable():  # from the first moment on
            app(given)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except Terminated:
        status = INTERRUPTED
    else:
        status = 0
    if status != INTERRUPTED:
        return status
    print("Rerun to resume: it had not begun", file=sys.stderr)
    return 143


# --- file operations


def is_change(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    """Tell whether an audited event is going to change a file or folder below `folder`."""
    if event == "open":
        path, mode, flags = arguments
        if not (flags or 0) & WRITING and not set(mode or "") & set("wax+"):
            return False
    elif event in CHANGES:
        path = arguments[0]
    else:
        return False
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    return os.fsdecode(path).startswith(folder)


def at_each_change(folder: Path, act: Callable[[int], object]) -> None:
    """Call a function right before each change below a folder in this process, with its number from 1."""
    count = 0
    prefix = f"{folder}{os.sep}"

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if is_change(event, arguments, prefix):
            count += 1
            act(count)

    sys.addaudithook(look)


def kill_before(number: int) -> Callable[[int], None]:
    """Return what kills this process before the change of that number."""

    def act(count: int) -> None:
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def unsynced_names(folder: Path, report: Path) -> None:
    """Write down each file that gets its name in this process before its content was synced.

    The first line of `report` is the number of all that get a name.
    """
    synced: set[int] = set()
    real_sync = os.fsync
    lines: list[str] = []
    named = 0

    def sync(fd: Any) -> None:
        synced.add(os.fstat(fd).st_ino)
        real_sync(fd)

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal named
        if event != "os.rename":
            return
        source, target = Path(os.fsdecode(arguments[0])), Path(os.fsdecode(arguments[1]))
        is_inside = any(part.startswith(".hmopt-") for part in target.parts)
        if is_inside or not target.is_relative_to(folder):
            return
        inner = [source, *source.rglob("*")] if source.is_dir() else [source]
        named += len(inner)
        lines.extend(f"{target}" for path in inner if path.stat().st_ino not in synced)
        report.write_text("\n".join([str(named), *lines]), encoding="utf-8")

    os.fsync = sync
    sys.addaudithook(look)


# --- what a folder holds


def facts(folder: Path) -> dict[str, str]:
    """Return a hash of each thing that a study folder holds, without times."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.startswith(("ledger/", "prepared/", "data/")):
            continue
        if path.name in ("commands.csv", "index.html", "study.toml") or "studies.db" in name:
            continue
        if path.suffix == ".lock":  # it may still say who was killed
            continue
        found[name] = _file_facts(path)
    found["prepared"] = _folder_hash(folder / "prepared")
    if (folder / "ledger").is_dir():
        found["ledger"] = _ledger_hash(folder / "ledger")
    if (folder / "studies.db").is_file():
        found["studies.db"] = _studies_hash(folder / "studies.db")
    return found


def _file_facts(path: Path) -> str:
    if path.suffix == ".safetensors":
        return _tensors_hash(path)
    if path.suffix == ".json":
        return _hash(_without_times(json.loads(path.read_text(encoding="utf-8"))))
    if path.suffix == ".csv" and path.read_bytes().startswith(b"step,minutes"):
        import pandas as pd

        return _hash(pd.read_csv(path).drop(columns="minutes").to_csv())
    if path.name == "README.md":  # the model card tells minutes, too
        lines = path.read_text(encoding="utf-8").splitlines()
        return _hash([line for line in lines if "minute" not in line and " s " not in line])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tensors_hash(path: Path) -> str:
    from safetensors import safe_open

    digest = hashlib.sha256()
    with safe_open(path, framework="np") as file:
        header = json.loads((file.metadata() or {}).get("hmopt", "{}"))
        digest.update(json.dumps(_without_times(header)).encode())
        for name in sorted(file.keys()):
            digest.update(name.encode())
            digest.update(file.get_tensor(name).tobytes())
    return digest.hexdigest()


def _without_times(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_times(value) for key, value in content.items() if key not in DIFFERS}
    if isinstance(content, list):
        return [_without_times(value) for value in content]
    return content


def _ledger_hash(folder: Path) -> str:
    """Return a hash of all values, the first one of each key, in whichever shards they are."""
    import pandas as pd

    from hmopt.ledger.manifest import check_shard, read_manifest

    tables = []
    for shard in read_manifest(folder):
        table = pd.read_parquet(check_shard(folder, shard))
        table.insert(0, "identity", shard.identity)
        tables.append(table)
    rows = pd.concat(tables)
    rows = rows[~rows["metric"].str.startswith("wall_time")]
    keys = [name for name in rows.columns if name != "value"]
    rows = rows.drop_duplicates(subset=keys).sort_values(keys)
    return _hash(rows[[*sorted(keys), "value"]].to_csv(index=False))


def _studies_hash(path: Path) -> str:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = f"sqlite:///{path}"
    content = {}
    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        trials = [[trial.state.name, trial.params, trial.values] for trial in study.trials]
        content[name] = sorted(trials, key=str)
    return _hash(content)


def _folder_hash(folder: Path) -> str:
    content = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            content[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return _hash(content)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def leftovers(folder: Path) -> list[str]:
    """Return what a finished command never leaves behind."""
    paths = [*folder.rglob(".hmopt-*"), *folder.rglob("*-state.safetensors")]
    return [path.relative_to(folder).as_posix() for path in paths]


def differences(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Return where a study folder differs from an undisturbed one; worked out in a process of its own."""
    answer = folder.with_name(f"{folder.name}-facts.json")

    def work() -> int:
        answer.write_text(json.dumps(facts(folder)), encoding="utf-8")
        return 0

    ended = in_child(work)
    if ended.status:
        return [f"what it holds cannot be read: {ended.said}"]
    found = json.loads(answer.read_text(encoding="utf-8"))
    names = sorted({*found, *expected})
    different = [name for name in names if found.get(name) != expected.get(name)]
    return [f"{name} differs" for name in different] + leftovers(folder)


# --- trials


class Stage:
    """A command on the tiny study: what it begins with, and what it leaves when nothing disturbs it.

    Parameters
    ----------
    arguments
        The command.
    before
        A study folder as the command before it left it.
    place
        Where trials go.
    """

    def __init__(self, arguments: tuple[str, ...], before: Path, place: Path) -> None:
        self.arguments = arguments
        self.before = before
        self._place = place
        self._trials = 0
        self.after = place / f"{arguments[0]}-done"
        shutil.copytree(before, self.after)
        counted = place / f"{arguments[0]}-count"
        unsynced = place / f"{arguments[0]}-unsynced"

        def work() -> int:
            unsynced_names(self.after, unsynced)
            at_each_change(self.after, lambda count: _write(counted, str(count)))
            return run_command(arguments, self.after)

        ended = in_child(work)
        assert ended.status == 0, ended.said
        self.seconds = ended.seconds
        self.changes = int(counted.read_text())
        named, *self.unsynced = unsynced.read_text(encoding="utf-8").splitlines()
        self.named = int(named)
        answer = place / f"{arguments[0]}-facts.json"
        ended = in_child(lambda: _write(answer, json.dumps(facts(self.after))))
        assert ended.status == 0, ended.said
        self.expected: dict[str, str] = json.loads(answer.read_text(encoding="utf-8"))

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """Yield a copy of the study before the command, and remove it at the end."""
        self._trials += 1
        folder = self._place / f"{self.arguments[0]}-{self._trials}"
        shutil.copytree(self.before, folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def rerun(self, folder: Path) -> list[str]:
        """Run the command again to its end; return what is wrong then.

        A command that makes a new folder refuses one that is there, so a folder that is whole is left as it is; what
        a kill left beside it is removed by the next command that writes there.
        """
        found = differences(folder, self.expected)
        is_whole = all(".hmopt-" in line for line in found)
        if self.arguments[0] in ONCE and is_whole:
            return []
        ended = in_child(lambda: run_command(self.arguments, folder))
        if ended.status:
            return [f"run again: exit status {ended.status}, {ended.said.strip()}"]
        return differences(folder, self.expected)

    def killed_at(self, seconds: float) -> list[str]:
        """Kill the command after some seconds; return what is wrong when it was run again."""
        with self.copy() as folder:
            in_child(lambda: run_command(self.arguments, folder), _after(seconds, signal.SIGKILL))
            return self.rerun(folder)

    def killed_before(self, change: int) -> list[str]:
        """Kill the command right before it changes a file for the n-th time."""
        with self.copy() as folder:

            def work() -> int:
                at_each_change(folder, kill_before(change))
                return run_command(self.arguments, folder)

            in_child(work)
            return self.rerun(folder)

    def worker_killed_before(self, change: int) -> list[str]:
        """Run the command twice at once, and kill one right before it changes a file for the n-th time.

        The other one finishes alone; what was begun and not finished is removed by the next command. Where one
        changes fewer files, as the other takes a part of the work, both are run again to kill it at an earlier change.
        """
        with self.copy() as folder:

            def work() -> int:
                at_each_change(folder, kill_before(change))
                return run_command(self.arguments, folder)

            killed: list[Ended] = []
            other = in_child(
                lambda: run_command(self.arguments, folder),
                lambda _process: killed.append(in_child(work)),
            )
            wrong = []
            if killed[0].status not in (0, -signal.SIGKILL):
                wrong.append(f"one: exit status {killed[0].status}, {killed[0].said.strip()}")
            if other.status:
                wrong.append(f"the other: exit status {other.status}, {other.said.strip()}")
            found = differences(folder, self.expected)
            wrong += [line for line in found if ".hmopt-" not in line]
            wrong += self.rerun(folder)
        if killed[0].status == 0 and change > 1 and not wrong:
            return self.worker_killed_before(2 * change // 3)
        return wrong

    def terminated_at(self, seconds: float) -> list[str]:
        """Send SIGTERM after some seconds: it says how to resume, and exits with 143."""
        with self.copy() as folder:
            ended = in_child(
                lambda: run_command(self.arguments, folder), _after(seconds, signal.SIGTERM)
            )
            wrong = []
            is_resumable = ended.status == 143 and "Rerun to resume" in ended.said
            if ended.status != 0 and not is_resumable:
                wrong.append(f"SIGTERM: exit status {ended.status}, {ended.said.strip()}")
            return wrong + leftovers_of_files(folder) + self.rerun(folder)

    def with_largest_file(self, size: int) -> list[str]:
        """Let no file grow beyond a size, as on a full disk: one line names a file, or all is well."""
        with self.copy() as folder:

            def work() -> int:
                _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
                return run_command(self.arguments, folder)

            ended = in_child(work)
            wrong = []
            lines = [
                line for line in ended.said.splitlines() if "Errno" in line or "expected" in line
            ]
            is_told = ended.status == 2 and len(lines) == 1 and str(folder) in lines[0]
            if ended.status != 0 and not is_told:
                wrong.append(f"full: exit status {ended.status}, {ended.said.strip()}")
            return wrong + leftovers_of_files(folder) + self.rerun(folder)

    @property
    def expected_count(self) -> int:
        """How many files and tables are compared."""
        return len(self.expected)

    @property
    def largest_file(self) -> int:
        """Size of the largest file that an undisturbed study holds."""
        sizes = [path.stat().st_size for path in self.after.rglob("*") if path.is_file()]
        return max(sizes)


def leftovers_of_files(folder: Path) -> list[str]:
    """Return unfinished files, which only a kill leaves behind."""
    return [f"{path.name} left" for path in folder.rglob(".hmopt-*")]


def _write(path: Path, text: str) -> int:
    path.write_text(text, encoding="utf-8")
    return 0


def _after(seconds: float, number: int) -> Callable[[int], None]:
    def stop(process: int) -> None:
        time.sleep(seconds)
        os.kill(process, number)

    return stop


def make_study(place: Path) -> Path:
    """Write a tiny synthetic cohort and its declaration; return the study folder."""

    def work() -> int:
        from hmopt.data.synthetic import make_cohort

        make_cohort(place / "data", subjects=7, shape=(24, 24))
        return 0

    ended = in_child(work)
    assert ended.status == 0, ended.said
    folder = place / "declared"
    folder.mkdir()
    text = DECLARATION.format(data=place / "data")
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder


def load_all() -> None:
    """Import what commands need, so that forked processes have it."""
    import matplotlib.pyplot
    import optuna.storages
    import sqlalchemy.dialects.sqlite
    from sqlalchemy.orm import configure_mappers

    import hmopt.cli.app
    import hmopt.networks.checkpoint
    import hmopt.workflow.compare
    import hmopt.workflow.publish
    import hmopt.workflow.report
    import hmopt.workflow.search
    import hmopt.workflow.train

    loaded = (matplotlib.pyplot, optuna.storages, sqlalchemy.dialects.sqlite, hmopt.networks)
    assert all(loaded)
    configure_mappers()  # of Optuna's tables, as the first use of a database does


def still_running(session: int) -> list[str]:
    """Return the processes of a session that have not ended."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "sid=,stat=,pid="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [pid for sid, state, pid in rows if int(sid) == session and not state.startswith("Z")]


def compare_killed(stage: Stage, seconds: float) -> list[str]:
    """Kill `hmopt compare --jobs 2`: its other processes end, too, and no training begins after that."""
    sessions: list[int] = []

    def stop(process: int) -> None:
        sessions.append(process)
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)

    with stage.copy() as folder:
        in_child(lambda: run_command(stage.arguments, folder), stop)
        wrong = []
        deadline = time.monotonic() + 20
        while still_running(sessions[0]) and time.monotonic() < deadline:
            time.sleep(0.2)
        if still_running(sessions[0]):
            wrong.append("processes went on")
        return wrong + stage.rerun(folder)


def times(stage: Stage, seed: int) -> Iterator[float]:
    """Yield random moments at which a command of that length still runs."""
    numbers = random.Random(seed)
    while True:
        yield numbers.uniform(0.02, 0.98) * stage.seconds


def sizes_up_to(stage: Stage, seed: int) -> Iterator[int]:
    """Yield random sizes of files below that of the largest one, small ones as often as large ones."""
    numbers = random.Random(seed)
    while True:
        yield int(stage.largest_file ** numbers.uniform(0.3, 1.0))
