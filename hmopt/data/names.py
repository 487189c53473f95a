"""Names of labels, from the tables that segmentation programs and data sets come with."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmopt.data.spreadsheets import read_table, read_text
from hmopt.errors import DataError

BACKGROUND = 0
IGNORE = "ignore"
"""What nnU-Net calls voxels whose truth is not known."""

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
        Names by code, without the background. Codes that one name stands for belong to one structure.
    ignored
        Codes of voxels whose truth is not known: they are taken for background.
    notes
        What a user should know about the table, one sentence each.
    """

    names: dict[int, str]
    ignored: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


def read_label_names(path: Path) -> dict[int, str]:
    r"""Return the names of labels by their code in the label maps, without the background.

    Parameters
    ----------
    path
        As of `read_label_table`.

    Raises
    ------
    DataError
        As `read_label_table`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "dseg.tsv"
    >>> _ = path.write_text("index\tname\n0\tbackground\n1\tanterior\n2\tposterior\n")
    >>> read_label_names(path)
    {1: 'anterior', 2: 'posterior'}
    """
    return read_label_table(path).names


def read_label_table(path: Path) -> LabelTable:
    r"""Return what a table of label names says.

    Parameters
    ----------
    path
        One of

        - a table with columns `index` and `name`, separated by tabs, commas or semicolons (BIDS `dseg.tsv`);
        - a `dataset.json` whose key `labels` gives a name for each code (Medical Segmentation Decathlon), or a code or
          a list of codes for each name (nnU-Net, regions);
        - a colour table of FreeSurfer or 3D Slicer, rows of `code name R G B A`;
        - label descriptions of ITK-SNAP, rows of `code R G B A visible mesh "name"`.

    Raises
    ------
    DataError
        If the file cannot be read as any of these, or gives a code or a name twice.

    Examples
    --------
    Overlapping regions become the parts that do not overlap:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "dataset.json"
    >>> _ = path.write_text('{"labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}}')
    >>> table = read_label_table(path)
    >>> table.names, table.ignored
    ({1: 'whole without core', 2: 'core'}, frozenset({3}))
    """
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no file"
        raise DataError(
            str(path), expected="a table of label names", got=got, advice="Correct `label_names`."
        )
    text = read_text(path)
    if path.suffix.lower() == ".json" or text.lstrip()[:1] == "{":
        rows, notes = _from_json(path, text)
    else:
        rows, notes = _from_rows(path, text), ()
    rows = [(code, name) for code, name in rows if code != BACKGROUND]
    ignored = frozenset(code for code, name in rows if name.lower() == IGNORE)
    kept = [(code, name) for code, name in rows if code not in ignored]
    if not kept:
        raise DataError(
            str(path), expected="names of labels", got="none", advice="Add a row for each label."
        )
    negative = [code for code, _ in kept if code < 0]
    if negative:
        raise DataError(
            str(path), expected="codes of at least 0", got=negative[0], advice="Correct the table."
        )
    if ignored:
        codes = ", ".join(map(str, sorted(ignored)))
        notes = (
            *notes,
            f"{path.name}: label {codes} (ignore) is left out: its voxels count as background.",
        )
    return LabelTable(names=dict(kept), ignored=ignored, notes=notes)


def _from_json(path: Path, text: str) -> tuple[list[tuple[int, str]], tuple[str, ...]]:
    try:
        content = json.loads(text)
        labels = content.get("labels", content)
        rows, regions = _json_rows(labels)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            str(path),
            expected='"labels": {"1": "name", …} or {"name": 1, …}',
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            advice="Correct the file, or give a dseg.tsv.",
        ) from error
    notes: tuple[str, ...] = ()
    if regions:
        rows, overlap = _disjoint_parts(rows, regions)
        if overlap:
            parts = ", ".join(f"{name} ({code})" for code, name in rows)
            notes = (
                f"{path.name}: regions overlap and are cut to parts: {parts}; cohort.structures merges parts.",
            )
    else:
        _check_once(rows, path)
    return rows, notes


def _json_rows(labels: Any) -> tuple[list[tuple[int, str]], dict[str, frozenset[int]]]:
    """Return codes and names; and regions by name, where some name stands for several codes."""
    if not isinstance(labels, dict) or not labels:
        raise ValueError("no table of labels")
    if all(_is_code(key) for key in labels) and all(
        isinstance(value, str) for value in labels.values()
    ):
        return [(int(code), name.strip()) for code, name in labels.items()], {}
    regions: dict[str, frozenset[int]] = {}
    for name, value in labels.items():
        codes = value if isinstance(value, list) else [value]
        if not codes or not all(_is_code(code) for code in codes):
            raise ValueError(f"{name!r} stands for {value!r}, which is no code")
        regions[str(name).strip()] = frozenset(int(code) for code in codes)
    if any(isinstance(value, list) for value in labels.values()):
        return [], regions
    return [(code, name) for name, codes in regions.items() for code in codes], {}


def _is_code(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().removeprefix("-").isdecimal()
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    )


def _disjoint_parts(
    rows: list[tuple[int, str]], regions: Mapping[str, frozenset[int]]
) -> tuple[list[tuple[int, str]], bool]:
    """Return a name for every code of regions, and whether some regions overlap.

    Codes that lie in the same regions form one part. It is called by the smallest of these regions, and by what of
    that region does not belong to it: of whole = {1, 2} and core = {2}, 1 is `whole without core` and 2 is `core`.
    """
    foreground = {name: codes for name, codes in regions.items() if codes != {BACKGROUND}}
    rows = []
    overlap = False
    for code in sorted(set().union(*foreground.values()) - {BACKGROUND}):
        around = {name for name, codes in foreground.items() if code in codes}
        overlap |= len(around) > 1
        innermost = [
            name
            for name in around
            if not any(foreground[other] < foreground[name] for other in around)
        ]
        innermost.sort(key=list(foreground).index)
        shared = frozenset.intersection(*(foreground[name] for name in innermost))
        beside = [
            name
            for name, codes in foreground.items()
            if name not in around and codes & shared and name not in innermost
        ]
        outermost = [
            name
            for name in beside
            if not any(foreground[name] < foreground[other] for other in beside)
        ]
        part = " and ".join(innermost)
        rows.append((code, f"{part} without {', '.join(outermost)}" if outermost else part))
    return rows, overlap


def _from_rows(path: Path, text: str) -> list[tuple[int, str]]:
    lines = [
        line
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith(("#", "%", "//"))
    ]
    if not lines:
        raise _not_a_table(path, "no rows")
    numbered = lines[1:] if len(lines) > 1 and not lines[0].strip()[:1].isdigit() else lines
    for pattern in (_SNAP_ROW, _COLOUR_ROW):
        found = [pattern.match(line) for line in numbered]
        if all(found):
            rows = [
                (int(match.group(1)), match.group(2).strip())
                for match in found
                if match is not None
            ]
            _check_codes_once(rows, path)
            return _with_codes_where_repeated(rows)
    rows = _from_table(path)
    _check_once(rows, path)
    return rows


def _from_table(path: Path) -> list[tuple[int, str]]:
    table = read_table(path, "a table of label names")
    columns = {str(column).lower().lstrip("#").strip(): column for column in table.columns}
    index = next((columns[name] for name in _INDEX_COLUMNS if name in columns), None)
    name = next(
        (columns[name] for name in _NAME_COLUMNS if name in columns and columns[name] != index),
        None,
    )
    if index is None or name is None:
        raise _not_a_table(path, f"columns {', '.join(map(str, table.columns))}")
    wrong = [value for value in table[index] if not re.fullmatch(r"[+-]?\d+(\.0*)?", value)]
    if wrong:
        raise _not_a_table(path, f"{wrong[0]!r} as {index}")
    unnamed = table.index[table[name] == ""]
    if len(unnamed):
        raise DataError(
            f"{path}, line {unnamed[0]}", expected="a name", got="none", advice="Name the label."
        )
    codes: Iterable[int] = (int(float(value)) for value in table[index])
    return list(zip(codes, table[name], strict=True))


def _not_a_table(path: Path, got: str) -> DataError:
    return DataError(
        str(path),
        expected="columns index (whole numbers) and name, or a colour table of FreeSurfer or ITK-SNAP",
        got=got,
        advice="Correct the table.",
    )


def _with_codes_where_repeated(rows: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return names that differ: programs' own tables repeat some, of structures that few images show."""
    counts = Counter(name for _, name in rows)
    return [(code, name if counts[name] == 1 else f"{name} {code}") for code, name in rows]


def _check_codes_once(rows: list[tuple[int, str]], path: Path) -> None:
    _check_column([code for code, _ in rows], path)


def _check_once(rows: list[tuple[int, str]], path: Path) -> None:
    kept = [(code, name) for code, name in rows if code != BACKGROUND]
    _check_column([code for code, _ in kept], path)
    _check_column([name for _, name in kept], path)


def _check_column(values: list[Any], path: Path) -> None:
    repeated = (
        next((value for value in values if values.count(value) > 1), None)
        if _repeats(values)
        else None
    )
    if repeated is not None:
        raise DataError(
            str(path),
            expected="each index and each name once",
            got=f"{repeated!r} more than once",
            advice="Give every label a name of its own; `cohort.structures` merges labels.",
        )


def _repeats(values: list[Any]) -> bool:
    return len(set(values)) < len(values)
