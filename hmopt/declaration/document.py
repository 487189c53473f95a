"""`study.toml` as text: every key with its value and what it means."""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from pydantic.fields import FieldInfo

from hmopt.declaration.options import Options
from hmopt.declaration.study import Study

Remarks = Mapping[str, str]
"""By dotted key: why the value is what it is."""


def write_document(study: Study, remarks: Remarks) -> str:
    r"""Give the text of a `study.toml` that declares a study, with a comment above each key.

    Parameters
    ----------
    study
        What to declare.
    remarks
        By dotted key, as `preprocessing.shape`: what the value was inferred from.

    Returns
    -------
    str
        TOML. A key that has no value stands there as a comment.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "preprocessing": {"shape": [8, 8]}, "split": {"train": 4, "tune": 1, "search": 2}}
    >>> text = write_document(parse_study({"cohort": {"manifest": "cohort.csv"}, **values}), {"name": "The folder's."})
    >>> print("\n".join(text.splitlines()[:9]))
    # What the study is called in reports and Optuna studies.
    # The folder's.
    name = "x"
    # Python files beside this one, or modules, that add metrics, similarities, regularizers or hyperparameters.
    plugins = []
    <BLANKLINE>
    # Where images, labels and their descriptions are.
    [cohort]
    # CSV with columns `image, label, subject` and any others; paths in it are relative to it.
    """
    return "\n".join(_table(study, "", remarks)).lstrip("\n") + "\n"


def toml_value(value: object) -> str:
    """Give a value as TOML writes it.

    Examples
    --------
    >>> toml_value({"hippocampus": ["left", "right"], "λ": 0.5})
    '{ hippocampus = ["left", "right"], "λ" = 0.5 }'
    """
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {toml_value(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str | PurePath):
        return json.dumps(str(value), ensure_ascii=False)
    return json.dumps(value)


def table_meaning(section: type[Options]) -> str:
    """Give what a table of the file is about, from its docstring.

    Examples
    --------
    >>> from hmopt.declaration import TrainingOptions
    >>> table_meaning(TrainingOptions)
    'The optimization.'
    """
    meaning = (section.__doc__ or "").split("\n")[0].partition(": ")[2]
    return meaning[:1].upper() + meaning[1:]


def _key(name: str) -> str:
    return (
        name
        if name.isascii() and name.replace("_", "").replace("-", "").isalnum()
        else toml_value(name)
    )


def _table(section: Options, path: str, remarks: Remarks) -> Iterator[str]:
    fields = type(section).model_fields
    tables = {name: _tables(name, getattr(section, name)) for name in fields}
    for name, field in fields.items():
        if not tables[name]:
            yield from _entry(name, field, getattr(section, name), remarks.get(f"{path}{name}"))
    for found in tables.values():
        for name, table in found.items():
            yield from ("", f"# {table_meaning(type(table))}", f"[{path}{name}]")
            yield from _table(table, f"{path}{name}.", remarks)


def _tables(name: str, value: object) -> dict[str, Options]:
    if isinstance(value, Options):
        return {name: value}
    if isinstance(value, dict):
        return {
            f"{name}.{_key(key)}": one for key, one in value.items() if isinstance(one, Options)
        }
    return {}


def _entry(name: str, field: FieldInfo, value: Any, remark: str | None) -> Iterator[str]:
    yield from (f"# {line}" for line in (field.description, remark) if line)
    yield f"# {name} =" if value is None else f"{name} = {toml_value(value)}"
