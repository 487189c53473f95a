"""What of a ledger is read, told by rows and groups of rows rather than by time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hmopt.ledger import Ledger
from hmopt.ledger.shard import LEAST_ROWS, Axes, groups_of, read_shard
from hmopt.records import Block
from hmopt.space import Hyperparameter, Index, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
LABELS = tuple(f"label {letter}" for letter in "abcdefgh")
PAIRS = tuple(f"{number:03}->{number + 1:03}" for number in range(300))
SETTINGS: tuple[Index, ...] = tuple((place,) for place in range(0, 160, 10))


def dice(index: Index) -> np.ndarray:
    return (index[0] + np.arange(len(PAIRS))[:, None] / 512 + np.arange(len(LABELS))) / 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of 16 settings, 300 pairs and 8 labels in one shard."""
    folder = tmp_path_factory.mktemp("ledger")
    for index in SETTINGS:
        values = {
            "dice": dice(index),
            "dice_nearest": dice(index) / 2,
            "folding": np.zeros(len(PAIRS)),
        }
        Ledger(folder).write(
            "0f", SPACE, [Block(index=index, pairs=PAIRS, labels=LABELS, values=values)]
        )
    Ledger(folder).compact()
    return folder


def axes(
    labels: Sequence[str], settings: Sequence[Index] = SETTINGS, pairs: Sequence[str] = PAIRS
) -> Axes:
    return Axes(space=SPACE, settings=tuple(settings), pairs=tuple(pairs), labels=tuple(labels))


def only_shard(folder: Path) -> Path:
    (path,) = folder.glob("*.parquet")
    return path


def test_one_label_of_one_metric_reads_the_groups_that_have_it_and_no_others(folder: Path) -> None:
    path = only_shard(folder)
    rows = read_shard(path, axes(["label c"]), ["dice"])
    assert rows.num_rows == len(SETTINGS) * len(PAIRS) < pq.read_metadata(path).num_rows / 16
    assert set(rows["label"].to_pylist()) == {"label c"}
    assert set(rows["metric"].to_pylist()) == {"dice@1"}


def test_a_metric_per_pair_is_read_without_the_labels_of_others(folder: Path) -> None:
    rows = read_shard(only_shard(folder), axes(["label c"]), ["folding"])
    assert rows.num_rows == len(SETTINGS) * len(PAIRS)


def test_what_is_not_in_a_shard_touches_no_group(folder: Path) -> None:
    metadata = pq.read_metadata(only_shard(folder))
    assert groups_of(metadata, axes(["label z"]), ["dice"]) == []
    assert groups_of(metadata, axes(LABELS, settings=[(155,)]), ["dice"]) == []
    assert groups_of(metadata, axes(LABELS, pairs=["x->y"]), ["dice"]) == []
    assert groups_of(metadata, axes(LABELS), ["hd95_mm"]) == []
    assert (
        len(groups_of(metadata, axes(LABELS), ["dice", "dice_nearest", "folding"]))
        == metadata.num_row_groups
    )


def test_groups_that_are_passed_over_hold_nothing_that_was_asked_for(folder: Path) -> None:
    path = only_shard(folder)
    for asked in (
        axes(["label b", "label g"]),
        axes(LABELS, settings=[(30,)]),
        axes(LABELS, pairs=PAIRS[:2]),
    ):
        read = groups_of(pq.read_metadata(path), asked, ["dice"])
        with pq.ParquetFile(path) as file:
            passed = [place for place in range(file.num_row_groups) if place not in read]
            left = file.read_row_groups(passed).to_pandas()
        wanted = (
            left["label"].isin(asked.labels)
            & left["pair"].isin(asked.pairs)
            & (left["metric"] == "dice@1")
        )
        assert not (
            wanted & left["regularization"].isin([index[0] for index in asked.settings])
        ).any()


def test_a_small_file_is_one_group_so_that_its_footer_stays_small(tmp_path: Path) -> None:
    block = Block(
        index=(0,),
        pairs=PAIRS[:50],
        labels=LABELS,
        values={"dice": dice((0,))[:50], "folding": np.zeros(50)},
    )
    Ledger(tmp_path).write("0f", SPACE, [block])
    metadata = pq.read_metadata(only_shard(tmp_path))
    assert metadata.num_rows < LEAST_ROWS
    assert metadata.num_row_groups == 1


def test_a_scope_reads_no_other_columns_and_gets_its_values(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[pa.Table] = []
    read = pq.ParquetFile.read_row_groups

    def counting(file: Any, groups: list[int], columns: list[str]) -> pa.Table:
        seen.append(read(file, groups, columns=columns))
        return seen[-1]

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", counting)
    block = Ledger(folder).block("0f", SPACE, (70,), PAIRS, ["dice"], ["label e"])
    np.testing.assert_array_equal(block.values["dice"][:, 0], dice((70,))[:, 4].astype(np.float32))
    assert [rows.num_rows for rows in seen] == [len(SETTINGS) * len(PAIRS)]
    assert set(seen[0].column_names) == {"metric", "pair", "label", "regularization", "value"}
