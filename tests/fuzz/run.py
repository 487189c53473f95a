"""Run every malformed input through the public functions of hmopt, and count how each ends."""

import gc
import re
import resource
import shutil
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import hmopt
from tests.fuzz.cases import Case

Outcome = Literal["clean", "accepted", "traceback", "hang", "memory", "wrong acceptance", "unclear"]
"""Refused in one line; accepted, where it may be; and what must not happen."""
FAULTS: tuple[Outcome, ...] = ("traceback", "hang", "memory", "wrong acceptance", "unclear")
SECONDS = 10.0
"""Processor time after which a case hangs; most take some milliseconds."""
MOST_BYTES = 400 * 2**20
"""Memory that a case may take on top."""
_LINE = re.compile(r"[^\n]+: expected [^\n]+, got [^\n]+\. [^\n]+")
LONGEST_LINE = 1500


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a case ended.

    Parameters
    ----------
    case
        What was tried.
    outcome
        How it ended.
    detail
        The line of the error, or the last line of a traceback.
    """

    case: Case
    outcome: Outcome
    detail: str

    @property
    def is_fault(self) -> bool:
        """Whether it ended as no input must."""
        return self.outcome in FAULTS

    def __str__(self) -> str:
        """Return the case in one line."""
        case = self.case
        return f"{self.outcome} | {case.kind} | {case.mutation[:80]} | {self.detail[:300]}"


class _TooLongError(BaseException):
    """Raised when a case takes too much processor time; no handler of errors catches it."""


def run_cases(cases: Iterable[Case], folders: dict[str, Path]) -> Iterator[Ended]:
    """Run cases one after the other, each in the folder of its part, which is restored afterwards.

    Parameters
    ----------
    cases
        As of `list_cases`.
    folders
        As of `make_originals`.
    """
    for case in cases:
        with _mutated(folders[case.part], case):
            outcome, detail = _run(folders[case.part], case)
        yield Ended(case=case, outcome=outcome, detail=detail)


@contextmanager
def _mutated(folder: Path, case: Case) -> Iterator[None]:
    path = folder / case.file
    original = path.read_bytes()
    path.write_bytes(case.content)
    try:
        yield
    finally:
        gc.collect(0)
        for suffix in ("-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(original)


def _run(folder: Path, case: Case) -> tuple[Outcome, str]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings(), _limited(SECONDS):
            warnings.simplefilter("ignore")
            checked = hmopt.check(folder)
            lines = [problem.line for problem in checked.problems]
    except _TooLongError:
        return "hang", f"more than {SECONDS:g} s"
    except hmopt.HmoptError as error:
        lines = [str(error)]
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return "traceback", " ".join(message.split())
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > MOST_BYTES:
        return "memory", f"{grown / 1e6:.0f} MB"
    if not lines:
        return ("wrong acceptance" if case.must_refuse else "accepted"), ""
    for line in lines:
        if not _LINE.fullmatch(line) or len(line) > LONGEST_LINE:
            return "unclear", line
    return "clean", lines[0]


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise an error in the block when it has taken so much processor time."""

    def stop(_signal: int, _frame: object) -> None:
        raise _TooLongError

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def count(ended: Iterable[Ended]) -> dict[str, dict[str, int]]:
    """Return how many cases ended how, by kind of input."""
    by_kind: dict[str, Counter[str]] = {}
    for one in ended:
        by_kind.setdefault(one.case.kind, Counter())[one.outcome] += 1
    return {kind: dict(counts) for kind, counts in by_kind.items()}


def copied(folders: dict[str, Path], to: Path) -> dict[str, Path]:
    """Return copies of folders, to run cases in."""
    for name, folder in folders.items():
        shutil.copytree(folder, to / name)
    return {name: to / name for name in folders}
