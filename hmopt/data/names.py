"""Names of labels, from the tables that segmentation programs and data sets come with."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmopt.data.spreadsheets import check_name, parse_table, read_text
from hmopt.errors import DataError
from hmopt.files import leads_nowhere

BACKGROUND = 0
LARGEST_CODE = 10**18 - 1
"""Label maps hold whole numbers of 64 bits."""
_MOST_DIGITS = 1000
IGNORE = "ignore"
"""What nnU-Net calls voxels whose truth is not known."""

Row = tuple[int, str]
"""Code and name of a label."""

Regions = dict[str, frozenset[int]]
"""Codes by name, where names stand for several codes."""

_INDEX_COLUMNS = (
    "index",
    "id",
    "code",
    "value",
    "label_id",
    "labelid",
    "label_value",
    "labelvalue",
    "label",
    "no.",
    "no",
)
_NAME_COLUMNS = ("name", "label_name", "labelname", "structure", "region", "label", "description")
_COLOUR_ROW = re.compile(r"^\s*(\d+)\s+(\S.*?)((?:\s+\d+){3,4})\s*$")
_SNAP_ROW = re.compile(r'^\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.]+\s+[01]\s+[01]\s+"(.*)"\s*$')


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """What a table says about the codes of label maps.

    Parameters
    ----------
    names
        Names by code, without the background. Codes of one name belong to one structure.
    ignored
        Codes of voxels whose truth is not known: they are taken for background.
    notes
        What a user should know about the table, one sentence each.
    """

    names: dict[int, str]
    ignored: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


def read_label_table(path: Path) -> LabelTable:
    r"""Read a table of label names.

    Parameters
    ----------
    path
        One of

        - a table with columns `index` and `name`, separated by tabs, commas or semicolons (BIDS
          `dseg.tsv`);
        - a `dataset.json` whose key `labels` holds a name for each code (Medical Segmentation
          Decathlon), or a code or a list of codes for each name (nnU-Net, regions);
        - a colour table of FreeSurfer or 3D Slicer, rows of `code name R G B A`;
        - label descriptions of ITK-SNAP, rows of `code R G B A visible mesh "name"`.

    Raises
    ------
    DataError
        If the file cannot be read as any of these, or gives a code or a name twice.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "dseg.tsv"
    >>> _ = path.write_text("index\tname\n0\tbackground\n1\tanterior\n2\tposterior\n")
    >>> read_label_table(path).names
    {1: 'anterior', 2: 'posterior'}

    Overlapping regions become the parts that do not overlap:

    >>> path = Path(tempfile.mkdtemp()) / "dataset.json"
    >>> labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    >>> _ = path.write_text(json.dumps({"labels": labels}))
    >>> table = read_label_table(path)
    >>> table.names, table.ignored
    ({1: 'whole without core', 2: 'core'}, frozenset({3}))
    """
    if leads_nowhere(path):
        raise DataError(
            str(path),
            expected="a table of label names",
            got="a link to a file that is not there",
            advice="Fetch it (`datalad get`, `git annex get`) or remove the link.",
        )
    if not path.is_file():
        raise DataError(
            str(path),
            expected="a table of label names",
            got="a folder" if path.is_dir() else "no file",
            advice="Correct `label_names`.",
        )
    text = read_text(path)
    notes: list[str] = []
    if path.suffix.lower() == ".json" or text.lstrip().startswith("{"):
        rows, notes = _from_json(path, text)
    else:
        rows = _from_rows(path, text)
    _check_rows(rows, path)
    labels = [(code, name) for code, name in rows if code != BACKGROUND]
    ignored = frozenset(code for code, name in labels if name.lower() == IGNORE)
    names = {code: name for code, name in labels if code not in ignored}
    if not names:
        raise DataError(
            str(path),
            expected="names of labels",
            got="none",
            advice="Add a row for each label.",
        )
    negative = [code for code in names if code < 0]
    if negative:
        raise DataError(
            str(path),
            expected="codes of at least 0",
            got=negative[0],
            advice="Correct the table.",
        )
    if ignored:
        codes = ", ".join(map(str, sorted(ignored)))
        notes.append(
            f"{path.name}: label {codes} (ignore) is left out: its voxels count as background."
        )
    return LabelTable(names=names, ignored=ignored, notes=tuple(notes))


def _check_rows(rows: Sequence[Row], path: Path) -> None:
    """Refuse a label without a name, one whose name is no line of text, and a code that no label map can hold."""
    for code, name in rows:
        if not name and code != BACKGROUND:
            raise DataError(
                str(path),
                expected="a name for each label",
                got=f"an empty one for {code}",
                advice="Name the label.",
            )
        check_name(name, str(path))
        if abs(code) > LARGEST_CODE:
            raise _too_large(path, str(code))


def _too_large(path: Path, code: str) -> DataError:
    return DataError(
        str(path),
        expected="codes of label maps, of at most 18 digits",
        got=f"one of {len(code)}",
        advice="Correct the table.",
    )


def _code(text: str, path: Path) -> int:
    """Return a code that is written as a whole number, with or without zeros behind a point."""
    whole, _, _ = text.partition(".")
    if len(whole) > _MOST_DIGITS:  # more than Python reads, and than any label map holds
        raise _too_large(path, whole)
    return int(whole)


def _from_json(path: Path, text: str) -> tuple[list[Row], list[str]]:
    try:
        content = json.loads(text)
        labels = content.get("labels", content)
        rows, regions = _json_rows(labels)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            str(path),
            expected='"labels": {"1": "name", …} or {"name": 1, …}',
            got=f"{type(error).__name__}: {reason}",
            advice="Correct the file, or give a dseg.tsv.",
        ) from error
    if not regions:
        _check_once(rows, path)
        return rows, []
    rows, overlap = _disjoint_parts(regions)
    if not overlap:
        return rows, []
    parts = ", ".join(f"{name} ({code})" for code, name in rows)
    note = (
        f"{path.name}: regions overlap and are cut to parts: {parts}; "
        "cohort.structures merges parts."
    )
    return rows, [note]


def _json_rows(labels: Any) -> tuple[list[Row], Regions]:
    """Return codes and names; instead of them regions, where some name stands for several codes."""
    if not isinstance(labels, dict) or not labels:
        raise ValueError("no table of labels")
    codes_are_keys = all(_is_code(key) for key in labels)
    if codes_are_keys and all(isinstance(name, str) for name in labels.values()):
        return [(int(code), name.strip()) for code, name in labels.items()], {}
    regions: Regions = {}
    for name, value in labels.items():
        codes = value if isinstance(value, list) else [value]
        if not codes or not all(_is_code(code) for code in codes):
            raise ValueError(f"{name!r} stands for {value!r}, which is no code")
        plain = str(name).strip()
        if not plain:
            raise ValueError(f"no name for {value!r}")
        if plain in regions:
            raise ValueError(f"{plain!r} more than once")
        regions[plain] = frozenset(int(code) for code in codes)
    if any(isinstance(value, list) for value in labels.values()):
        return [], regions
    rows = []
    for name, (code,) in regions.items():
        rows.append((code, name))
    return rows, {}


def _is_code(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().removeprefix("-").isdecimal()
    if isinstance(value, float):
        return value.is_integer()
    if isinstance(value, bool):
        return False
    return isinstance(value, int)


def _disjoint_parts(regions: Regions) -> tuple[list[Row], bool]:
    """Return a name for every code of regions, and whether some regions overlap.

    Codes that lie in the same regions form one part. It is called by the smallest of these
    regions, and by what of that region does not belong to it: of whole = {1, 2} and core = {2},
    1 is `whole without core` and 2 is `core`.
    """
    foreground = {name: codes for name, codes in regions.items() if codes != {BACKGROUND}}
    all_codes = set().union(*foreground.values()) - {BACKGROUND}
    rows = []
    overlap = False
    for code in sorted(all_codes):
        around = {name: codes for name, codes in foreground.items() if code in codes}
        overlap |= len(around) > 1
        smallest = _smallest(around)
        shared = frozenset.intersection(*smallest.values())
        beside = {
            name: codes
            for name, codes in foreground.items()
            if name not in around and codes & shared
        }
        part = " and ".join(smallest)
        largest_beside = ", ".join(_largest(beside))
        if largest_beside:
            part = f"{part} without {largest_beside}"
        rows.append((code, part))
    return rows, overlap


def _smallest(regions: Regions) -> Regions:
    """Return the regions that hold no other."""
    smallest = dict(regions)
    for name, codes in regions.items():
        holds_another = any(other < codes for other in regions.values())
        if holds_another:
            del smallest[name]
    return smallest


def _largest(regions: Regions) -> Regions:
    """Return the regions that lie in no other."""
    largest = dict(regions)
    for name, codes in regions.items():
        lies_in_another = any(codes < other for other in regions.values())
        if lies_in_another:
            del largest[name]
    return largest


def _from_rows(path: Path, text: str) -> list[Row]:
    lines = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith(("#", "%", "//")):
            lines.append(line)
    if not lines:
        raise _not_a_table(path, "no rows")
    first_character = lines[0].lstrip()[:1]
    has_header = len(lines) > 1 and not first_character.isdigit()
    numbered = lines[1:] if has_header else lines
    for pattern in (_SNAP_ROW, _COLOUR_ROW):
        rows = _matched(pattern, numbered, path)
        if rows is not None:
            _check_rows(rows, path)
            codes = [code for code, _ in rows]
            _check_column(codes, path)
            return _with_codes_where_repeated(rows)
    rows = _from_table(path, text)
    _check_once(rows, path)
    return rows


def _matched(pattern: re.Pattern[str], lines: list[str], path: Path) -> list[Row] | None:
    """Return code and name of every line; None where a line is not of the pattern."""
    rows = []
    for line in lines:
        found = pattern.match(line)
        if found is None:
            return None
        code = _code(found[1], path)
        name = found[2].strip()
        rows.append((code, name))
    return rows


def _from_table(path: Path, text: str) -> list[Row]:
    table = parse_table(text, path, "a table of label names")
    columns = {str(column).lower().lstrip("#").strip(): column for column in table.columns}
    index = _first_column(columns, _INDEX_COLUMNS)
    named = {plain: column for plain, column in columns.items() if column != index}
    name = _first_column(named, _NAME_COLUMNS)
    if index is None or name is None:
        raise _not_a_table(path, f"columns {', '.join(map(str, table.columns))}")
    whole = table[index].str.fullmatch(r"[+-]?\d+(\.0*)?")
    wrong = table.loc[~whole, index]
    if len(wrong):
        raise _not_a_table(path, f"{wrong.iloc[0]!r} as {index}")
    unnamed = table.index[table[name] == ""]
    if len(unnamed):
        raise DataError(
            f"{path}, line {unnamed[0]}",
            expected="a name",
            got="none",
            advice="Name the label.",
        )
    codes = [_code(value, path) for value in table[index]]
    return list(zip(codes, table[name], strict=True))


def _first_column(columns: dict[str, str], names: Sequence[str]) -> str | None:
    for name in names:
        if name in columns:
            return columns[name]
    return None


def _not_a_table(path: Path, got: str) -> DataError:
    return DataError(
        str(path),
        expected="columns index (whole numbers) and name, or a colour table of FreeSurfer or "
        "ITK-SNAP",
        got=got,
        advice="Correct the table.",
    )


def _with_codes_where_repeated(rows: list[Row]) -> list[Row]:
    """Return names that differ: programs' own tables repeat some, of structures that few show."""
    counts = Counter(name for _, name in rows)
    distinct = []
    for code, name in rows:
        repeated = counts[name] > 1
        unique = f"{name} {code}" if repeated else name
        distinct.append((code, unique))
    return distinct


def _check_once(rows: list[Row], path: Path) -> None:
    codes = []
    names = []
    for code, name in rows:
        if code != BACKGROUND:
            codes.append(code)
            names.append(name)
    _check_column(codes, path)
    _check_column(names, path)


def _check_column(values: Sequence[int | str], path: Path) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise DataError(
                str(path),
                expected="each index and each name once",
                got=f"{value!r} more than once",
                advice="Give every label a unique name; `cohort.structures` merges labels.",
            )
