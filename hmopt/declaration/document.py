"""`study.toml` as text: every key with its value and what it means."""

import textwrap
from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

import tomlkit
from pydantic.fields import FieldInfo
from tomlkit.items import InlineTable, Item, Table

from hmopt.declaration.options import Options
from hmopt.declaration.study import Study

COMMENT_WIDTH = 98
Remarks = Mapping[str, str]
"""By dotted key: why the value is what it is."""


def write_document(study: Study, remarks: Remarks, without: Collection[str] = ()) -> str:
    r"""Return the text of a `study.toml` that declares a study, with a comment above each key.

    Parameters
    ----------
    study
        What to declare.
    remarks
        By dotted key, as `preprocessing.shape`: what the value was inferred from.
    without
        Tables that are left out, as they say nothing about this study.

    Returns
    -------
    str
        TOML. A key that has no value, or no use beside the others, stands there as a comment.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "preprocessing": {"shape": [8, 8]}, "split": {"train": 4, "tune": 1, "search": 2}}
    >>> text = write_document(parse_study({"cohort": {"manifest": "cohort.csv"}, **values}), {"name": "The folder's."})
    >>> print("\n".join(text.splitlines()[:10]))
    # Name of the study in reports and Optuna studies.
    # The folder's.
    name = "x"
    # Python files beside this one, or modules, that add metrics, similarities, regularizers or
    # hyperparameters.
    plugins = []
    <BLANKLINE>
    # Images and labels, given by `manifest` or by `images` and `labels`.
    [cohort]
    # CSV with columns `image, label, subject` and any others; its paths are relative to it.
    """
    document = tomlkit.document()
    _fill(document, study, "", remarks, without)
    return tomlkit.dumps(document)


def toml_value(value: object) -> str:
    """Return a value as TOML writes it.

    Examples
    --------
    >>> toml_value({"hippocampus": ["left", "right"], "λ": 0.5})
    '{hippocampus = ["left", "right"], "λ" = 0.5}'
    """
    return _item(value).as_string()


def table_meaning(options: type[Options]) -> str:
    """Return what a table of the file is about, from the first line of its docstring.

    Examples
    --------
    >>> from hmopt.declaration import TrainingOptions
    >>> table_meaning(TrainingOptions)
    'The optimization.'
    """
    documentation = options.__doc__ or ""
    first_line, *_ = documentation.split("\n")
    _, _, meaning = first_line.partition(": ")
    initial = meaning[:1]
    return initial.upper() + meaning[1:]


def field_meaning(field: FieldInfo) -> str:
    """Return what a key means, in one line, from the docstring below its field."""
    words = (field.description or "").split()
    return " ".join(words)


def _fill(
    table: tomlkit.TOMLDocument | Table,
    options: Options,
    path: str,
    remarks: Remarks,
    without: Collection[str] = (),
) -> None:
    """Add the keys of options to a table, and behind them, as TOML asks for, its inner tables."""
    tables: dict[str, Options | dict[str, Options]] = {}
    for name, field in type(options).model_fields.items():
        if name in options.computed or name in without:
            continue
        value = getattr(options, name)
        if name not in options.written_keys:
            _add_meaning(table, field, None)
            table.add(tomlkit.comment(f"{name} = {toml_value(value)}"))
        elif _holds_tables(value):
            tables[name] = value
        else:
            _add_entry(table, name, field, value, remarks.get(f"{path}{name}"))
    for name, inner in tables.items():
        if isinstance(inner, Options):
            table.append(name, _table(inner, f"{path}{name}.", remarks))
            continue
        named = tomlkit.table(is_super_table=True)
        for key, one in inner.items():
            named.append(key, _table(one, f"{path}{name}.{key}.", remarks))
        table.append(name, named)


def _holds_tables(value: object) -> bool:
    """Return whether a value is a table, or several by name, as `[hyperparameters.NAME]`."""
    if isinstance(value, dict):
        are_tables = [isinstance(one, Options) for one in value.values()]
        return any(are_tables)
    return isinstance(value, Options)


def _table(options: Options, path: str, remarks: Remarks) -> Table:
    table = tomlkit.table()
    _fill(table, options, path, remarks)
    # tomlkit has no comment above the line `[name]`: what stands before it is its indent, which
    # is set last, since keys that are added later would be indented alike
    table.trivia.indent = f"\n# {table_meaning(type(options))}\n"
    return table


def _add_entry(
    table: tomlkit.TOMLDocument | Table, name: str, field: FieldInfo, value: Any, remark: str | None
) -> None:
    _add_meaning(table, field, remark)
    if value is None:
        table.add(tomlkit.comment(f"{name} ="))
    else:
        table.add(name, _item(value))


def _add_meaning(table: tomlkit.TOMLDocument | Table, field: FieldInfo, remark: str | None) -> None:
    for text in (field_meaning(field), remark or ""):
        for line in textwrap.wrap(text, COMMENT_WIDTH, break_long_words=False):
            table.add(tomlkit.comment(line))


def _item(value: object) -> Item:
    if isinstance(value, Options):
        return _inline(value.model_dump(exclude_none=True))
    if isinstance(value, Mapping):
        return _inline(value)
    if isinstance(value, list | tuple):
        array = tomlkit.array()
        for one in value:
            array.append(_item(one))
        return array
    if isinstance(value, PurePath):
        return tomlkit.item(str(value))
    return tomlkit.item(value)


def _inline(values: Mapping[str, object]) -> InlineTable:
    table = tomlkit.inline_table()
    for key, value in values.items():
        table.append(key, _item(value))
    return table
