"""The record of composed fields."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmopt.errors import LedgerError
from hmopt.files import write_json
from hmopt.ledger import Ledger
from hmopt.ledger.composed import (
    Assignment,
    ComposedFields,
    measurements_of_fields,
    read_composed,
    write_composed,
)
from hmopt.records import Block
from hmopt.space import Hyperparameter, Space

SPACE = Space(
    hyperparameters=(
        Hyperparameter(name="regularization"),
        Hyperparameter(name="similarity", type="categorical", choices=("CC", "MI"), default="CC"),
    )
)
FIELDS = ComposedFields(
    maps="moving",
    width=1.5,
    halves=5,
    assignments=(
        Assignment.of((100, 0), {"thalamus": (70, 1), "cortex": (100, 0)}),
        Assignment.of((100, 0), {}),
        Assignment.of((80, 1), {"cortex": (200, 0), "caudate": (0, 0)}),
    ),
    identities=("a", "b", "c"),
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "composed.json"
    other = ComposedFields(
        maps="fixed", width=0.0, halves=7, assignments=FIELDS.assignments[:1], identities=("d",)
    )
    write_composed(path, "0f", [FIELDS, other], SPACE)
    assert read_composed(path, SPACE) == ("0f", (FIELDS, other))


def test_equal_fields_are_equal_in_any_order_and_without_what_is_common() -> None:
    one = Assignment.of((1,), {"b": (3,), "a": (2,), "c": (1,)})
    other = Assignment.of((1,), {"a": (2,), "b": (3,)})
    assert one == other
    assert hash(one) == hash(other)
    assert one.structures == (("a", (2,)), ("b", (3,)))


@pytest.mark.parametrize(
    ("before", "after"),
    [('"moving"', '"elsewhere"'), ("1.5", "-1.5"), ("0.35", "1.35"), ("}", "")],
)
def test_a_damaged_file_is_refused(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "composed.json"
    write_composed(path, "0f", [FIELDS], SPACE)
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(LedgerError, match="per-structure"):
        read_composed(path, SPACE)


@pytest.mark.parametrize(
    ("place", "value", "key"),
    [
        (("kinds",), [], "kinds"),
        (("model",), "", "model"),
        (("kinds", 0, "fields"), [], "kinds.0.fields"),
        (("kinds", 0, "fields", 0, "identity"), "", "kinds.0.fields.0.identity"),
    ],
)
def test_a_record_of_nothing_is_refused(
    tmp_path: Path, place: tuple[str | int, ...], value: object, key: str
) -> None:
    path = tmp_path / "composed.json"
    write_composed(path, "0f", [FIELDS], SPACE)
    content = json.loads(path.read_text(encoding="utf-8"))
    inner = content
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    write_json(path, content)
    with pytest.raises(LedgerError, match=f"got {key}: "):
        read_composed(path, SPACE)


def test_measurements_of_fields_are_numbered_as_the_fields(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    pairs = pd.DataFrame(
        [("a->b", "a", "b", "a", "b", "cross"), ("b->a", "b", "a", "b", "a", "cross")],
        columns=["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"],
    )
    for number, identity in enumerate(FIELDS.identities):
        for index in ((100, 0), (80, 1)):
            dice = np.array([[0.1, 0.2], [0.3, 0.4]]) * (number + 1) + 0.01 * index[1]
            block = Block(
                index=index, pairs=("a->b", "b->a"), labels=("x", "y"), values={"dice": dice}
            )
            ledger.write(identity, SPACE, [block])
    found = measurements_of_fields(ledger, FIELDS, SPACE, pairs, ["dice"], ["x", "y"])
    assert found.settings == ((0,), (1,), (2,))
    np.testing.assert_allclose(found.values["dice"][1], [[0.2, 0.4], [0.6, 0.8]], atol=1e-6)
    # the third field's common setting is (80, 1)
    np.testing.assert_allclose(found.values["dice"][2], [[0.31, 0.61], [0.91, 1.21]], atol=1e-6)


def test_a_field_that_was_not_measured_at_its_common_setting_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    pairs = pd.DataFrame(
        [("a->b", "a", "b", "a", "b", "cross")],
        columns=["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"],
    )
    block = Block(index=(1, 0), pairs=("a->b",), labels=("x",), values={"dice": np.array([[0.5]])})
    ledger.write("a", SPACE, [block])
    with pytest.raises(LedgerError, match="none of field a"):
        measurements_of_fields(ledger, FIELDS, SPACE, pairs, ["dice"], ["x"])
