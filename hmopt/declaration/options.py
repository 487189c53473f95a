"""What all sections of `study.toml` share."""

import difflib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What random generators of all libraries take."""


class Options(BaseModel):
    """A section that cannot be changed once made, refuses keys it does not know, and takes nothing for a number.

    Neither `true` nor `"3"` is a number here, as pydantic would have it, and no number is infinite.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain_values(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if any(issubclass(kind, BaseModel) for kind in kinds):
            return value  # which checks itself
        for one in _leaves(value):
            if isinstance(one, bool) and bool not in kinds:
                raise ValueError("expected a value other than true or false")
            if isinstance(one, str) and not kinds & {str, Path}:
                raise ValueError("expected a number, not text")
            if isinstance(one, float) and not math.isfinite(one):
                raise ValueError("expected a finite number")
        return value


def known_name(name: str, known: Iterable[str]) -> str:
    """Return a name that is known, or raise a ValueError that lists those that are, the nearest one first of all.

    Examples
    --------
    >>> known_name("dise", ["dice", "folding"])
    Traceback (most recent call last):
    ValueError: expected one of dice, folding (dice?)
    """
    names = list(known)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" ({near[0]}?)" if near else ""
    raise ValueError(f"expected one of {', '.join(names)}{hint}")


def _kinds(annotation: Any) -> Iterator[type]:
    """Yield the types that a value, or a part of it, can be of."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    elif isinstance(annotation, str):  # one of the words of a Literal
        yield str
    for inner in get_args(annotation):
        yield from _kinds(inner)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the values inside of lists and tables."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        yield value
        return
    for one in value:
        yield from _leaves(one)
