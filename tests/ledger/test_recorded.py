import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmopt.catalogue import METRICS as DECLARED
from hmopt.ledger import Ledger, Recorded
from hmopt.ledger import ledger as ledger_module
from hmopt.ledger import recorded as recorded_module
from hmopt.ledger.shard import read_shard
from hmopt.records import Pair

METRICS = ("dice", "folding")


def by_pair(blocks: Any, metric: str) -> dict[str, list[float]]:
    return {
        pair: np.atleast_1d(row).tolist()
        for b in blocks
        for pair, row in zip(b.pairs, b.values[metric], strict=True)
    }


def test_nothing_is_measured_twice_and_values_stay_the_same(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    first = list(Recorded(oracle, Ledger(tmp_path)).measure([(0,), (70,)], pairs, METRICS))
    assert len(oracle.asked) == 2 * len(pairs) * len(METRICS)
    second = list(Recorded(oracle, Ledger(tmp_path)).measure([(0,), (70,)], pairs, METRICS))
    assert len(oracle.asked) == 2 * len(pairs) * len(METRICS)
    assert [block.index for block in second] == [(0,), (70,)]
    for metric in METRICS:
        np.testing.assert_equal(by_pair(first[-3:], metric), by_pair(second[-1:], metric))


def test_only_new_pairs_and_metrics_are_measured(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    recorded = Recorded(oracle, Ledger(tmp_path))
    list(recorded.measure([(70,)], pairs[:3], ["dice"]))
    oracle.asked.clear()
    blocks = list(recorded.measure([(70,)], pairs[:3], METRICS))
    assert {metric for _, _, metric in oracle.asked} == {"folding"}
    ids = [pair.id for pair in pairs[:3]]
    np.testing.assert_equal(
        by_pair(blocks, "dice"),
        dict(zip(ids, oracle.array((70,), ids, "dice").tolist(), strict=True)),
    )
    oracle.asked.clear()
    list(recorded.measure([(70,)], pairs, METRICS))
    assert {pair for _, pair, _ in oracle.asked} == {pair.id for pair in pairs[3:]}


def test_values_are_kept_and_given_in_single_precision(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    oracle.value = lambda *_: 0.1
    recorded = Recorded(oracle, Ledger(tmp_path))
    for _ in ("measured", "read"):
        assert by_pair(recorded.measure([(70,)], pairs, ["folding"]), "folding")["a->b"] == [
            float(np.float32(0.1))
        ]


def test_what_was_measured_before_an_interruption_is_kept(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    blocks = Recorded(oracle, Ledger(tmp_path)).measure([(0,), (70,)], pairs, METRICS)
    assert len(list(itertools.islice(blocks, 2))) == 2
    blocks.close()  # type: ignore[attr-defined]
    oracle.asked.clear()
    list(Recorded(oracle, Ledger(tmp_path)).measure([(0,)], pairs, METRICS))
    assert {pair for _, pair, _ in oracle.asked} == {pairs[-1].id}


def test_an_oracle_that_fails_leaves_what_it_gave_before(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    measure = oracle.measure

    def failing(*arguments: Any) -> Any:
        yield next(measure(*arguments))
        raise RuntimeError("out of memory")

    oracle.measure = failing
    with pytest.raises(RuntimeError):
        list(Recorded(oracle, Ledger(tmp_path)).measure([(0,)], pairs, METRICS))
    gaps = Ledger(tmp_path).missing(
        oracle.identity, oracle.space, [(0,)], pairs, METRICS, oracle.labels
    )
    assert gaps[0].pairs == tuple(pairs[2:])


def test_a_metric_asked_for_later_is_measured_alone_and_a_new_version_leaves_the_others_valid(
    oracle: Any, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(oracle, Ledger(tmp_path))
    list(recorded.measure([(0,), (70,)], pairs, METRICS))
    oracle.asked.clear()
    list(recorded.measure([(0,), (70,)], pairs, [*METRICS, "similarity"]))
    assert sorted(oracle.asked) == sorted(
        (index, pair.id, "similarity") for index in ((0,), (70,)) for pair in pairs
    )
    oracle.asked.clear()
    monkeypatch.setitem(DECLARED, "folding", replace(DECLARED["folding"], version=2))
    list(recorded.measure([(70,)], pairs, [*METRICS, "similarity"]))
    assert {metric for _, _, metric in oracle.asked} == {"folding"}


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the shards that are opened, one entry for each reading of a ledger."""
    counts: list[int] = []
    read_once = Ledger._read_once

    def counting_readings(self: Ledger, *arguments: Any) -> Any:
        counts.append(0)
        return read_once(self, *arguments)

    def counting_shards(*arguments: Any) -> Any:
        counts[-1] += 1
        return read_shard(*arguments)

    monkeypatch.setattr(Ledger, "_read_once", counting_readings)
    monkeypatch.setattr(ledger_module, "read_shard", counting_shards)
    return counts


def test_every_question_reads_the_ledger_once_however_many_settings_it_is_about(
    oracle: Any, pairs: list[Pair], tmp_path: Path, readings: list[int]
) -> None:
    recorded = Recorded(oracle, Ledger(tmp_path))
    settings = [(place,) for place in range(0, 200, 10)]
    recorded.fill(settings[:15], pairs, METRICS)  # an empty ledger
    assert readings == [0]
    list(recorded.measure(settings, pairs, METRICS))  # known, and new ones
    assert readings == [0, 1]
    list(recorded.measure(settings, pairs, METRICS))  # all known
    recorded.fill(settings, pairs, METRICS)
    assert readings == [0, 1, 2, 2]


def test_filling_measures_what_is_missing_and_no_more(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    recorded = Recorded(oracle, Ledger(tmp_path))
    recorded.fill([(70,)], pairs, ["dice"])
    oracle.asked.clear()
    recorded.fill([(0,), (70,)], pairs, METRICS)
    asked = set(oracle.asked)
    assert len(asked) == len(oracle.asked) == 3 * len(pairs)
    assert {metric for index, _, metric in asked if index == (70,)} == {"folding"}
    oracle.asked.clear()
    recorded.fill([(0,), (70,)], pairs, METRICS)
    assert oracle.asked == []


def test_no_clock_decides_the_files_of_a_worker_alone(
    oracle: Any, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_module, "PAIRS_A_BLOCK", 2)
    monkeypatch.setattr(recorded_module, "SETTINGS_A_BLOCK", 3)
    monkeypatch.setattr(recorded_module, "VALUES_A_SHARD", 40)
    settings = [(place,) for place in range(0, 200, 10)]
    found = []
    for name, seconds in (("quick", 1e9), ("slow", 0.0)):
        # a slow worker takes one block at a time, and writes what there is of a shard after each
        monkeypatch.setattr(recorded_module, "SECONDS_A_LEASE", seconds)
        monkeypatch.setattr(recorded_module, "SECONDS_A_SHARD", seconds)
        folder = tmp_path / name
        Recorded(oracle, Ledger(folder)).fill(settings, pairs, METRICS)
        files = [path for path in folder.iterdir() if path.suffix in (".parquet", ".json")]
        contents = {path.name: path.read_bytes() for path in files if path.stem != "leases"}
        found.append(contents)
    quick, slow = found
    assert len(quick) > 3
    assert slow == quick
