"""What all tables of `study.toml` share."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from hmopt.declaration.renamed import current_names
from hmopt.schemas import Record

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


class Options(Record):
    """One table of `study.toml`: a record without unknown keys.

    Keys that an earlier version named otherwise are read under both names.
    """

    model_config = ConfigDict(extra="forbid", strict=False, use_attribute_docstrings=True)

    most_entries: ClassVar[int] = 10_000

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
