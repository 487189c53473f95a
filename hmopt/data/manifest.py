"""The images that a CSV manifest lists."""

import difflib
import errno
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.data.spreadsheets import check_name, read_table, rename_columns
from hmopt.errors import DataError
from hmopt.files import given_path, leads_nowhere, one_line

REQUIRED = ("image", "subject")
OPTIONAL = ("label", "points")
"""Columns of files that a manifest may have."""
RESERVED = (
    "name",
    "scan",
    "slice",
    "split",
    "pair",
    "moving",
    "fixed",
    "moving_subject",
    "fixed_subject",
    "task",
)
ERRORS = ("#N/A", "#NAME?", "#REF!", "#VALUE!", "#NULL!", "#DIV/0!", "#NUM!")
"""What spreadsheets write where a formula failed."""

UNKNOWN = ("", "n/a", "na", "nan", "null", *(error.lower() for error in ERRORS))
"""What stands in columns of text where a value is not known, in lower case; "none" can be a value."""
MISSING = (*UNKNOWN, "none")
"""The same in columns of numbers."""

NOT_KNOWN = ("n/a", "nan")
"""What BIDS and pandas write for a value that is not known, in lower case."""

_LONGEST_PATH = 4096
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE = re.compile(r"^[A-Za-z]:[\\/]")
_ZERO_PADDED = re.compile(r"[+-]?0\d")
_DECIMALS = re.compile(r"^(\d+)\.0+$")


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest: `image` and `label` as paths, `subject` as text, then the other columns.

    Paths are relative to the manifest; `~` and environment variables are replaced. Without a column
    `label`, each image stands in place of its label map: the whole of it is one structure. A column
    `points` holds paths too, None where an image has no points.

    Raises
    ------
    DataError
        If the file is no table, lacks a column or a value, or has a column that hmopt makes
        itself.
    """
    table = rename_columns(read_table(path, "a CSV manifest"), [*REQUIRED, *OPTIONAL])
    _check_columns(path, table)
    _check_values(path, table)
    images = _located(table["image"], path)
    labels = _located(table["label"], path) if "label" in table else images
    if "label" in table and labels == images:
        raise DataError(
            str(path),
            expected="label maps in the column label",
            got="the images themselves",
            advice="Correct the column, or leave it out.",
        )
    rows = pd.DataFrame(
        {
            "image": images,
            "label": labels,
            "subject": _without_decimals(table["subject"]),
        }
    )
    if "points" in table:
        rows["points"] = pd.Series(_located_points(table["points"], path), dtype=object)
    others = table.columns.difference([*REQUIRED, *OPTIONAL], sort=False)
    further = {str(column): typed(table[column]).to_numpy() for column in others}
    # all at once: thousands of columns that are added one by one take minutes
    return pd.concat([rows, pd.DataFrame(further, index=rows.index)], axis=1)


def known_values(columns: pd.DataFrame) -> pd.DataFrame:
    """Return the values of columns as text, None where a value is not known: it equals no other.

    Examples
    --------
    >>> images = pd.DataFrame({"modality": ["T1", "n/a", "T2"], "age": [20.0, 31.0, float("nan")]})
    >>> known_values(images).to_dict("list")
    {'modality': ['T1', None, 'T2'], 'age': ['20.0', '31.0', None]}
    """
    known = {}
    for name, values in columns.items():
        text = values.astype(str).astype(object)
        unknown = values.isna() | text.str.strip().str.lower().isin(UNKNOWN)
        known[name] = text.where(~unknown, None)
    return pd.DataFrame(known, index=columns.index, dtype=object)


def typed(column: "pd.Series[str]") -> "pd.Series":
    """Return a column as numbers where all its known values are numbers, else as text.

    Examples
    --------
    >>> typed(pd.Series(["20", "n/a", "31"])).tolist()
    [20.0, nan, 31.0]
    >>> typed(pd.Series(["01", "02"])).tolist()
    ['01', '02']
    """
    # plain lists: a manifest may have thousands of columns, and pandas' texts are slow for few rows
    texts = column.tolist()
    known = np.array([text.lower() not in MISSING for text in texts], dtype=bool)
    given = np.array(texts, dtype=object)[known]
    if not len(given) or any(_ZERO_PADDED.match(text) for text in given):
        return column
    numbers = pd.to_numeric(given, errors="coerce")
    if pd.isna(numbers).any():
        return column
    if known.all():
        return pd.Series(numbers, index=column.index, name=column.name)
    with_gaps = np.full(len(texts), np.nan)
    with_gaps[known] = numbers
    return pd.Series(with_gaps, index=column.index, name=column.name)


def _check_columns(path: Path, table: pd.DataFrame) -> None:
    missing = [column for column in REQUIRED if column not in table]
    if missing or table.empty:
        columns = ", ".join(map(str, table.columns))
        got = f"no {', '.join(missing)} among {columns}" if missing else "no rows"
        raise DataError(
            str(path),
            expected=f"columns {', '.join(REQUIRED)} and rows",
            got=got,
            advice="Add them.",
        )
    reserved = [str(column) for column in table if column in RESERVED]
    if reserved:
        raise DataError(
            str(path),
            expected="columns with names of their own",
            got=", ".join(reserved),
            advice="Rename them.",
        )


def _check_values(path: Path, table: pd.DataFrame) -> None:
    for column in (*REQUIRED, "label"):
        if column not in table:
            continue
        values = table[column]
        missing = values[values.isin(["", *ERRORS])]
        if column == "subject":
            # in numbers it is not known, and so it is here: no two rows of it are one person
            missing = values[values.isin(["", *ERRORS]) | values.str.lower().isin(NOT_KNOWN)]
        if len(missing):
            raise DataError(
                f"{path}, line {missing.index[0]}",
                expected=f"a value for {column}",
                got=missing.iloc[0] or "none",
                advice="Add it.",
            )
    for line, subject in table["subject"].items():
        check_name(subject, f"{path}, line {line}")


def check_names(images: pd.DataFrame, place: str) -> None:
    """Refuse names of images, subjects or columns that are no line of text.

    Parameters
    ----------
    images
        By name.
    place
        What an error names: the manifest or the folder.

    Raises
    ------
    DataError
        If one holds a line break or another control character.
    """
    for name in [*images.columns, *images.index, *images["subject"]]:
        check_name(str(name), place)


def _without_decimals(subjects: "pd.Series[str]") -> list[str]:
    """Return subjects, without the `.0` that a spreadsheet appends to numbers.

    `1.0` becomes `1` only where all subjects are whole numbers.
    """
    whole = subjects.str.replace(_DECIMALS, r"\1", regex=True)
    all_whole = whole.map(str.isdecimal).all()
    chosen = whole if all_whole else subjects
    return chosen.tolist()


def _located(values: "pd.Series[str]", manifest: Path) -> list[Path]:
    files = []
    for line, value in values.items():
        origin = f"{manifest}, line {line}"
        if len(value) > _LONGEST_PATH:
            raise DataError(
                origin,
                expected="a path",
                got=f"a text of {len(value)} characters",
                advice="Correct it.",
            )
        files.append(_locate(value, manifest, origin))
    return files


def _located_points(values: "pd.Series[str]", manifest: Path) -> list[Path | None]:
    """Return the files of points; None where none is named."""
    files: list[Path | None] = []
    for line, value in values.items():
        if value.lower() in MISSING:
            files.append(None)
            continue
        origin = f"{manifest}, line {line}"
        files.append(_locate(value, manifest, origin))
    return files


def _locate(value: str, manifest: Path, origin: str) -> Path:
    """Return the file that a manifest names, which need not be there."""
    text = value.strip("\"'").removeprefix("file://")
    if _URL.match(text):
        raise DataError(
            origin,
            expected="a file on this machine",
            got=value,
            advice="Download it, and name the file.",
        )
    text = os.path.expandvars(text)
    if "$" in text and not _is_there(manifest.parent / text):
        raise DataError(
            origin,
            expected="a path",
            got=value,
            advice="Set the environment variable that it names.",
        )
    path = given_path(text, origin, DataError, folder=manifest.parent)
    if path.exists() or path.is_symlink():
        return path
    if "\\" in text:
        if _DRIVE.match(text) and os.name != "nt":
            raise DataError(
                origin,
                expected="a path of this machine",
                got=f"{value}, one of Windows",
                advice="Write paths relative to the manifest.",
            )
        path = manifest.parent / text.replace("\\", "/")
    return same_name_on_disk(path)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def same_name_on_disk(path: Path) -> Path:
    """Return the file whose name has the same letters, where accents are stored in another way."""
    if path.exists() or path.is_symlink() or not path.parent.is_dir() or path.name.isascii():
        return path
    composed = unicodedata.normalize("NFC", path.name)
    for other in path.parent.iterdir():
        if unicodedata.normalize("NFC", other.name) == composed:
            return other
    return path


def check_files(files: Sequence[Path], kind: str) -> None:
    """Refuse files that are not there, all of them in one line.

    Parameters
    ----------
    files
        Paths.
    kind
        "image" or "label".

    Raises
    ------
    DataError
        If one is missing, a folder, or a link to nothing, or its name is none.
    """
    for path in files:
        _check_name(path)
    dangling = [path for path in files if leads_nowhere(path)]
    if dangling:
        names = shown_names([path.name for path in dangling])
        raise DataError(
            str(dangling[0].parent),
            expected=f"{kind} files",
            got=f"links to files that are not there: {names}",
            advice="Fetch them (`datalad get`, `git annex get`), or take them out.",
        )
    special = [path for path in files if path.exists() and not path.is_file()]
    special = [path for path in special if not path.is_dir()]
    if special:
        raise DataError(
            str(special[0]),
            expected=f"the {kind} file",
            got="a pipe, a socket or a device",
            advice="Copy what it gives to a file, and name that.",
        )
    missing = [path for path in files if not path.is_file()]
    if not missing:
        return
    first, *others = missing
    if first.is_dir():
        raise DataError(
            str(first),
            expected=f"the {kind} file",
            got="a folder",
            advice="Name the file in it.",
        )
    more = f", nor {shown_names([path.name for path in others])}" if others else ""
    similar = _similar_name(first, taken={path.name for path in files if path.is_file()})
    raise DataError(
        str(first),
        expected=f"the {kind} file",
        got=f"no file{more}",
        advice=f"Did you mean {similar}?" if similar else "Add it or drop the row.",
    )


def _check_name(path: Path) -> None:
    """Refuse a name that no file can have, as one that is too long, or that is no text."""
    given_path(path.absolute(), "image file", DataError)
    try:
        os.stat(path)  # noqa: PTH116 (pathlib hides what is wrong with a name)
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
            return
        reason = error.strerror or one_line(error)
    except ValueError as error:
        reason = one_line(error)
    else:
        return
    raise DataError(
        f"{str(path)!r:.100}",
        expected="the name of a file",
        got=reason,
        advice="Correct it.",
    )


def _similar_name(path: Path, taken: set[str]) -> str | None:
    """Return the name of a file in the same folder that is nearly the same; None: there is none.

    Names that are taken are those of files of other rows.
    """
    if not path.parent.is_dir():
        return None
    names = [other.name for other in path.parent.iterdir()]
    names = [name for name in names if not name.startswith(".") and name not in taken]
    sought = path.name
    for name in names:
        if name.lower() == sought.lower():
            return name
    similar = difflib.get_close_matches(sought, names, n=1, cutoff=0.9)
    if not similar:
        return None
    return similar[0]


def shown_names(names: Sequence[str], most: int = 20) -> str:
    """Return the first of some names, and how many there are beside them.

    Examples
    --------
    >>> shown_names(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    hidden = len(names) - most
    return f"{shown} and {hidden} more" if hidden > 0 else shown
