from typing import Any

import numpy as np
import pandas as pd
import pytest

from hmopt.errors import LedgerError
from hmopt.ledger import Measurements, Tabulated
from hmopt.records import Pair


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
