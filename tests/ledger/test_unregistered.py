"""Measurements of an oracle that takes no setting: the pairs as they are, before registration."""

from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.ledger import Ledger, Measurements, read_measurements, write_measurements
from hmopt.records import Block, Pair
from hmopt.space import Space

NOTHING = Space(hyperparameters=())
PAIRS = [
    Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b"),
    Pair(moving="b", fixed="a", moving_subject="b", fixed_subject="a"),
]
TABLE = pd.DataFrame(
    [(p.id, p.moving, p.fixed, p.moving_subject, p.fixed_subject, p.task) for p in PAIRS],
    columns=["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"],
)


def measured(folder: Path) -> Measurements:
    ledger = Ledger(folder)
    values = {"dice": np.array([[0.5, 0.25], [0.75, np.nan]]), "folding": np.array([0.0, 0.0])}
    ids = tuple(pair.id for pair in PAIRS)
    ledger.write(
        "00", NOTHING, [Block(index=(), pairs=ids, labels=("thalamus", "cortex"), values=values)]
    )
    assert (
        ledger.missing("00", NOTHING, [()], PAIRS, ["dice", "folding"], ["thalamus", "cortex"])
        == []
    )
    return ledger.measurements("00", NOTHING, TABLE, ["dice", "folding"], ["thalamus", "cortex"])


def test_they_stand_in_the_ledger_at_the_one_setting_there_is(tmp_path: Path) -> None:
    found = measured(tmp_path)
    assert found.settings == ((),)
    np.testing.assert_array_equal(found.values["dice"], [[[0.5, 0.25], [0.75, np.nan]]])


def test_they_come_back_from_the_committed_table(tmp_path: Path) -> None:
    write_measurements(measured(tmp_path / "ledger"), tmp_path / "table.parquet")
    found = read_measurements(tmp_path / "table.parquet")
    assert found.settings == ((),)
    assert list(found.pairs["pair"]) == ["a->b", "b->a"]
    np.testing.assert_array_equal(found.values["dice"], [[[0.5, 0.25], [0.75, np.nan]]])
    np.testing.assert_array_equal(found.values["folding"], [[0.0, 0.0]])
