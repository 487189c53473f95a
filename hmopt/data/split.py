"""Which subjects serve what: weights, decisions of a developer, or the search."""

from collections.abc import Sequence

import numpy as np

from hmopt.declaration import SplitOptions
from hmopt.errors import DataError

SIDES = ("train", "tune", "search")


def split_subjects(subjects: Sequence[str], section: SplitOptions) -> dict[str, list[str]]:
    """Give the subjects of each side, sorted; nobody is on two, and who is left over is on none.

    Parameters
    ----------
    subjects
        Subjects of the cohort's images; the order and repetitions do not matter.
    section
        How many subjects each side takes, or which. The named ones are set aside first.

    Raises
    ------
    DataError
        If there are too few subjects, a named one is not in the cohort, or one is named twice.

    Examples
    --------
    >>> split_subjects(["a", "b", "c", "d"], SplitOptions(train=["b"], tune=1, search=2, seed=1))
    {'train': ['b'], 'tune': ['a'], 'search': ['c', 'd']}
    """
    known = sorted(set(subjects))
    declared = {side: getattr(section, side) for side in SIDES}
    named = [name for side in declared.values() if not isinstance(side, int) for name in side]
    _check_named(named, known)
    free = [name for name in known if name not in set(named)]
    counts = {side: value for side, value in declared.items() if isinstance(value, int)}
    _check_counts(counts, len(free))
    dealt = iter(np.random.default_rng(section.seed).permutation(len(free)).tolist())
    return {
        side: sorted(
            value if not isinstance(value, int) else [free[next(dealt)] for _ in range(value)]
        )
        for side, value in declared.items()
    }


def _check_named(named: list[str], known: list[str]) -> None:
    unknown = [name for name in named if name not in known]
    if unknown:
        raise DataError(
            "split",
            expected="subjects of the cohort",
            got=", ".join(unknown),
            advice="Correct the names or leave out.",
        )
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise DataError(
            "split",
            expected="each subject once",
            got=f"{', '.join(twice)} twice",
            advice="Keep one mention of each.",
        )


def _check_counts(counts: dict[str, int], free: int) -> None:
    negative = [f"{side} = {count}" for side, count in counts.items() if count < 0]
    if negative:
        raise DataError(
            "split",
            expected="counts of at least 0",
            got=", ".join(negative),
            advice="Correct them.",
        )
    if sum(counts.values()) > free:
        asked = " + ".join(f"{count} {side}" for side, count in counts.items())
        raise DataError(
            "split",
            expected=f"at most {free} subjects, as many as the cohort has to deal",
            got=f"{sum(counts.values())} ({asked})",
            advice="Lower the counts or add subjects.",
        )
