"""What a row of the benchmark is, and how one is declared.

A row is a function without arguments that returns a `Measured`, declared in one of `MODULES`:

    @row("import", goal=0.1, better="lower", unit="s", against="nothing", network="none")
    def import_time() -> Measured:
        ...
        return Measured(seconds, "of it, 0.04 s the interpreter")

Each row runs in a process of its own, on two threads, with freed memory kept as hmopt's commands
keep it. Both sides of a comparison run in that process, alternately (`benchmarks.timing`).

A row that takes minutes is declared `is_long`: it runs where it is named, or asked for by `--long`.
A row that cannot be measured on a machine raises `CannotMeasureError`, and what was measured earlier remains.
A row that needs a GPU is declared `needs_gpu`: `results.json` lacks it until it was measured on one.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""Each of them sets the number of threads: torch takes that of MKL before that of OpenMP."""
MODULES = (
    "oracle",
    "search",
    "network",
    "memory",
    "samplers",
    "training",
    "losses",
    "refinement",
    "refined_pair",
    "volumes",
    "scale",
    "tuner",
    "workers",
)
"""Modules of this package that declare rows, in the order of the table."""


class CannotMeasureError(Exception):
    """Raised by a row that this machine does not let measure; says why."""


@dataclass(frozen=True)
class Measured:
    """The value of a row, and a note on how it was obtained."""

    value: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table, as `results.json` holds it. Without a value it failed, and the note says how."""

    name: str
    value: float | None
    goal: float
    better: Better
    unit: str
    against: str
    network: str
    note: str

    @property
    def met(self) -> bool:
        """Whether the value is as good as the goal."""
        if self.value is None or not math.isfinite(self.value):
            return False
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A row before it is measured; `limit` says, where the goal is missed, what the limit is and how that is known."""

    name: str
    goal: float
    better: Better
    unit: str
    against: str
    network: str
    limit: str
    measure: Callable[[], Measured]
    is_long: bool = False
    needs_gpu: bool = False

    def filled(self, value: float | None, note: str) -> Row:
        """Return the row with what was measured."""
        row = Row(
            name=self.name,
            value=value,
            goal=self.goal,
            better=self.better,
            unit=self.unit,
            against=self.against,
            network=self.network,
            note=note,
        )
        return (
            row
            if row.met or not self.limit
            else Row(**{**vars(row), "note": f"{note}. {self.limit}"})
        )


DECLARED: dict[str, Declared] = {}
"""The rows by name; each module of `MODULES` adds its own when it is imported."""


def declared_rows() -> dict[str, Declared]:
    """Return all rows by name, in the order of the table."""
    for module in MODULES:
        importlib.import_module(f"benchmarks.{module}")
    return DECLARED


def row(
    name: str,
    *,
    goal: float,
    better: Better,
    unit: str,
    against: str,
    network: str,
    limit: str = "",
    is_long: bool = False,
    needs_gpu: bool = False,
) -> Callable[[Callable[[], Measured]], Callable[[], Measured]]:
    """Declare the function that follows as a row.

    Parameters
    ----------
    name
        The argument of `--only`: words joined by hyphens.
    goal, better
        Value to reach, and whether higher or lower is better.
    unit
        Of the value: `×` for a ratio.
    against
        What hmopt is compared with.
    network
        Architecture and shape, where there is a network.
    limit
        Where the goal is missed: what limits the value, and how that was measured.
    is_long
        Whether it takes minutes, so that it is left out unless it is asked for.
    needs_gpu
        Whether it is measured on a CUDA device, and left out where there is none.
    """

    def declare(measure: Callable[[], Measured]) -> Callable[[], Measured]:
        if name in DECLARED:
            raise ValueError(
                f"{name}: expected a name of its own, got one that is taken. Choose another."
            )
        DECLARED[name] = Declared(
            name=name,
            goal=goal,
            better=better,
            unit=unit,
            against=against,
            network=network,
            limit=limit,
            measure=measure,
            is_long=is_long,
            needs_gpu=needs_gpu,
        )
        return measure

    return declare
