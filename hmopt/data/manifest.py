"""The images that a CSV manifest lists."""

import difflib
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hmopt.data.spreadsheets import read_table, rename_columns
from hmopt.errors import DataError

REQUIRED = ("image", "label", "subject")
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

MISSING = ("", "n/a", "na", "nan", "none", "null", *(error.lower() for error in ERRORS))
"""What stands in columns of numbers where a number is not known, in lower case."""

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE = re.compile(r"^[A-Za-z]:[\\/]")
_NUMBER_OF_A_SPREADSHEET = re.compile(r"^(\d+)\.0+$")


def read_manifest(path: Path) -> pd.DataFrame:
    """Return the rows of a manifest: `image` and `label` as paths, `subject` as text, then the other columns.

    Paths are relative to the manifest; `~` and environment variables are replaced.

    Raises
    ------
    DataError
        If the file is no table, lacks a column or a value, or has a column that hmopt makes itself.
    """
    table = rename_columns(read_table(path, "a CSV manifest"), REQUIRED)
    lacking = [column for column in REQUIRED if column not in table]
    if lacking or table.empty:
        columns = ", ".join(map(str, table.columns))
        got = f"no {', '.join(lacking)} among {columns}" if lacking else "no rows"
        raise DataError(
            str(path),
            expected=f"columns {', '.join(REQUIRED)} and rows",
            got=got,
            advice="Add them.",
        )
    reserved = [str(column) for column in table if column in RESERVED]
    if reserved:
        got = ", ".join(reserved)
        raise DataError(
            str(path), expected="columns with names of their own", got=got, advice="Rename them."
        )
    for column in REQUIRED:
        for line, value in table[column].items():
            if value == "" or value in ERRORS:
                got = value or "none"
                raise DataError(
                    f"{path}, line {line}",
                    expected=f"a value for {column}",
                    got=got,
                    advice="Add it.",
                )
    files = {
        kind: [_locate(value, path, int(str(line))) for line, value in table[kind].items()]
        for kind in ("image", "label")
    }
    others = {
        str(column): typed(table[column]) for column in table.columns if column not in REQUIRED
    }
    subjects = _whole_numbers(table["subject"])
    return pd.DataFrame({**files, "subject": subjects, **others}).reset_index(drop=True)


def typed(column: "pd.Series[str]") -> "pd.Series":
    """Return a column as numbers where all its values that are known are numbers, else as text.

    Examples
    --------
    >>> typed(pd.Series(["20", "n/a", "31"])).tolist()
    [20.0, nan, 31.0]
    >>> typed(pd.Series(["01", "02"])).tolist()
    ['01', '02']
    """
    known = ~column.str.lower().isin(MISSING)
    given = column[known]
    padded = given.str.match(r"[+-]?0\d").any()
    numbers = pd.to_numeric(column.where(known), errors="coerce")
    return column if padded or given.empty or numbers[known].isna().any() else numbers


def _whole_numbers(subjects: "pd.Series[str]") -> list[str]:
    """Return subjects, without the `.0` of a spreadsheet that takes their numbers for measurements."""
    found = [_NUMBER_OF_A_SPREADSHEET.match(subject) for subject in subjects]
    numeric = all(
        match or subject.isdecimal() for match, subject in zip(found, subjects, strict=True)
    )
    if not numeric:
        return list(subjects)
    return [
        match.group(1) if match else subject for match, subject in zip(found, subjects, strict=True)
    ]


def _locate(value: str, manifest: Path, line: int) -> Path:
    """Return the file that a manifest names, which need not be there."""
    origin = f"{manifest}, line {line}"
    text = value.strip("\"'").removeprefix("file://")
    if _URL.match(text):
        advice = "Download it, and name the file."
        raise DataError(origin, expected="a file on this machine", got=value, advice=advice)
    text = os.path.expandvars(text)
    if "$" in text and not (manifest.parent / text).exists():
        raise DataError(
            origin,
            expected="a path",
            got=value,
            advice="Set the environment variable that it names.",
        )
    path = manifest.parent / Path(text).expanduser()
    if path.exists() or path.is_symlink():
        return path
    if "\\" in text:
        if _DRIVE.match(text) and os.name != "nt":
            advice = "Write paths relative to the manifest."
            raise DataError(
                origin,
                expected="a path of this machine",
                got=f"{value}, one of Windows",
                advice=advice,
            )
        path = manifest.parent / text.replace("\\", "/")
    return same_name_on_disk(path)


def same_name_on_disk(path: Path) -> Path:
    """Return the file whose name has the same letters, where accented ones are stored in another way."""
    if path.exists() or path.is_symlink() or not path.parent.is_dir() or path.name.isascii():
        return path
    plain = unicodedata.normalize("NFC", path.name)
    alike = [
        other
        for other in path.parent.iterdir()
        if unicodedata.normalize("NFC", other.name) == plain
    ]
    return alike[0] if alike else path


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
        If one is missing, a folder, or a link to nothing.
    """
    dangling = [path for path in files if path.is_symlink() and not path.exists()]
    if dangling:
        raise DataError(
            _shown([str(dangling[0].parent)]),
            expected=f"{kind} files",
            got=f"links to files that are not there: {_shown([path.name for path in dangling])}",
            advice="Fetch them (`datalad get`, `git annex get`), or take them out.",
        )
    missing = [path for path in files if not path.is_file()]
    if not missing:
        return
    first = missing[0]
    if first.is_dir():
        raise DataError(
            str(first), expected=f"the {kind} file", got="a folder", advice="Name the file in it."
        )
    more = f", nor {_shown([path.name for path in missing[1:]])}" if len(missing) > 1 else ""
    near = _near(first)
    advice = f"Did you mean {near}?" if near else "Add it or drop the row."
    raise DataError(str(first), expected=f"the {kind} file", got=f"no file{more}", advice=advice)


def _near(path: Path) -> str | None:
    if not path.parent.is_dir():
        return None
    names = [other.name for other in path.parent.iterdir() if not other.name.startswith(".")]
    same = [name for name in names if name.lower() == path.name.lower()]
    near = same or difflib.get_close_matches(path.name, names, n=1, cutoff=0.9)
    return near[0] if near else None


def _shown(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
