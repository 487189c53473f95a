"""Pairs as a table, with the groups that they fall into."""

import itertools
from bisect import bisect_right
from collections.abc import Mapping, Sequence

import pandas as pd

from hmopt.data.prepared import OWN_COLUMNS, PreparedCohort
from hmopt.errors import DeclarationError
from hmopt.records import Pair

MISSING = "unknown"


def pair_table(pairs: Sequence[Pair], cohort: PreparedCohort, bins: Mapping[str, Sequence[float]]) -> pd.DataFrame:
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
    table = pd.DataFrame(rows, columns=["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"])
    for column in columns:
        group_of = {name: _group(value, bins.get(column)) for name, value in cohort.images[column].items()}
        sides = [(group_of[pair.moving], group_of[pair.fixed]) for pair in pairs]
        table[column] = [a if a == b else f"{a}→{b}" for a, b in sides]
    return table


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


def _check_bins(name: str, edges: Sequence[float], images: pd.DataFrame, columns: Sequence[str]) -> None:
    if name not in columns or not pd.api.types.is_numeric_dtype(images[name]):
        raise DeclarationError(
            f"search.bins.{name}", expected="a numeric column of the manifest", got=name, advice="Correct the name."
        )
    if not edges or any(a >= b for a, b in itertools.pairwise(edges)):
        raise DeclarationError(f"search.bins.{name}", expected="rising edges", got=list(edges), advice="Sort them.")
