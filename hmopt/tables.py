"""Tables as CSV: written so that no spreadsheet takes a name for a formula, and read back as they were."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hmopt.errors import HmoptError
from hmopt.files import one_line, replacing

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*(\s*[=+\-@＝＋－＠]|[\t\r\n])")
"""What a spreadsheet takes for the beginning of a formula, or the mark of it that `neutralized` set."""
_NUMBER = re.compile(r"'*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|'*[+-]?(inf|nan)", re.IGNORECASE)


def neutralized(text: str) -> str:
    """Return text as it stands in a cell: an apostrophe before what a spreadsheet would compute. Numbers stay.

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
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def write_table(
    table: "pd.DataFrame", path: Path, separator: str = ",", float_format: str | None = None
) -> None:
    """Write a table whole, without its index, formulas in its cells and in names of columns neutralized.

    Parameters
    ----------
    table
        Columns of text or numbers.
    path
        The file.
    separator
        Between cells.
    float_format
        Of numbers, as `%.6g`; None: all their digits.

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
            cells = [neutralized(cell) if isinstance(cell, str) else cell for cell in column]
            safe.isetitem(place, cells)
    safe.columns = [neutralized(str(name)) for name in table.columns]
    with replacing(path) as beside:
        safe.to_csv(beside, sep=separator, index=False, float_format=float_format)


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
        One sentence that says what to do where it cannot be read.

    Raises
    ------
    HmoptError
        If it is no such table, or lacks a column. A file that is not there is a FileNotFoundError.
    """
    import pandas as pd

    def refuse(expected: str, got: str) -> HmoptError:
        return HmoptError(str(path), expected=expected, got=got, advice=advice)

    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise refuse("a CSV table", one_line(error)) from error
    if not rows:
        raise refuse("a CSV table", "an empty file")
    columns = [restored(name) for name in rows[0]]
    lacking = [name for name in needed if name not in columns]
    if lacking:
        raise refuse(f"columns {', '.join(needed)}", f"no {', '.join(lacking)}")
    if len(set(columns)) < len(columns):
        raise refuse("each column once", ", ".join(columns))
    uneven = next(
        (place for place, row in enumerate(rows, start=1) if len(row) != len(columns)), None
    )
    if uneven is not None:
        raise refuse(
            f"{len(columns)} cells in each row", f"{len(rows[uneven - 1])} in row {uneven}"
        )
    if not text.endswith("\n"):
        raise refuse("whole rows", "a last row that was cut short")
    cells = [[restored(cell) for cell in row] for row in rows[1:]]
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
        If it is no such table, lacks a column, or a cell holds what is no finite number. A file that is not there is
        a FileNotFoundError.

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
        whole = (
            len(given) == len(column)
            and bool(given.str.fullmatch(r"[+-]?\d+").all())
            and len(given) > 0
        )
        numbers[name] = values.astype(np.int64) if whole else values.reindex(column.index)
    return numbers
