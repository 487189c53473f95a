"""Text tables as spreadsheets and other programs export them."""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.csv_tables import is_one_line
from hmopt.data.formats import pointer_of
from hmopt.errors import DataError
from hmopt.files import read_whole

DELIMITERS = (",", ";", "\t")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How ZIP archives begin, which .xlsx and .ods are, and the .xls of old."""
_BLANKS_AFTER_QUOTE = re.compile(r'"[ \xa0]+(?=[,;\t\r\n]|$)')
_ONLY_FOR_THE_EYE = "\ufeff\u200b\u200e\u200f"


def read_text(path: Path) -> str:
    r"""Read a text in UTF-8, UTF-16 or Windows' code page 1252, with or without byte order mark.

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
        content = read_whole(path)
    except FileNotFoundError as error:
        raise DataError(
            str(path), expected="a text file", got="no file", advice="Correct the path."
        ) from error
    except OSError as error:
        raise DataError(
            str(path),
            expected="a text file",
            got=error.strerror or str(error),
            advice="Correct the path.",
        ) from error
    _check_is_text(path, content)
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
    r"""Read a table as text, without blanks and empty rows.

    Columns are separated by commas, semicolons or tabs, whichever the first line has most of.
    Blanks around values and names of columns, empty rows and empty columns without a name are left
    out.

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
        If the file has no columns, a column twice, a row with more values than there are columns,
        or a quote that is not closed.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> _ = path.write_text("Moving ; fixed;;\n a;b;;\n;;;\n")
    >>> read_table(path, "a CSV").to_dict("index")
    {2: {'Moving': 'a', 'fixed': 'b'}}
    """
    text = read_text(path)
    return parse_table(text, path, kind)


def parse_table(
    text: str, path: Path, kind: str, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the table that a text holds.

    `path` is what errors name, and `columns` the names of the columns where the text has none; the rest is as of
    `read_table`.
    """
    lines = _rows(text, path, kind)
    if not lines:
        raise DataError(str(path), expected=kind, got="an empty file", advice="Correct the file.")
    if "\0" in text:
        raise DataError(str(path), expected=kind, got="a NUL character", advice="Correct the file.")
    if columns is None:
        (_, header), *lines = lines
    else:
        header = list(columns)
    rows = [(line, values) for line, values in lines if any(values)]
    width = _length(header)
    for line, values in rows:
        if _length(values) > width:
            raise DataError(
                f"{path}, line {line}",
                expected=f"{width} values",
                got=f"{_length(values)} values: {', '.join(values)}",
                advice="Put quotes around a value that holds the separator.",
            )
    padded = [(values + [""] * width)[:width] for _, values in rows]
    cells = np.array(padded, dtype=object).reshape(len(rows), width)
    named = [place for place in range(width) if header[place]]
    for place in range(width):
        if not header[place] and (cells[:, place] != "").any():
            raise DataError(
                str(path),
                expected="a name for every column",
                got=f"none for column {place + 1}",
                advice="Name it in the first line.",
            )
    names = [header[place] for place in named]
    for name in names:
        check_name(name, str(path))
    _check_columns_once(names, path)
    index = pd.Index([line for line, _ in rows], name="line", dtype="int64")
    return pd.DataFrame(cells[:, named], columns=names, index=index, dtype=str)


def _check_is_text(path: Path, content: bytes) -> None:
    """Refuse a workbook, and what stands in place of a file that was not fetched."""
    if content.startswith(_WORKBOOKS):
        raise DataError(
            str(path),
            expected="a text file",
            got="an Excel workbook, or another archive",
            advice="Save it as CSV.",
        )
    pointer = pointer_of(content)
    if pointer is not None:
        raise DataError(str(path), expected="a text file", got=pointer, advice="Fetch it.")


def rename_columns(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a table in which columns of some names are in lower case, however they were written.

    Examples
    --------
    >>> list(rename_columns(pd.DataFrame(columns=["Image", "Age"]), ["image"]).columns)
    ['image', 'Age']
    """
    columns = table.columns
    renamed = {}
    for column in columns:
        name = column.lower()
        if name in names and name not in columns:
            renamed[column] = name
    return table.rename(columns=renamed)


def _rows(text: str, path: Path, kind: str) -> list[tuple[int, list[str]]]:
    """Return line and values of every row of a text, from the first that is not empty."""
    text = text.lstrip(_ONLY_FOR_THE_EYE)
    first, _, rest = text.partition("\n")
    skipped = 0
    if first.lower().startswith("sep="):  # Excel's own first line
        skipped = 1
        text = rest
        first, _, _ = rest.partition("\n")
    delimiter = max(DELIMITERS, key=first.count)
    try:
        return _parsed(text, delimiter, skipped)
    except _BrokenRowError as broken:
        first_fault = broken
    try:
        # blanks behind a quoted value are no part of it
        return _parsed(_BLANKS_AFTER_QUOTE.sub('"', text), delimiter, skipped)
    except _BrokenRowError:
        raise DataError(
            f"{path}, line {first_fault.line}",
            expected=f"{kind} whose quotes are closed",
            got=str(first_fault),
            advice="Close the quote, or remove it.",
        ) from first_fault


class _BrokenRowError(Exception):
    """A row that breaks the rules of quotes, and the line at which it begins."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def _parsed(text: str, delimiter: str, skipped: int) -> list[tuple[int, list[str]]]:
    """Return line and values of every row of a text; `skipped` lines were left out before it."""
    # strict: a quote that is not closed would swallow the rows behind it
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows: list[tuple[int, list[str]]] = []
    line = skipped
    try:
        for row in reader:
            values = [_cleaned(value) for value in row]
            line = reader.line_num + skipped
            if rows or any(values):
                rows.append((line, values))
    except csv.Error as error:
        raise _BrokenRowError(line + 1, str(error)) from error
    return rows


def check_name(name: str, place: str) -> None:
    """Refuse a name that is no line of text: tables and pages could not show it.

    Parameters
    ----------
    name
        Of a column, a subject or a label.
    place
        What an error names: the file, or a line of it.

    Raises
    ------
    DataError
        If it holds a line break or another control character.

    Examples
    --------
    >>> check_name(f"left{chr(13)}half", "dseg.tsv, line 2")
    Traceback (most recent call last):
    hmopt.errors.DataError: dseg.tsv, line 2: expected a name in one line, without control characters, got ...
    """
    if not is_one_line(name):
        raise DataError(
            place,
            expected="a name in one line, without control characters",
            got=repr(name),
            advice="Rename it.",
        )


def _cleaned(value: str) -> str:
    """Return a value without blanks around it, its accented letters in one way of writing them."""
    return unicodedata.normalize("NFC", value.strip().strip(_ONLY_FOR_THE_EYE).strip())


def _length(values: Sequence[str]) -> int:
    """Return the number of values up to the last that is not empty."""
    length = 0
    for place, value in enumerate(values):
        if value:
            length = place + 1
    return length


def _check_columns_once(columns: Sequence[str], path: Path) -> None:
    counts = Counter(name.lower() for name in columns)
    repeated = sorted({name for name in columns if counts[name.lower()] > 1})
    if repeated:
        raise DataError(
            str(path),
            expected="each column once",
            got=f"{', '.join(repeated)}: more than one of a name",
            advice="Rename or remove the repeated ones.",
        )
