"""Pairs as a table, with the groups that they belong to by the columns of the manifest."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hmopt.data.prepared import OWN_COLUMNS, PreparedCohort
from hmopt.errors import DeclarationError
from hmopt.records import Pair

MISSING = "unknown"
ARROW = "→"
OF_PAIRS = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]


def pair_table(
    pairs: Sequence[Pair],
    cohort: PreparedCohort,
    bins: Mapping[str, Sequence[float]],
) -> pd.DataFrame:
    """Return one row a pair: its images, its subjects, and its group by every manifest column.

    A group is the value that both images have, or `A→B` where they differ.

    Parameters
    ----------
    pairs
        Pairs of images of the cohort.
    cohort
        The prepared cohort.
    bins
        Edges by which numeric columns are cut, lower edges included: `{"age": [60, 75]}` gives
        the groups `<60`, `60–75` and `≥75`.

    Returns
    -------
    DataFrame
        Columns `pair, moving, fixed, moving_subject, fixed_subject, task`, then those of the
        manifest, as text.

    Raises
    ------
    DeclarationError
        If `bins` names what is no numeric column, or edges do not rise.
    """
    columns = [str(column) for column in cohort.images if column not in OWN_COLUMNS]
    check_bins(bins, cohort.images)
    rows = [
        (
            pair.id,
            pair.moving,
            pair.fixed,
            pair.moving_subject,
            pair.fixed_subject,
            pair.task,
        )
        for pair in pairs
    ]
    table = pd.DataFrame(rows, columns=OF_PAIRS)
    further = {}
    for column in columns:
        groups = _groups(cohort.images[column], bins.get(column))
        moving = groups.loc[table["moving"]].to_numpy()
        fixed = groups.loc[table["fixed"]].to_numpy()
        further[column] = np.where(moving == fixed, moving, moving + ARROW + fixed)
    # all at once: columns that are added one by one take long where there are thousands
    return pd.concat([table, pd.DataFrame(further, index=table.index)], axis=1)


def subject_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return the values of each subject, from the groups of its pairs.

    A value that is not the same in all images of a subject is missing.

    Parameters
    ----------
    table
        As of `pair_table`.

    Returns
    -------
    DataFrame
        One row a subject; a column is numeric where all its known values are numbers.

    Examples
    --------
    >>> pairs = [["a->b", "a", "b", "a", "b", "cross"], ["b->c", "b", "c", "b", "c", "cross"]]
    >>> table = pd.DataFrame(pairs, columns=OF_PAIRS).assign(age=["20→31", "31"])
    >>> subject_columns(table)["age"].to_dict()
    {'a': 20, 'b': 31, 'c': 31}
    """
    subjects = pd.concat([table["moving_subject"], table["fixed_subject"]], ignore_index=True)
    values = {}
    for column in table.columns:
        if column not in OF_PAIRS:
            values[column] = _by_subject(table[column], subjects)
    return pd.DataFrame(values)


def _by_subject(groups: pd.Series, subjects: pd.Series) -> pd.Series:
    sides = groups.str.partition(ARROW)
    moving = sides[0]
    fixed = sides[2].where(sides[1] == ARROW, moving)
    values = pd.concat([moving, fixed], ignore_index=True)
    values = values.replace({MISSING: None, "": None})
    own = values.groupby(subjects)
    is_constant = own.nunique() == 1
    known = own.first().where(is_constant)
    numbers = pd.to_numeric(known, errors="coerce")
    all_numbers = numbers.notna().equals(known.notna())
    return numbers if all_numbers else known


def _groups(values: pd.Series, edges: Sequence[float] | None) -> pd.Series:
    """Return the group of every image by one column, as text."""
    missing = values.isna() | (values == "")
    if not pd.api.types.is_numeric_dtype(values):
        groups = values.astype(str)
    elif edges:
        groups = pd.cut(
            values,
            bins=[-np.inf, *edges, np.inf],
            right=False,
            labels=_bin_names(edges),
            ordered=False,
        )
    else:
        # every digit counts: a column may hold serial numbers or dates
        groups = values.map("{:.15g}".format)
    return groups.astype(object).where(~missing, MISSING)


def _bin_names(edges: Sequence[float]) -> list[str]:
    lowest = f"<{edges[0]:g}"
    between = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(edges)]
    highest = f"≥{edges[-1]:g}"
    return [lowest, *between, highest]


def check_bins(bins: Mapping[str, Sequence[float]], images: pd.DataFrame) -> None:
    """Refuse bins of what is no numeric column of the manifest, or whose edges do not rise.

    Parameters
    ----------
    bins
        As of `pair_table`.
    images
        With the columns of the manifest.

    Raises
    ------
    DeclarationError
        If there are such bins.
    """
    columns = [str(column) for column in images if column not in OWN_COLUMNS]
    for name, edges in bins.items():
        _check_bins(name, edges, images, columns)


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
    if not edges or any(low >= high for low, high in itertools.pairwise(edges)):
        raise DeclarationError(
            f"search.bins.{name}",
            expected="rising edges",
            got=list(edges),
            advice="Sort them.",
        )
