"""Values that files hold are plain, finite and of the declared types."""

from typing import Any

import pytest
from pydantic import Field, ValidationError

from hmopt.schemas import LARGEST, Count, Record, check_known_keys


class Facts(Record):
    """A record of every kind of value."""

    count: Count = 0
    share: float | None = None
    name: str = ""
    known: bool = False
    sides: list[int] = Field(default=[1])
    values: dict[str, Any] = Field(default={})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("count", True),
        ("count", "3"),
        ("count", 2**63),
        ("count", -1),
        ("share", float("nan")),
        ("share", float("inf")),
        ("share", 1e300),
        ("share", "0.5"),
        ("known", 0),
        ("known", 1.0),
        ("sides", [1, True]),
        ("sides", ["1"]),
        ("values", {"inner": [float("nan")]}),
    ],
)
def test_other_values_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Facts.model_validate({key: value})
    with pytest.raises(ValueError, match=f"^facts.{key}"):
        check_known_keys({key: value}, Facts, "facts")


def test_plain_values_are_taken() -> None:
    values = {"count": LARGEST, "share": 1, "name": "x", "known": True, "sides": [], "values": {}}
    assert Facts.model_validate(values).count == LARGEST
    check_known_keys({**values, "of another version": None}, Facts, "facts")


def test_a_list_that_is_too_long_is_refused() -> None:
    class Short(Facts):
        most_entries = 3

    assert Short.model_validate({"sides": [1, 2, 3]}).sides == [1, 2, 3]
    with pytest.raises(ValidationError, match="at most 3 values"):
        Short.model_validate({"sides": [1, 2, 3, 4]})
