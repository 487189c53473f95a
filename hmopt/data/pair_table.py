"""Pairs as a table, with the groups that they fall into."""

import itertools
from bisect import bisect_right
from collections.abc import Mapping, Sequence

import pandas as pd

from hmopt.data.prepared import OWN_COLUMNS, PreparedCohort
from hmopt.errors import DeclarationError
from hmopt.records import Pair

MISSING = "unknown"
ARROW = "→"
OF_PAIRS = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]


def pair_table(
    pairs: Sequence[Pair], cohort: PreparedCohort, bins: Mapping[str, Sequence[float]]
) -> pd.DataFrame:
    """Give one row a pair: who it is of, and its group by every column of the manifest.

    A group is the value that both images have, or `A→B` where they differ.

    Parameters
    ----------
    pairs
        Pairs of images of the cohort.
    cohort
        The prepared cohort.
    bins
        Edges by which numeric columns are cut: `{"age": [60, 75]}` gives `<60`, `60–75` and `≥75`.

    Returns
    -------
    DataFrame
        Columns `pair, moving, fixed, moving_subject, fixed_subject, task`, then those of the manifest, as text.

    Raises
    ------
    DeclarationError
        If `bins` names what is no numeric column, or edges do not rise.
    """
    columns = [str(column) for column in cohort.images if column not in OWN_COLUMNS]
    for name, edges in bins.items():
        _check_bins(name, edges, cohort.images, columns)
    rows = [
        {
            "pair": pair.id,
            "moving": pair.moving,
            "fixed": pair.fixed,
            "moving_subject": pair.moving_subject,
            "fixed_subject": pair.fixed_subject,
            "task": pair.task,
        }
        for pair in pairs
    ]
    table = pd.DataFrame(rows, columns=OF_PAIRS)
    for column in columns:
        group_of = {
            name: _group(value, bins.get(column)) for name, value in cohort.images[column].items()
        }
        sides = [(group_of[pair.moving], group_of[pair.fixed]) for pair in pairs]
        table[column] = [a if a == b else f"{a}{ARROW}{b}" for a, b in sides]
    return table


def subject_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Give what the groups of pairs tell about each subject: a row each, numbers where a column has nothing else.

    A value that is not the same in all images of a subject is none of the subject, and is missing.

    Parameters
    ----------
    table
        As of `pair_table`.

    Examples
    --------
    >>> rows = [("a->b", "a", "b", "a", "b", "cross", "20→31"), ("b->c", "b", "c", "b", "c", "cross", "31")]
    >>> subject_columns(pd.DataFrame(rows, columns=[*OF_PAIRS, "age"]))["age"].to_dict()
    {'a': 20, 'b': 31, 'c': 31}
    """
    subjects = pd.concat([table["moving_subject"], table["fixed_subject"]], ignore_index=True)
    columns = [column for column in table.columns if column not in OF_PAIRS]
    return pd.DataFrame({column: _of_subjects(table[column], subjects) for column in columns})


def _of_subjects(groups: pd.Series, subjects: pd.Series) -> pd.Series:
    sides = groups.str.partition(ARROW)
    fixed = sides[2].where(sides[1] == ARROW, sides[0])
    values = pd.concat([sides[0], fixed], ignore_index=True).replace({MISSING: None, "": None})
    own = values.groupby(subjects)
    known = own.first().where(own.nunique() == 1)
    numbers = pd.to_numeric(known, errors="coerce")
    return numbers if numbers.notna().equals(known.notna()) else known


def _group(value: object, edges: Sequence[float] | None) -> str:
    if value == "" or pd.isna(value):  # type: ignore[call-overload]
        return MISSING
    if not isinstance(value, int | float):
        return str(value)
    if not edges:
        return f"{value:g}"
    above = bisect_right(edges, value)
    if above == 0:
        return f"<{edges[0]:g}"
    return f"≥{edges[-1]:g}" if above == len(edges) else f"{edges[above - 1]:g}–{edges[above]:g}"


def _check_bins(
    name: str, edges: Sequence[float], images: pd.DataFrame, columns: Sequence[str]
) -> None:
    if name not in columns or not pd.api.types.is_numeric_dtype(images[name]):
        raise DeclarationError(
            f"search.bins.{name}",
            expected="a numeric column of the manifest",
            got=name,
            advice="Correct the name.",
        )
    if not edges or any(a >= b for a, b in itertools.pairwise(edges)):
        raise DeclarationError(
            f"search.bins.{name}", expected="rising edges", got=list(edges), advice="Sort them."
        )
