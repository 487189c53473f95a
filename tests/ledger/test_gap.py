"""The record of the stages of refinement that were measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmopt.errors import LedgerError
from hmopt.files import write_json
from hmopt.ledger import Ledger
from hmopt.ledger.gap import GapRecord, Stage, measurements_of_stages, read_gap, write_gap
from hmopt.records import Block
from hmopt.space import Hyperparameter, Space

SPACE = Space(
    hyperparameters=(
        Hyperparameter(name="regularization"),
        Hyperparameter(name="iterations", type="integer", low=5, high=50, step=5, default=20),
    )
)
RECORD = GapRecord(
    pairs=("a->b", "b->a"),
    settings=((0, 3), (70, 1)),
    metrics=("dice", "folding"),
    stages=(
        Stage(iterations=0, identity="alone"),
        Stage(iterations=25, identity="refined"),
        Stage(iterations=200, identity="converged"),
    ),
)
PAIRS = pd.DataFrame(
    [
        ("a->b", "a", "b", "a", "b", "cross"),
        ("a->c", "a", "c", "a", "c", "cross"),
        ("b->a", "b", "a", "b", "a", "cross"),
    ],
    columns=["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"],
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Dice of each stage is higher by 0.1; the model alone was measured at a further setting and on all pairs."""
    found = Ledger(tmp_path / "ledger")
    for number, stage in enumerate(RECORD.stages):
        pairs = tuple(PAIRS["pair"]) if number == 0 else RECORD.pairs
        further = [(100, 0)] if number == 0 else []
        for place, index in enumerate([*RECORD.settings, *further]):
            dice = np.full((len(pairs), 1), 0.1 * number + 0.01 * place)
            values = {"dice": dice, "folding": np.zeros(len(pairs))}
            block = Block(index=index, pairs=pairs, labels=("x",), values=values)
            found.write(stage.identity, SPACE, [block])
    return found


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "gap.json"
    write_gap(path, "0f", RECORD, SPACE)
    assert read_gap(path, SPACE) == ("0f", RECORD)


@pytest.mark.parametrize(
    ("before", "after"),
    [('"refined"', "3"), ("25", "-25"), ("0.35", "1.35"), ('"b->a"', "null"), ("}", "")],
)
def test_a_damaged_file_is_refused(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "gap.json"
    write_gap(path, "0f", RECORD, SPACE)
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(LedgerError, match="search --gap"):
        read_gap(path, SPACE)


@pytest.mark.parametrize(
    ("key", "value"), [("model", ""), ("pairs", [""]), ("metrics", []), ("stages", [])]
)
def test_a_value_that_no_record_has_is_named(key: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "gap.json"
    write_gap(path, "0f", RECORD, SPACE)
    content = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**content, key: value})
    with pytest.raises(LedgerError, match=f"got {key}"):
        read_gap(path, SPACE)


def test_stages_are_read_at_their_settings_and_pairs_alone(ledger: Ledger) -> None:
    stages = measurements_of_stages(ledger, RECORD, SPACE, PAIRS, ["x"])
    for number, stage in enumerate(stages):
        assert stage.settings == RECORD.settings
        assert tuple(stage.pairs["pair"]) == RECORD.pairs
        expected = np.repeat([[0.1 * number], [0.1 * number + 0.01]], 2, axis=1)
        np.testing.assert_allclose(stage.values["dice"][:, :, 0], expected, atol=1e-6)


def test_a_setting_without_measurements_and_pairs_of_another_search_are_named(
    ledger: Ledger,
) -> None:
    more = replace(RECORD, settings=(*RECORD.settings, (100, 0)))
    with pytest.raises(LedgerError, match="1 settings without, after 25 iterations"):
        measurements_of_stages(ledger, more, SPACE, PAIRS, ["x"])
    with pytest.raises(LedgerError, match="pairs of the present search, got 1 that are not"):
        measurements_of_stages(ledger, RECORD, SPACE, PAIRS[:2], ["x"])
