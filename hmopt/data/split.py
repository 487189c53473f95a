"""The disjoint train, tune and search sets of subjects."""

from collections.abc import Sequence

import numpy as np

from hmopt.declaration import SplitOptions
from hmopt.errors import DataError

SIDES = ("train", "tune", "search")


def split_subjects(subjects: Sequence[str], options: SplitOptions) -> dict[str, list[str]]:
    """Return the subjects of the train, tune and search sets, which are disjoint.

    Named subjects are set aside first. Counts are then filled, set after set, from a random
    permutation of the other subjects. Subjects that are left over belong to no set.

    Parameters
    ----------
    subjects
        Subjects of the cohort's images; their order and repetitions do not matter.
    options
        For each set the number of subjects, or their names.

    Returns
    -------
    dict
        Sorted names of subjects, by `train`, `tune` and `search`.

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
    declared: dict[str, int | list[str]] = {side: getattr(options, side) for side in SIDES}
    named: list[str] = []
    counts: dict[str, int] = {}
    for side, value in declared.items():
        if isinstance(value, int):
            counts[side] = value
        else:
            named += value
    _check_named(named, known)
    free = sorted(set(known) - set(named))
    _check_counts(counts, len(free))

    rng = np.random.default_rng(options.seed)
    order = rng.permutation(len(free))
    shuffled = [free[place] for place in order]
    split: dict[str, list[str]] = {}
    for side, value in declared.items():
        if isinstance(value, int):
            chosen = shuffled[:value]
            shuffled = shuffled[value:]
        else:
            chosen = value
        split[side] = sorted(chosen)
    return split


def _check_named(named: list[str], known: list[str]) -> None:
    unknown = [name for name in named if name not in known]
    if unknown:
        raise DataError(
            "split",
            expected="subjects of the cohort",
            got=", ".join(unknown),
            advice="Correct the names or leave them out.",
        )
    repeated = sorted({name for name in named if named.count(name) > 1})
    if repeated:
        raise DataError(
            "split",
            expected="each subject once",
            got=f"{', '.join(repeated)} twice",
            advice="List each name once.",
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
    total = sum(counts.values())
    if total > free:
        each = " + ".join(f"{count} {side}" for side, count in counts.items())
        raise DataError(
            "split",
            expected=f"at most {free} subjects, the number that the cohort has left to assign",
            got=f"{total} ({each})",
            advice="Lower the counts or add subjects.",
        )
