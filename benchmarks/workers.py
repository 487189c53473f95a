"""`hmopt search --workers 2` against one worker: the whole command, with its start.

Each search begins with a prepared cohort and a trained model and no measurement. Each worker computes with one thread.
Each search is timed once. Two searches of separate folders at once, which share no work, are timed as well: they tell a
limit of the machine from one of the division of work.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import hmopt
from benchmarks.rows import THREAD_VARIABLES, Measured, row
from hmopt.data.synthetic import make_cohort

SHAPE = (48, 64, 48)
STUDY = """
name = "workers"
[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"
[preprocessing]
shape = [48, 64, 48]
[split]
train = 2
tune = 2
search = 6
[pairs]
same = ["modality"]
search = 40
tune = 1
[training]
steps = 2
batch = 1
[search]
coarse = 48
refinements = 0
scopes = [["cohort"], ["label"]]
"""
COMMAND = "from hmopt.cli.app import main; main()"


def start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    """Start a search of a study folder."""
    options = ["search", str(folder), "--workers", str(workers), "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | dict.fromkeys(THREAD_VARIABLES, "1"),
    )


def seconds_of(trained: Path, place: Path, workers: Sequence[int]) -> float:
    """Return the seconds that searches of copies of a study need, which are started at once.

    Raises
    ------
    RuntimeError
        If one of them fails.
    """
    folders = [place / f"copy-{number}" for number in range(len(workers))]
    for folder in folders:
        shutil.copytree(trained, folder)
    began = time.perf_counter()
    running = [start(folder, count) for folder, count in zip(folders, workers, strict=True)]
    statuses = [process.wait() for process in running]
    seconds = time.perf_counter() - began
    if any(statuses):
        raise RuntimeError(f"hmopt search: expected exit status 0, got {statuses}")
    for folder in folders:
        shutil.rmtree(folder)
    return seconds


@row(
    "two-workers",
    goal=1.7,
    better="higher",
    unit="×",
    against="hmopt search with one worker",
    network="hmopt's default, 48×64×48; 48 settings of 40 pairs",
    is_long=True,
)
def two_workers() -> Measured:
    """Time of a search with one worker over that with two."""
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        trained = place / "study"
        make_cohort(trained / "data", subjects=10, shape=SHAPE)
        (trained / "study.toml").write_text(STUDY, encoding="utf-8")
        hmopt.train(trained, device="cpu")
        sides = {"one": [1], "two": [2], "two searches": [1, 1]}
        times = {side: seconds_of(trained, place, workers) for side, workers in sides.items()}
    machine = 2 * times["one"] / times["two searches"]
    note = (
        f"one worker {times['one']:.3g} s, two {times['two']:.3g} s; two searches that share nothing "
        f"are {machine:.3g} times as fast as one after the other on this machine"
    )
    return Measured(times["one"] / times["two"], note)
