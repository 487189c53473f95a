from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hmopt.errors import LedgerError
from hmopt.ledger import Ledger, Measurements, read_measurements, write_measurements
from hmopt.ledger.measurements import PAIR_COLUMNS
from hmopt.records import Pair
from hmopt.space import Hyperparameter, Space

METRICS = ("folding", "dice")


def measured(
    oracle: Any, pairs: list[Pair], pair_table: pd.DataFrame, folder: Path
) -> Measurements:
    ledger, indices = Ledger(folder), [(3, 0), (0, 3), (10, 4)]
    blocks = [oracle.block(index, [pair.id for pair in pairs], METRICS) for index in indices]
    ledger.write(oracle.identity, oracle.space, blocks)
    return ledger.measurements(oracle.identity, oracle.space, pair_table, METRICS, oracle.labels)


def test_a_table_gives_back_what_was_written(
    plane_oracle: Any, pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> None:
    written = measured(plane_oracle, pairs, pair_table, tmp_path / "ledger")
    write_measurements(written, tmp_path / "m.parquet")
    read = read_measurements(tmp_path / "m.parquet")
    assert (read.identity, read.space, read.settings, read.labels) == (
        written.identity,
        written.space,
        written.settings,
        written.labels,
    )
    pd.testing.assert_frame_equal(read.pairs, pair_table, check_dtype=False)
    for metric in METRICS:
        np.testing.assert_array_equal(read.values[metric], written.values[metric])


def test_pandas_alone_can_read_a_table(
    plane_oracle: Any, pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> None:
    write_measurements(
        measured(plane_oracle, pairs, pair_table, tmp_path / "ledger"), tmp_path / "m.parquet"
    )
    rows = pd.read_parquet(tmp_path / "m.parquet")
    one = rows[
        (rows["pair"] == "b->c") & (rows["regularization"] == 0.3) & (rows["weight"] == 0.001)
    ]
    assert one["dice"].dropna().tolist() == plane_oracle.array((3, 0), ["b->c"], "dice")[0].tolist()
    assert (
        one.loc[one["label"].isna(), "folding"].tolist()
        == plane_oracle.array((3, 0), ["b->c"], "folding").tolist()
    )


def test_a_large_study_stays_well_below_five_megabytes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [f"subject-{number:03d}_session-1" for number in range(200)]
    pairs = pd.DataFrame(
        [(f"{n}->{n}x", n, n + "x", n, n + "x", "cross") for n in names], columns=list(PAIR_COLUMNS)
    )
    measurements = Measurements(
        identity="0f",
        space=Space(hyperparameters=(Hyperparameter(name="regularization"),)),
        settings=tuple((index,) for index in range(30)),
        pairs=pairs,
        labels=tuple(f"label {number}" for number in range(20)),
        values={
            "dice": random.random((30, 200, 20)),
            "dice_nearest": random.random((30, 200, 20)),
            "folding": random.random((30, 200)),
        },
    )
    write_measurements(measurements, tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").stat().st_size < 2_000_000


def test_what_is_no_table_of_measurements_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with pytest.raises(LedgerError, match="got no file"):
        read_measurements(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(
        LedgerError, match=r"m.parquet: expected the measurements that were written, got Parquet"
    ):
        read_measurements(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(LedgerError, match="got another file"):
        read_measurements(path)


def test_every_flipped_bit_of_a_table_is_seen(
    plane_oracle: Any, pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "m.parquet"
    write_measurements(measured(plane_oracle, pairs, pair_table, tmp_path / "ledger"), path)
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), 100).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(LedgerError, match=r"m.parquet: expected "):
            read_measurements(path)


@pytest.mark.parametrize(
    "name",
    ["dice", "regularization", "label", "scope", "value", "metric", "column: dice", "hd95_mm"],
)
def test_columns_of_the_cohort_may_have_any_name(
    name: str, plane_oracle: Any, pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> None:
    table = pair_table.assign(**{name: ["a", "b", "c", "d", ""]})
    before = measured(plane_oracle, pairs, table, tmp_path / "ledger")
    write_measurements(before, tmp_path / "m.parquet")
    after = read_measurements(tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(after.pairs, before.pairs)
    assert after.settings == before.settings
    for metric, values in before.values.items():
        np.testing.assert_array_equal(after.values[metric], values)
