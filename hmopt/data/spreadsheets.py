"""Text tables as spreadsheets and other programs export them."""

import csv
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hmopt.errors import DataError

DELIMITERS = (",", ";", "\t")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_ONLY_FOR_THE_EYE = "\ufeff\u200b\u200e\u200f"


def read_text(path: Path) -> str:
    r"""Return the text of a file in UTF-8 or UTF-16, with or without a byte order mark, or in Windows' code page 1252.

    Raises
    ------
    DataError
        If the file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "names.json"
    >>> _ = path.write_bytes(b"\xef\xbb\xbf{}")
    >>> read_text(path)
    '{}'
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            str(path), expected="a text file", got=reason, advice="Correct the path."
        ) from error
    if content.startswith(_UTF_16):
        encoding = "utf-16"
    elif content[1:2] == b"\x00":
        encoding = "utf-16-le"
    elif content[:1] == b"\x00" and len(content) > 1:
        encoding = "utf-16-be"
    else:
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def read_table(path: Path, kind: str) -> pd.DataFrame:
    r"""Return a table as text, without what has no meaning in it.

    Columns are separated by commas, semicolons or tabs, whichever the first line has most of. Blanks around values
    and names of columns, empty rows and empty columns without a name are left out.

    Parameters
    ----------
    path
        The file.
    kind
        What an error says that the file should be, as "a CSV manifest".

    Returns
    -------
    DataFrame
        Text; the index holds the line of the file at which each row ends.

    Raises
    ------
    DataError
        If the file has no columns, a column twice, or a row with more values than there are columns.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> _ = path.write_text("Moving ; fixed;;\n a;b;;\n;;;\n")
    >>> read_table(path, "a CSV").to_dict("index")
    {2: {'Moving': 'a', 'fixed': 'b'}}
    """
    lines = _rows(read_text(path), path, kind)
    if not lines:
        raise DataError(str(path), expected=kind, got="an empty file", advice="Correct the file.")
    _, header = lines[0]
    rows = [(line, row) for line, row in lines[1:] if any(row)]
    width = _filled(header)
    for line, row in rows:
        if _filled(row) > width:
            got = f"{_filled(row)} values: {', '.join(row)}"
            advice = "Put quotes around a value that holds the separator."
            raise DataError(
                f"{path}, line {line}", expected=f"{width} values", got=got, advice=advice
            )
    columns = {place: name for place, name in enumerate(header) if name}
    used = {place for _, row in rows for place, value in enumerate(row) if value}
    unnamed = sorted(used - set(columns))
    if unnamed:
        got = f"none for column {unnamed[0] + 1}"
        raise DataError(
            str(path),
            expected="a name for every column",
            got=got,
            advice="Name it in the first line.",
        )
    _check_columns_once(list(columns.values()), path)
    values = [[row[place] if place < len(row) else "" for place in columns] for _, row in rows]
    numbers = pd.Index([line for line, _ in rows], name="line", dtype="int64")
    return pd.DataFrame(values, columns=list(columns.values()), index=numbers, dtype=str)


def rename_columns(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a table whose columns of some names are written in lower case, whatever their capitals were.

    Examples
    --------
    >>> list(rename_columns(pd.DataFrame(columns=["Image", "Age"]), ["image"]).columns)
    ['image', 'Age']
    """
    present = set(table.columns)
    lower = {column: column.lower() for column in table.columns if column.lower() in names}
    return table.rename(
        columns={column: name for column, name in lower.items() if name not in present}
    )


def _rows(text: str, path: Path, kind: str) -> list[tuple[int, list[str]]]:
    text = text.lstrip(_ONLY_FOR_THE_EYE)
    first, _, rest = text.partition("\n")
    declared = (
        first.strip().lower().removeprefix("sep=") if first.lower().startswith("sep=") else None
    )
    if declared is not None:  # Excel's own first line
        text, first = rest, rest.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    skipped = 0 if declared is None else 1
    try:
        rows = [(reader.line_num + skipped, [_cleaned(value) for value in row]) for row in reader]
    except csv.Error as error:
        raise DataError(
            str(path), expected=kind, got=str(error), advice="Correct the file."
        ) from error
    first_filled = next((place for place, (_, row) in enumerate(rows) if any(row)), len(rows))
    return rows[first_filled:]


def _cleaned(value: str) -> str:
    """Return a value without blanks around it, its accented letters in one way of writing them."""
    return unicodedata.normalize("NFC", value.strip().strip(_ONLY_FOR_THE_EYE).strip())


def _filled(row: Sequence[str]) -> int:
    return max((place + 1 for place, value in enumerate(row) if value), default=0)


def _check_columns_once(columns: Sequence[str], path: Path) -> None:
    lower = [name.lower() for name in columns]
    repeated = sorted({name for name in columns if lower.count(name.lower()) > 1})
    if repeated:
        got = f"{', '.join(repeated)}: more than one of a name"
        raise DataError(
            str(path),
            expected="each column once",
            got=got,
            advice="Rename or remove the repeated ones.",
        )
