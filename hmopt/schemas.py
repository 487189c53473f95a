"""What all tables and records share that are read from files: plain, finite values of the declared types.

Pydantic alone reads `true` and `"3"` as numbers. A `Record` refuses them, as it does numbers that are
not finite or larger than any that is meant, and lists that are too long.
"""

import math
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from hmopt.errors import first_fault

LARGEST = 2**53
"""Whole numbers up to this one are exact in double precision."""

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """Values that were read from a file: immutable, numbers finite, of the types that are declared."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    most_entries: ClassVar[int] = 10_000_000
    """Values that a list, with the lists inside it, can have."""

    @field_validator("*", mode="before")
    @classmethod
    def _check_plain_values(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        check_plain(value, annotation, cls.most_entries)
        return value


class ReferenceEntry(Record):
    """Axes and lattice that prepared images share, as a record of them or a model's header holds them."""

    model_config = ConfigDict(extra="forbid")

    axes: Annotated[list["_Row3"], Field(min_length=3, max_length=3)]
    lattice: "LatticeEntry | None"
    plane: Annotated[int, Field(ge=0, le=2)] | None


class LatticeEntry(Record):
    """Shape and affine of a lattice."""

    model_config = ConfigDict(extra="forbid")

    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=3)]
    affine: Annotated[list["_Row4"], Field(min_length=4, max_length=4)]


_Row3 = Annotated[list[float], Field(min_length=3, max_length=3)]
_Row4 = Annotated[list[float], Field(min_length=4, max_length=4)]


def check_plain(value: object, annotation: Any, most_entries: int) -> None:
    """Refuse values that no annotation means, inside lists and tables too.

    Parameters
    ----------
    value
        As TOML or JSON holds it.
    annotation
        The types that it, and what is inside it, can have.
    most_entries
        Values inside it at most.

    Raises
    ------
    ValueError
        If one is true or false, text or a number where that is not meant, or a number that is not
        finite or too large.

    Examples
    --------
    >>> check_plain([1, True], list[int], 10)
    Traceback (most recent call last):
    ValueError: expected a value other than true or false
    """
    types = set(_types(annotation))
    if any(issubclass(one, BaseModel) for one in types):
        return  # an inner table, which checks itself
    for count, leaf in enumerate(_leaves(value), start=1):
        if count > most_entries:
            raise ValueError(f"expected at most {most_entries:,} values")
        if isinstance(leaf, bool):
            if not types & {bool, object}:
                raise ValueError("expected a value other than true or false")
        elif isinstance(leaf, str):
            if not types & {str, Path, object}:
                raise ValueError("expected a number, not text")
        elif isinstance(leaf, int | float):
            _check_number(leaf, types)


def _check_number(number: float, types: Set[type]) -> None:
    if bool in types and not types & {int, float, object}:
        raise ValueError("expected true or false")
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError("expected a finite number")
    if abs(number) > LARGEST:
        raise ValueError(f"expected a number of at most {LARGEST}")


def _types(annotation: Any) -> Iterator[type]:
    """Yield the types that a value, or a part of it, can have.

    `dict[str, list[float]]` yields `str` and `float`; `Literal["cross", 1]` yields `str` and `int`;
    `Any` yields `object`.
    """
    if annotation is Any:
        yield object
    elif isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    elif isinstance(annotation, str | int | float):  # a value of a Literal
        yield type(annotation)
    for inner in get_args(annotation):
        yield from _types(inner)


def _leaves(value: object) -> Iterator[object]:
    """Yield the values inside lists and tables."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending.extend(one.values())
        elif isinstance(one, list | tuple):
            pending.extend(one)
        else:
            yield one


def check_known_keys(values: Mapping[str, Any], table: type[BaseModel], name: str) -> None:
    """Check the values of a table that an earlier version, or another declaration, may have written.

    Keys that it lacks, and those that are not known, are left out; each other value must keep the
    rule of its key.

    Parameters
    ----------
    values
        Keys and values.
    table
        Keys and rules.
    name
        Of the table, in messages.

    Raises
    ------
    ValueError
        If a value breaks its rule.

    Examples
    --------
    >>> class Side(Record):
    ...     length: Count
    >>> check_known_keys({"width": "x"}, Side, "side")
    >>> check_known_keys({"length": -1}, Side, "side")
    Traceback (most recent call last):
    ValueError: side.length: -1, where greater than or equal to 0 is expected
    """
    for key, value in values.items():
        field = table.model_fields.get(key)
        if field is None:
            continue
        try:
            check_plain(value, field.annotation, Record.most_entries)
            _adapter(field).validate_python(value)
        except ValidationError as error:
            fault = first_fault(error)
            place = f"{name}.{key}.{fault.key}".rstrip(".")
            rule = f"{fault.value!r:.80}, where {fault.rule} is expected"
            raise ValueError(f"{place}: {rule}") from error
        except ValueError as error:
            raise ValueError(f"{name}.{key}: {error}") from error


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    annotation: Any = field.annotation
    if not field.metadata:
        return TypeAdapter(annotation)
    rules = tuple(field.metadata)
    return TypeAdapter(Annotated[(annotation, *rules)])
