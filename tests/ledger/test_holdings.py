from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hmopt.ledger import Ledger
from hmopt.ledger.ledger import Kept
from hmopt.records import Pair


@pytest.fixture
def ledger(oracle: Any, pairs: list[Pair], tmp_path: Path) -> Ledger:
    """Two settings of one model, the second only without surface distance; one setting of another model."""
    ids = [pair.id for pair in pairs]
    ledger = Ledger(tmp_path)
    ledger.write(oracle.identity, oracle.space, [oracle.block((70,), ids, ["dice", "hd95_mm"])])
    ledger.write(oracle.identity, oracle.space, [oracle.block((0,), ids[:3], ["dice", "folding"])])
    ledger.write("another", oracle.space, [oracle.block((0,), ids[:1], ["folding"])])
    return ledger


@pytest.mark.parametrize("compacted", [False, True])
def test_they_tell_what_there_is_of_each_metric_of_each_model(
    ledger: Ledger, oracle: Any, compacted: bool
) -> None:
    if compacted:
        ledger.compact()
    first, second = ledger.holdings()
    assert (first.identity, first.shards, second.identity) == (
        oracle.identity,
        1 if compacted else 2,
        "another",
    )
    assert first.metrics == (
        Kept(metric="dice@1", settings=2, pairs=5, labels=2, rows=10 + 6),
        Kept(metric="folding@1", settings=1, pairs=3, labels=0, rows=3),
        Kept(metric="hd95_mm@1", settings=1, pairs=5, labels=2, rows=10),
    )
    assert first.size + second.size == sum(
        path.stat().st_size for path in ledger.folder.glob("*.parquet")
    )


def test_they_are_told_without_reading_a_value(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pq.read_table

    def without_values(path: Path, columns: list[str], **options: Any) -> Any:
        assert "value" not in columns
        return read(path, columns=columns, **options)

    monkeypatch.setattr(pq, "read_table", without_values)
    assert len(ledger.holdings()) == 2


def test_an_empty_ledger_holds_nothing(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "none").holdings() == []


def test_rows_that_were_written_twice_are_there_once_when_shards_are_brought_together(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    ledger, ids = Ledger(tmp_path), [pair.id for pair in pairs]
    for part in (ids[:3], ids[1:], ids):
        ledger.write(
            oracle.identity, oracle.space, [oracle.block((70,), part, ["dice", "folding"])]
        )
    rows = [{kept.metric: kept.rows for kept in ledger.holdings()[0].metrics}]
    ledger.compact()
    rows.append({kept.metric: kept.rows for kept in ledger.holdings()[0].metrics})
    assert rows == [{"dice@1": 24, "folding@1": 12}, {"dice@1": 10, "folding@1": 5}]
