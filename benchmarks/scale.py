"""Finding λ* of 1,000 scopes from one ledger, writing studies to SQLite, importing hmopt."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import pandas as pd

from benchmarks.rows import Measured, row
from benchmarks.timing import medians, milliseconds, timed
from hmopt.declaration import SearchOptions
from hmopt.ledger import PAIR_COLUMNS, Ledger, Measurements
from hmopt.records import Block
from hmopt.search import find_curves, list_scopes, open_storage, write_studies
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
SETTINGS = tuple(SPACE.coarse(21))
IDENTITY = "0123456789abcdef"
PARTNERS = 12
FOLDING_LIMIT = 0.001
METRICS = ("dice", "folding")
STUDIES, PART = 100, 20
"""Studies that are written, and how many at a time; the row is the median over the parts."""


def pair_table(subjects: int) -> pd.DataFrame:
    """Return pairs in which each subject is moving in six and fixed in six."""
    names = [f"sub-{number:04}" for number in range(subjects)]
    sides = [
        (a, names[(place + d) % subjects])
        for place, a in enumerate(names)
        for d in range(1, PARTNERS // 2 + 1)
    ]
    return pd.DataFrame(
        [(f"{a}->{b}", a, b, a, b, "cross") for a, b in sides], columns=list(PAIR_COLUMNS)
    )


def measured(subjects: int, labels: int) -> Measurements:
    """Return measurements whose curves are parabolas, each pair and label with its own best λ."""
    random = np.random.default_rng(0)
    pairs = pair_table(subjects)
    best = random.random((len(pairs), labels))
    value = np.array([index[0] / 200 for index in SETTINGS])[:, None, None]
    return Measurements(
        identity=IDENTITY,
        space=SPACE,
        settings=SETTINGS,
        pairs=pairs,
        labels=tuple(f"label {number}" for number in range(labels)),
        values={
            "dice": 0.8 - (value - best) ** 2,
            "folding": (0.002 - 0.002 * value[..., 0]).repeat(len(pairs), 1),
        },
    )


def full_ledger(folder: Path, measurements: Measurements) -> Ledger:
    """Write measurements as a sweep does, a shard for each setting."""
    ledger, ids = Ledger(folder), tuple(measurements.pairs["pair"])
    for place, index in enumerate(measurements.settings):
        values = {metric: array[place] for metric, array in measurements.values.items()}
        ledger.write(
            IDENTITY,
            SPACE,
            [Block(index=index, pairs=ids, labels=measurements.labels, values=values)],
        )
    return ledger


def find_optima(
    ledger: Ledger, pairs: pd.DataFrame, section: SearchOptions, labels: tuple[str, ...]
) -> int:
    """Read a ledger and count the scopes with a best setting, with and without the folding limit."""
    measurements = ledger.measurements(IDENTITY, SPACE, pairs, METRICS, labels)
    scopes = list_scopes(section, pairs, labels)
    optima = [
        (curve.best(), curve.best_within({"folding": FOLDING_LIMIT}))
        for curve in find_curves(measurements, scopes, "dice")
    ]
    return len(optima)


def run_studies(count: int) -> None:
    """Run a number of studies of 21 trials in memory."""
    step = optuna.distributions.FloatDistribution(0, 1, step=0.005)
    for _ in range(count):
        study = optuna.create_study(direction="maximize")
        for index in SETTINGS:
            value = index[0] / 200
            trial = optuna.trial.create_trial(
                params={"regularization": value},
                distributions={"regularization": step},
                value=0.8 - (value - 0.3) ** 2,
            )
            study.add_trial(trial)
        _ = study.best_params


@row(
    "optima-of-1000-scopes",
    goal=2,
    better="lower",
    unit="×",
    against="1,000 Optuna studies of 21 trials in memory",
    network="none",
)
def optima_of_thousand_scopes() -> Measured:
    """λ* of 1,000 subjects from the ledger of a sweep, beside as many studies in memory."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    measurements = measured(subjects=1000, labels=1)
    section = SearchOptions(scopes=[["subject"]], min_paired_subjects=PARTNERS)
    with tempfile.TemporaryDirectory() as folder:
        ledger = full_ledger(Path(folder), measurements)
        sides: dict[str, Callable[[], object]] = {
            "hmopt": lambda: find_optima(ledger, measurements.pairs, section, measurements.labels),
            "Optuna": lambda: run_studies(1000),
        }
        if sides["hmopt"]() != 1000:
            raise RuntimeError("expected an optimum for each of 1,000 subjects")
        seconds = medians(sides, repetitions=5)
    return Measured(seconds["hmopt"] / seconds["Optuna"], milliseconds(seconds))


@row(
    "studies-to-sqlite",
    goal=12,
    better="lower",
    unit="ms",
    against="a trial in SQLite, 100 studies of 21",
    network="none",
)
def studies_to_sqlite() -> Measured:
    """Milliseconds a trial to write 100 studies of 21 trials into the default storage."""
    seconds, spent = write_parts()
    value = 1000 * seconds / (PART * len(SETTINGS))
    return Measured(
        value, f"of it {1000 * spent / (STUDIES * len(SETTINGS)):.3g} ms of processor time"
    )


@row(
    "studies-a-second",
    goal=10,
    better="higher",
    unit="studies/s",
    against="a second of processor time, studies of 21 trials in SQLite",
    network="none",
)
def studies_a_second() -> Measured:
    """Studies of 21 trials that one core writes into the default storage in a second, as `hmopt export` does."""
    _, spent = write_parts()
    return Measured(STUDIES / spent, f"{1000 * spent / STUDIES:.3g} ms of processor time a study")


def write_parts() -> tuple[float, float]:
    """Write 100 studies; return the median seconds of a part of them, and processor time of all."""
    measurements, section = measured(subjects=13, labels=STUDIES), SearchOptions(scopes=[["label"]])
    scopes = list_scopes(section, measurements.pairs, measurements.labels)
    with tempfile.TemporaryDirectory() as folder:
        storage, processor = open_storage(Path(folder)), time.process_time()
        times = [
            timed(
                partial(
                    write_studies,
                    measurements,
                    scopes[start : start + PART],
                    section,
                    "benchmark",
                    storage,
                )
            )
            for start in range(0, STUDIES, PART)
        ]
        spent = time.process_time() - processor
        storage.engine.dispose()
    return statistics.median(times), spent


@row("import", goal=0.1, better="lower", unit="s", against="the interpreter alone", network="none")
def import_time() -> Measured:
    """Seconds that `import hmopt` adds to starting Python."""
    seconds = medians(
        {"with": lambda: python("import hmopt"), "without": lambda: python("pass")}, repetitions=9
    )
    return Measured(
        seconds["with"] - seconds["without"], f"Python starts in {seconds['without']:.2g} s"
    )


def python(code: str) -> None:
    """Run code in an interpreter of its own."""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
