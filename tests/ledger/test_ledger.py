import itertools
import json
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hmopt.catalogue import METRICS as DECLARED
from hmopt.errors import LedgerError
from hmopt.ledger import Ledger
from hmopt.records import Block, Pair
from hmopt.space import Hyperparameter, Index, Space

METRICS = ("dice", "folding")
INDICES: list[Index] = [(0,), (70,), (200,)]


def write_each(ledger: Ledger, oracle: Any, indices: Sequence[Index], pairs: list[Pair]) -> None:
    for index in indices:
        ledger.write(
            oracle.identity,
            oracle.space,
            [oracle.block(index, [pair.id for pair in pairs], METRICS)],
        )


def known_array(
    oracle: Any, indices: list[Index], pairs: list[Pair], metric: str
) -> NDArray[np.float64]:
    return np.array([oracle.array(index, [pair.id for pair in pairs], metric) for index in indices])


@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_values_do_not_depend_on_how_work_was_cut_into_blocks_and_shards(
    data: Any,
    oracle: Any,
    pairs: list[Pair],
    pair_table: pd.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cells = data.draw(
        st.permutations(list(itertools.product(INDICES, [pair.id for pair in pairs], METRICS)))
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(cells)), max_size=4)))
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    for start, stop in itertools.pairwise([0, *cuts, len(cells)]):
        blocks = [
            oracle.block(index, [pair], [metric]) for index, pair, metric in cells[start:stop]
        ]
        ledger.write(oracle.identity, oracle.space, blocks)
    if data.draw(st.booleans()):
        ledger.compact()
    found = ledger.measurements(oracle.identity, oracle.space, pair_table, METRICS, oracle.labels)
    assert found.settings == tuple(INDICES)
    for metric in METRICS:
        np.testing.assert_array_equal(
            found.values[metric], known_array(oracle, INDICES, pairs, metric)
        )


def test_settings_of_two_hyperparameters_are_told_apart(
    plane_oracle: Any, pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> None:
    ledger, indices = Ledger(tmp_path), [(0, 3), (2, 1), (3, 0), (10, 4)]
    write_each(ledger, plane_oracle, indices, pairs)
    found = ledger.measurements(
        plane_oracle.identity, plane_oracle.space, pair_table, METRICS, plane_oracle.labels
    ).at([(3, 0), (0, 3)])
    assert found.settings == ((0, 3), (3, 0))
    np.testing.assert_array_equal(
        found.values["dice"], known_array(plane_oracle, [(0, 3), (3, 0)], pairs, "dice")
    )


def test_only_what_was_never_measured_is_missing_and_nan_counts_as_measured(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    write_each(ledger, oracle, [(70,)], pairs[:3])
    gaps = ledger.missing(
        oracle.identity, oracle.space, [(70,), (0,)], pairs, ["dice", "hd95_mm"], oracle.labels
    )
    assert [(gap.index, len(gap.pairs), gap.metrics) for gap in gaps] == [
        ((70,), 5, ("dice", "hd95_mm")),
        ((0,), 5, ("dice", "hd95_mm")),
    ]
    gaps = ledger.missing(oracle.identity, oracle.space, [(70,)], pairs, METRICS, oracle.labels)
    assert [gap.pairs for gap in gaps] == [tuple(pairs[3:])]
    gaps = ledger.missing(
        oracle.identity, oracle.space, [(70,)], pairs[:3], METRICS, [*oracle.labels, "fornix"]
    )
    assert [gap.metrics for gap in gaps] == [("dice",)]


@pytest.mark.parametrize("other", ["identity", "step", "version"])
def test_measurements_of_another_model_lattice_or_version_are_not_served(
    other: str, oracle: Any, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path)
    write_each(ledger, oracle, [(70,)], pairs)
    identity, space = oracle.identity, oracle.space
    if other == "identity":
        identity = "another"
    elif other == "step":
        space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.01),))
    else:
        changed = replace(DECLARED["dice"], version=2)
        monkeypatch.setitem(DECLARED, "dice", changed)
    assert len(ledger.missing(identity, space, [(70,)], pairs, ["dice"], oracle.labels)) == 1


def test_training_prior_and_default_do_not_change_what_a_lattice_index_means(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    write_each(ledger, oracle, [(70,)], pairs)
    space = Space(
        hyperparameters=(Hyperparameter(name="regularization", default=0.3, end_point_rate=0.2),)
    )
    assert ledger.missing(oracle.identity, space, [(70,)], pairs, METRICS, oracle.labels) == []


@pytest.mark.parametrize("compacted", [False, True])
def test_of_two_values_under_one_key_the_first_stays(
    compacted: bool, space: Space, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    for value in (0.25, 0.5):
        block = Block(
            index=(70,), pairs=("a->b",), labels=("x",), values={"dice": np.array([[value]])}
        )
        ledger.write("0f", space, [block])
    if compacted:
        ledger.compact()
    assert ledger.block("0f", space, (70,), ["a->b"], ["dice"], ["x"]).values["dice"] == 0.25


def test_a_setting_that_lacks_a_pair_is_not_among_the_measurements(
    oracle: Any, pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    write_each(ledger, oracle, [(70,)], pairs)
    write_each(ledger, oracle, [(0,)], pairs[1:])
    found = ledger.measurements(oracle.identity, oracle.space, pair_table, METRICS, oracle.labels)
    assert found.settings == ((70,),)
    with pytest.raises(LedgerError, match="none measured for all of them"):
        ledger.measurements("another", oracle.space, pair_table, METRICS, oracle.labels)


def write_from_process(folder: Path, first: int) -> None:
    space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    for index in range(first, 20, 2):
        block = Block(
            index=(index,), pairs=("a->b",), labels=(), values={"folding": np.array([index / 64])}
        )
        Ledger(folder).write("0f", space, [block])
        if index % 10 == 0:
            Ledger(folder).compact()


def test_two_processes_write_read_and_compact_at_once_and_nothing_is_lost(
    space: Space, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write_from_process, args=(tmp_path, first)) for first in (0, 1)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        for index in Ledger(tmp_path).settings("0f", space):
            assert (
                Ledger(tmp_path)
                .block("0f", space, index, ["a->b"], ["folding"], [])
                .values["folding"]
                == index[0] / 64
            )
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert Ledger(tmp_path).settings("0f", space) == [(index,) for index in range(20)]


def test_an_interrupted_write_leaves_the_ledger_as_it_was(
    oracle: Any, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path)
    write_each(ledger, oracle, [(0,)], pairs)
    before = (tmp_path / "manifest.json").read_bytes()

    def torn(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", torn)
        with pytest.raises(KeyboardInterrupt):
            write_each(ledger, oracle, [(70,)], pairs)
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    write_each(ledger, oracle, [(70,)], pairs)
    assert ledger.settings(oracle.identity, oracle.space) == [(0,), (70,)]


def write_until_killed(folder: Path) -> None:
    """Write one whole shard, then stop dead between a second shard and the manifest that would name it."""
    write_from_process(folder, 19)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmopt.ledger.manifest.write_json", lambda *_: os._exit(9))
        block = Block(index=(0,), pairs=("a->b",), labels=(), values={"folding": np.array([0.5])})
        Ledger(folder).write(
            "0f", Space(hyperparameters=(Hyperparameter(name="regularization"),)), [block]
        )


def test_a_writer_that_is_killed_holds_nobody_up_and_what_it_wrote_is_taken_in_by_the_next_one(
    space: Space, tmp_path: Path
) -> None:
    writer = multiprocessing.get_context("spawn").Process(
        target=write_until_killed, args=(tmp_path,)
    )
    writer.start()
    writer.join()
    assert writer.exitcode == 9
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    ledger = Ledger(tmp_path)
    assert ledger.settings("0f", space) == [(19,)]
    ledger.write(
        "0f",
        space,
        [Block(index=(1,), pairs=("a->b",), labels=(), values={"folding": np.array([0.25])})],
    )
    assert ledger.settings("0f", space) == [(0,), (1,), (19,)]
    assert ledger.block("0f", space, (0,), ["a->b"], ["folding"], []).values["folding"] == 0.5


def test_a_file_that_no_manifest_names_is_not_read(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    write_each(ledger, oracle, [(0,)], pairs)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    assert (
        ledger.missing(oracle.identity, oracle.space, [(0,)], pairs, METRICS, oracle.labels) == []
    )


def test_compaction_leaves_one_shard_for_each_model(
    oracle: Any, pairs: list[Pair], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    write_each(ledger, oracle, INDICES, pairs)
    oracle.identity = "another"
    write_each(ledger, oracle, INDICES, pairs)
    ledger.compact()
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_a_manifest_that_cannot_be_read_is_said_so(space: Space, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": 1, "shar')
    with pytest.raises(
        LedgerError, match=r"manifest.json: expected the manifest of a ledger, got a damaged file"
    ):
        Ledger(tmp_path).settings("0f", space)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 7, "shards": []}))
    with pytest.raises(LedgerError, match="expected format 1, got 7"):
        Ledger(tmp_path).settings("0f", space)


def test_a_shard_that_is_gone_is_said_so(oracle: Any, pairs: list[Pair], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    write_each(ledger, oracle, [(0,)], pairs)
    next(tmp_path.glob("*.parquet")).unlink()
    with pytest.raises(LedgerError, match="expected every shard of the manifest"):
        ledger.missing(oracle.identity, oracle.space, [(0,)], pairs, METRICS, oracle.labels)
