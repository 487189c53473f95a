from typing import Any

import numpy as np
import pandas as pd
import pytest

from hmopt.errors import LedgerError
from hmopt.ledger import Measurements, Tabulated
from hmopt.ledger.measurements import joined, pair_records
from hmopt.records import Pair


@pytest.fixture
def measurements(oracle: Any, pair_table: pd.DataFrame) -> Measurements:
    values = np.random.default_rng(0).random((2, 5, 2))
    values[:, 1, 0] = np.nan
    values[:, 2] = np.nan
    return Measurements(
        identity="0f",
        space=oracle.space,
        settings=((0,), (70,)),
        pairs=pair_table,
        labels=oracle.labels,
        values={"dice": values, "folding": np.arange(10, dtype=np.float64).reshape(2, 5)},
    )


def test_a_pairs_score_is_the_mean_over_the_labels_that_it_has(measurements: Measurements) -> None:
    frame = pd.DataFrame(measurements.values["dice"].reshape(10, 2))
    np.testing.assert_allclose(measurements.score("dice").ravel(), frame.mean(axis=1))
    assert np.isnan(measurements.score("dice")[:, 2]).all()


def test_a_metric_per_pair_has_the_same_score_for_every_label(measurements: Measurements) -> None:
    mask = np.array([False, True, False, False, True])
    np.testing.assert_array_equal(
        measurements.score("folding", label="cortex", mask=mask), [[1, 4], [6, 9]]
    )


def test_parts_at_different_settings_are_joined_in_the_order_of_settings(
    measurements: Measurements,
) -> None:
    low, high = measurements.at([(0,)]), measurements.at([(70,)])
    again = joined([high, low], "1f")
    assert (again.identity, again.settings) == ("1f", measurements.settings)
    for metric, values in measurements.values.items():
        np.testing.assert_array_equal(again.values[metric], values)


def test_unknown_labels_and_metrics_are_named(measurements: Measurements) -> None:
    with pytest.raises(LedgerError, match="label: expected one of thalamus, cortex, got 'brain'"):
        measurements.score("dice", label="brain")
    with pytest.raises(
        LedgerError, match=r"expected one that was measured \(dice, folding\), got 'hd95_mm'"
    ):
        measurements.score("hd95_mm")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": ((70,), (0,))}, "settings: expected sorted settings"),
        ({"labels": ("thalamus",)}, r"dice: expected shape \(2, 5, 1\)"),
        ({"pairs": pd.DataFrame({"pair": ["a"]})}, "pairs: expected columns"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    measurements: Measurements, change: Any, message: str
) -> None:
    with pytest.raises(LedgerError, match=message):
        Measurements(**{**vars(measurements), **change})


def test_a_table_of_pairs_gives_the_pairs_back(pairs: list[Pair], pair_table: pd.DataFrame) -> None:
    assert pair_records(pair_table) == pairs


@pytest.fixture
def tabulated(oracle: Any, pairs: list[Pair], pair_table: pd.DataFrame) -> Tabulated:
    ids = [pair.id for pair in pairs]
    values = {
        m: np.array([oracle.array(i, ids, m) for i in [(0,), (70,)]]) for m in ("dice", "folding")
    }
    return Tabulated(
        Measurements(
            identity=oracle.identity,
            space=oracle.space,
            settings=((0,), (70,)),
            pairs=pair_table,
            labels=oracle.labels,
            values=values,
        )
    )


def test_a_table_answers_as_the_oracle_that_was_measured(
    tabulated: Tabulated, oracle: Any, pairs: list[Pair]
) -> None:
    chosen = [pairs[3], pairs[0]]
    blocks = list(tabulated.measure([(70,), (0,)], chosen, ["folding", "dice"]))
    assert [block.index for block in blocks] == [(70,), (0,)]
    expected = oracle.block((70,), [pair.id for pair in chosen], ["folding", "dice"])
    np.testing.assert_equal(dict(blocks[0].values), dict(expected.values))
    assert (tabulated.identity, tabulated.labels, tabulated.space) == (
        oracle.identity,
        oracle.labels,
        oracle.space,
    )


def test_it_gives_the_pairs_that_it_can_answer_for(tabulated: Tabulated, pairs: list[Pair]) -> None:
    assert tabulated.pairs == tuple(pairs)


def test_what_was_not_measured_is_refused(tabulated: Tabulated, pairs: list[Pair]) -> None:
    stranger = Pair(moving="x", fixed="y", moving_subject="x", fixed_subject="y")
    with pytest.raises(
        LedgerError, match=r"setting: expected one of the 2 that were measured, got .*0\.005"
    ):
        list(tabulated.measure([(1,)], pairs, ["dice"]))
    with pytest.raises(LedgerError, match="got x->y"):
        list(tabulated.measure([(0,)], [stranger], ["dice"]))
