"""What a worker of these tests does, in a process of its own: `python work.py FOLDER TASK [URL]`.

The oracle is a formula that takes its time, and writes down what it is asked.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

from hmopt.declaration import SearchOptions
from hmopt.ledger import Ledger, Measurements, Recorded
from hmopt.ledger import leases as leases_module
from hmopt.protocol import Dispatcher
from hmopt.records import Block, Pair
from hmopt.search.objective import optimize_scopes
from hmopt.search.storage import open_storage
from hmopt.search.studies import store_studies
from hmopt.space import Hyperparameter, Index, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.01),))
BESTS = {"thalamus": 0.3, "cortex": 0.7}
SETTINGS: list[Index] = [(place,) for place in range(0, 101, 25)]
SUBJECTS = tuple("abcdefgh")
METRICS = ("dice", "folding")
SHORT_LEASE_S = 6.0
"""Of workers that are paused; others keep theirs however busy the machine is."""
LEASE_VARIABLE = "HMOPT_TESTS_LEASE_S"
HOLD = "hold"
"""While a folder has a file of this name, its workers wait at the first trial of a study."""
OPTIONS = SearchOptions(
    sampler="RandomSampler", trials=4, reported=[], scopes=[["cohort"], ["label"]]
)
STUDIES = 3

PAIRS = [
    Pair(moving=moving, fixed=fixed, moving_subject=moving, fixed_subject=fixed)
    for moving in SUBJECTS
    for fixed in SUBJECTS
    if moving != fixed
]
TABLE = pd.DataFrame(
    [(p.id, p.moving, p.fixed, p.moving_subject, p.fixed_subject, p.task) for p in PAIRS],
    columns=["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"],
)


class Formula:
    """Dice of a label falls with the squared distance from its best setting, and differs between pairs."""

    identity = "a formula"
    labels = tuple(BESTS)
    space = SPACE

    def __init__(self, log: Path | None, seconds: float) -> None:
        self._log = log
        self._seconds = seconds
        self.hold: Path | None = None
        """Nothing is measured while there is a file."""

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        while self.hold is not None and self.hold.exists():
            time.sleep(0.01)
        for (place,) in settings:
            for start in range(0, len(pairs), 4):
                ids = tuple(pair.id for pair in pairs[start : start + 4])
                self._note([[place, pair] for pair in ids])
                time.sleep(self._seconds * len(ids))
                rows = [[self._dice(place, pair, best) for best in BESTS.values()] for pair in ids]
                values = {"dice": np.array(rows), "folding": np.zeros(len(ids))}
                yield Block(
                    index=(place,),
                    pairs=ids,
                    labels=self.labels,
                    values={metric: values[metric] for metric in metrics},
                )

    def _note(self, cells: list[Any]) -> None:
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(cell) + "\n" for cell in cells))

    @staticmethod
    def _dice(place: int, pair: str, best: float) -> float:
        return 0.9 - (place / 100 - best) ** 2 + sum(map(ord, pair)) / 1e5


def measurements(ledger: Ledger) -> Measurements:
    return ledger.measurements(Formula.identity, SPACE, TABLE, METRICS, Formula.labels)


def sweep(folder: Path, oracle: Formula) -> None:
    Recorded(oracle, Ledger(folder / "ledger")).fill(SETTINGS, PAIRS, METRICS)


def optimize(
    folder: Path, oracle: Formula, url: str | None, dispatcher: Dispatcher | None = None
) -> None:
    ledger = Ledger(folder / "ledger")
    recorded = Recorded(oracle, ledger, dispatcher)
    recorded.fill([SPACE.index(SPACE.default)], PAIRS, METRICS)
    oracle.hold = folder / HOLD
    storage = open_storage(folder, url)
    settings = optimize_scopes(recorded, measurements(ledger), OPTIONS, "known", storage)
    recorded.fill(settings, PAIRS, METRICS)
    store_studies(measurements(ledger), OPTIONS, "known", storage)


def main(folder: Path, task: str, url: str | None = None) -> None:
    """Do the task; what the oracle is asked goes to `FOLDER/PROCESS.log`."""
    leases_module.LEASE_S = float(os.environ[LEASE_VARIABLE])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    log = folder / f"{os.getpid()}.log"
    log.touch()
    # all begin at the same time, whatever their imports took
    while not (folder / "go").exists():
        time.sleep(0.01)
    if task == "sweep":
        sweep(folder, Formula(log, seconds=0.02))
    elif task == "open":
        open_storage(folder, url)
    else:
        optimize(folder, Formula(log, seconds=0.003), url)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
