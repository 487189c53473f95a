"""The guide to `study.toml`, made from the declaration itself.

`python -m hmopt.declaration.reference > docs/reference/study-file.md` writes it anew.
"""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo

from hmopt.declaration.document import table_meaning, toml_value
from hmopt.declaration.options import Options
from hmopt.declaration.study import Study

INTRODUCTION = """# `study.toml`, key by key

`hmopt new` writes this file with a comment above each key; everything in it can be edited. Keys that are left out take
the default. Paths are relative to the study folder and may hold environment variables: `${DATA}/brains`. A key that
hmopt does not know is refused.
"""


def reference() -> str:
    """Give the guide as Markdown: a table for each section, with key, default and meaning.

    Examples
    --------
    >>> reference().splitlines()[0]
    '# `study.toml`, key by key'
    """
    return "\n".join((INTRODUCTION, *_section(Study, "")))


def _section(section: type[Options], path: str) -> Iterator[str]:
    fields = section.model_fields.items()
    yield from ("| key | default | meaning |", "| --- | --- | --- |")
    inner: dict[str, type[Options]] = {}
    for name, field in fields:
        found = _inner(field)
        if found is None:
            yield f"| `{name}` | {_default(field)} | {field.description} |"
        else:
            inner[
                f"{path}{name}"
                + (".NAME" if field.annotation is not found and _named(field) else "")
            ] = found
    yield ""
    for name, table in inner.items():
        yield from (f"## `[{name}]`", "", table_meaning(table), "")
        yield from _section(table, f"{name}.")


def _inner(field: FieldInfo) -> type[Options] | None:
    candidates: tuple[Any, ...] = (field.annotation, *get_args(field.annotation))
    return next(
        (one for one in candidates if isinstance(one, type) and issubclass(one, Options)), None
    )


def _named(field: FieldInfo) -> bool:
    return str in get_args(field.annotation)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "none" if field.default is None else f"`{toml_value(field.default)}`"


if __name__ == "__main__":
    print(reference(), end="")
