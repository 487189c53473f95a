"""What all tables of `study.toml` share."""

import difflib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from hmopt.declaration.renamed import current_names

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""Seed of a random generator, in the range that all libraries take."""


@dataclass(frozen=True, eq=False)  # names that can be added to have no hash
class OneOf:
    """Annotation of a text, or a list of texts, that must be among some names: `Annotated[str, OneOf(METRICS)]`.

    Examples
    --------
    >>> OneOf(("dice", "hd95_mm")).check("hd95")
    Traceback (most recent call last):
    ValueError: expected one of dice, hd95_mm (hd95_mm?)
    """

    names: Collection[str]

    def check(self, given: str | list[str]) -> str | list[str]:
        """Return what was given, or raise a ValueError that lists all names, the most similar one in brackets."""
        names = [given] if isinstance(given, str) else given
        for name in names:
            if name in self.names:
                continue
            known = ", ".join(self.names)
            similar = difflib.get_close_matches(name, self.names, n=1, cutoff=0.4)
            if similar:
                raise ValueError(f"expected one of {known} ({similar[0]}?)")
            raise ValueError(f"expected one of {known}")
        return given

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return pydantic's schema: that of the text, and then the check."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))


class Options(BaseModel):
    """One table of `study.toml`: immutable, without unknown keys, its numbers finite.

    Pydantic alone would read `true` and `"3"` as numbers; here they are refused. Keys that an
    earlier version named otherwise are read under both names.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, use_attribute_docstrings=True
    )

    table: ClassVar[str] = ""
    """Name of the table in `study.toml`, where keys of it have older names."""
    computed: ClassVar[tuple[str, ...]] = ()
    """Keys that are filled in when the file is read, and not declared."""

    @property
    def written_keys(self) -> tuple[str, ...]:
        """Names of the keys that a written declaration shows: those that have a use."""
        return tuple(type(self).model_fields)

    def written_value(self, name: str) -> Any:
        """Return the value of a key as a written declaration shows it."""
        return getattr(self, name)

    @model_validator(mode="before")
    @classmethod
    def _read_older_names(cls, values: Any) -> Any:
        if not cls.table or not isinstance(values, Mapping):
            return values
        renamed = current_names({cls.table: values})
        return renamed[cls.table]

    @field_validator("*", mode="before")
    @classmethod
    def _check_plain_values(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        types = set(_types(annotation))
        if any(issubclass(one, BaseModel) for one in types):
            return value  # an inner table, which checks itself
        for leaf in _leaves(value):
            if isinstance(leaf, bool) and bool not in types:
                raise ValueError("expected a value other than true or false")
            if isinstance(leaf, str) and not types & {str, Path}:
                raise ValueError("expected a number, not text")
            if isinstance(leaf, float) and not math.isfinite(leaf):
                raise ValueError("expected a finite number")
        return value


def _types(annotation: Any) -> Iterator[type]:
    """Yield the types that a value, or a part of it, can have.

    `dict[str, list[float]]` yields `str` and `float`; `Literal["cross"]` yields `str`.
    """
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    elif isinstance(annotation, str):
        yield str
    for inner in get_args(annotation):
        yield from _types(inner)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the values inside lists and tables."""
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = list(value)
    else:
        yield value
        return
    for one in inner:
        yield from _leaves(one)
