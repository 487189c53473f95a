"""Pairs that a CSV lists."""

from pathlib import Path

import pandas as pd

from hmopt.csv_tables import restored
from hmopt.data.formats import image_name
from hmopt.data.spreadsheets import read_table, rename_columns
from hmopt.errors import DataError
from hmopt.records import Pair


def list_pairs(path: Path, items: pd.DataFrame) -> list[Pair]:
    """Give the pairs of a CSV with columns `moving` and `fixed`.

    Parameters
    ----------
    path
        The CSV; names are those of images, or of their slices. Two images stand for all slices that both have.
    items
        Rows of `PreparedCohort.images` that may be paired.

    Raises
    ------
    DataError
        If the file cannot be read, or a row names an image that is not among `items`, or the same twice.
    """
    table = read_pair_names(path)
    pairs: list[Pair] = []
    for line, moving, fixed in zip(table.index, table["moving"], table["fixed"], strict=True):
        pairs += _pairs_of_row(moving, fixed, items, f"{path}, line {line}")
    return list(dict.fromkeys(pairs))


def read_pair_names(path: Path) -> pd.DataFrame:
    """Read the names of images in a CSV with columns `moving` and `fixed`; the index holds the lines of the file.

    Raises
    ------
    DataError
        If the file cannot be read, or lists nothing.
    """
    table = rename_columns(
        read_table(path, "a CSV with columns moving and fixed"), ("moving", "fixed")
    )
    lacking = [column for column in ("moving", "fixed") if column not in table]
    if lacking:
        got = f"no {', '.join(lacking)}"
        raise DataError(
            str(path),
            expected="a CSV with columns moving and fixed",
            got=got,
            advice="Correct the file.",
        )
    if table.empty:
        raise DataError(
            str(path), expected="pairs", got="no rows", advice="List them, or leave out pairs.csv."
        )
    return table[["moving", "fixed"]].map(restored)


def _pairs_of_row(moving: str, fixed: str, items: pd.DataFrame, origin: str) -> list[Pair]:
    sides = [_by_slice(name, items, origin) for name in (moving, fixed)]
    pairs = [
        Pair(
            moving=name,
            fixed=sides[1][index][0],
            moving_subject=subject,
            fixed_subject=sides[1][index][1],
        )
        for index, (name, subject) in sides[0].items()
        if index in sides[1] and sides[1][index][0] != name
    ]
    if not pairs:
        raise DataError(
            origin,
            expected="two images, or the same slice of two",
            got=f"{moving} and {fixed}",
            advice="Correct the names.",
        )
    return pairs


def _by_slice(name: str, items: pd.DataFrame, origin: str) -> dict[int, tuple[str, str]]:
    # a file's own name is taken too, as spreadsheets list files
    names = (name, image_name(Path(name)))
    found = items[items.index.isin(names) | items["scan"].isin(names)]
    if found.empty:
        raise DataError(
            origin,
            expected="an image of a subject to search on",
            got=repr(name),
            advice="Correct the name, or put its subject into split.search.",
        )
    return {
        index: (item, subject)
        for item, index, subject in zip(found.index, found["slice"], found["subject"], strict=True)
    }
