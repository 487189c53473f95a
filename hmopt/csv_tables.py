"""Tables in CSV files: no cell can be taken for a formula by a spreadsheet, and all are read back as they were."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hmopt.errors import HmoptError
from hmopt.files import one_line, read_whole, replacing

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*(\s*[=+\-@＝＋－＠]|[\t\r\n])")
"""Beginning of a formula, possibly behind apostrophes that `neutralized` set before it."""
_NUMBER = re.compile(r"'*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|'*[+-]?(inf|nan)", re.IGNORECASE)

_NOT_IN_A_NAME = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of Unicode: control characters, halves of surrogate pairs, separators of lines and paragraphs."""


def is_one_line(text: str) -> bool:
    """Return whether a text is one line without control characters: a name that tables and pages can show.

    Half of a surrogate pair, which no file in UTF-8 can hold, is refused, too.

    Examples
    --------
    >>> is_one_line("left thalamus, pars prima"), is_one_line(f"left{chr(13)}thalamus")
    (True, False)
    """
    return all(unicodedata.category(character) not in _NOT_IN_A_NAME for character in text)


def quoting_of(texts: Iterable[object]) -> Literal[0, 1]:
    """Return how the `csv` module and pandas quote cells of some texts so that these are read back as they are.

    A carriage return alone ends a row for readers, but writers put no quotes around it: then every cell gets quotes.

    Examples
    --------
    >>> quoting_of(["left", "right"]) == csv.QUOTE_MINIMAL, quoting_of([f"left{chr(13)}half"]) == csv.QUOTE_ALL
    (True, True)
    """
    has_return = any(isinstance(text, str) and "\r" in text for text in texts)
    return csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL


def table_quoting(table: "pd.DataFrame") -> Literal[0, 1]:
    """Return `quoting_of` the cells and names of columns of a table."""
    columns = [column for _, column in table.items() if column.dtype.kind not in "biufc"]
    return quoting_of(chain(table.columns, *columns))


def neutralized(text: str) -> str:
    """Return text as a cell: with an apostrophe before it where a spreadsheet would compute it. Numbers stay.

    References
    ----------
    OWASP, CSV Injection, https://owasp.org/www-community/attacks/CSV_Injection.

    Examples
    --------
    >>> neutralized("=1+1"), neutralized("-0.5"), neutralized("thalamus"), neutralized("'=1")
    ("'=1+1", '-0.5', 'thalamus', "''=1")
    """
    return f"'{text}" if _is_formula(text) else text


def restored(cell: str) -> str:
    """Return the text that `neutralized` made a cell of.

    Examples
    --------
    >>> restored("'=1+1"), restored("-0.5"), restored("'quoted'")
    ('=1+1', '-0.5', "'quoted'")
    """
    text = cell.removeprefix("'")
    was_neutralized = text != cell and _is_formula(text)
    return text if was_neutralized else cell


def _is_formula(text: str) -> bool:
    if _NUMBER.fullmatch(text):
        return False
    return _FORMULA.match(text) is not None


def write_table(
    table: "pd.DataFrame", path: Path, separator: str = ",", float_format: str | None = None
) -> None:
    """Write a table without its index, whole or not at all.

    Formulas in cells and names of columns are neutralized.

    Parameters
    ----------
    table
        Columns of text or numbers.
    path
        The file.
    separator
        Between cells.
    float_format
        Format of numbers, as `%.6g`; None: all digits.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> path = Path(tempfile.mkdtemp()) / "table.csv"
    >>> write_table(pd.DataFrame({"label": ["=cmd()", "left"], "change": [-0.5, 2.0]}), path)
    >>> path.read_text().splitlines()
    ['label,change', "'=cmd(),-0.5", 'left,2.0']
    >>> read_text_table(path)["label"].to_list()
    ['=cmd()', 'left']
    """
    safe = table.copy()
    for place, (_, column) in enumerate(table.items()):
        if column.dtype.kind not in "biufc":
            safe.isetitem(place, [_neutralized_cell(cell) for cell in column])
    safe.columns = [neutralized(str(name)) for name in table.columns]
    with replacing(path) as beside:
        safe.to_csv(
            beside,
            sep=separator,
            index=False,
            float_format=float_format,
            quoting=table_quoting(safe),
        )


def _neutralized_cell(cell: object) -> object:
    return neutralized(cell) if isinstance(cell, str) else cell


def read_text_table(
    path: Path, needed: Sequence[str] = (), advice: str = "Correct the file."
) -> "pd.DataFrame":
    """Read what `write_table` wrote, every cell as text.

    Parameters
    ----------
    path
        The file.
    needed
        Columns that it must have.
    advice
        Advice of the error where it cannot be read: one sentence that says what to do.

    Raises
    ------
    HmoptError
        If it is no such table, or lacks a column. A missing file is a FileNotFoundError.
    """
    import pandas as pd

    def refuse(expected: str, got: str) -> HmoptError:
        return HmoptError(str(path), expected=expected, got=got, advice=advice)

    try:
        text = read_whole(path).decode("utf-8-sig")
        lines = io.StringIO(text, newline="")
        rows = [row for row in csv.reader(lines, strict=True) if row]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise refuse("a CSV table", one_line(error)) from error
    if not rows:
        raise refuse("a CSV table", "an empty file")
    header, *body = rows
    columns = [restored(name) for name in header]
    lacking = [name for name in needed if name not in columns]
    if lacking:
        raise refuse(f"columns {', '.join(needed)}", f"no {', '.join(lacking)}")
    if len(set(columns)) < len(columns):
        raise refuse("each column once", ", ".join(columns))
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise refuse(f"{len(columns)} cells in each row", f"{len(row)} in row {number}")
    if not text.endswith("\n"):
        raise refuse("whole rows", "a last row that was cut short")
    cells = [list(map(restored, row)) for row in body]
    return pd.DataFrame(cells, columns=columns, dtype=str)


def read_number_table(
    path: Path, needed: Sequence[str] = (), advice: str = "Correct the file."
) -> "pd.DataFrame":
    """Read a table of numbers; a cell may be empty.

    Parameters
    ----------
    path, needed, advice
        As for `read_text_table`.

    Raises
    ------
    HmoptError
        If it is no such table, lacks a column, or a cell is no finite number. A missing file is a
        FileNotFoundError.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "training.csv"
    >>> _ = path.write_text(f"step,loss{chr(10)}1,x{chr(10)}")
    >>> read_number_table(path)
    Traceback (most recent call last):
    hmopt.errors.HmoptError: ...training.csv: expected numbers in column loss, got 'x'. Correct the file.
    """
    import numpy as np
    import pandas as pd

    text = read_text_table(path, needed, advice)
    numbers = pd.DataFrame(index=text.index)
    for name, column in text.items():
        given = column[column != ""]
        values = pd.to_numeric(given, errors="coerce").astype(np.float64)
        wrong = given[~np.isfinite(values)]
        if len(wrong):
            rule = f"numbers in column {name}"
            raise HmoptError(str(path), expected=rule, got=repr(wrong.iloc[0]), advice=advice)
        is_full = len(given) == len(column) > 0
        if is_full and given.str.fullmatch(r"[+-]?\d+").all():
            numbers[name] = values.astype(np.int64)
        else:
            numbers[name] = values.reindex(column.index)  # an empty cell is NaN
    return numbers
