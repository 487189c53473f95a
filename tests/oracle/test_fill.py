from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from hmopt.data.prepared import PreparedCohort
from hmopt.ledger import Ledger, Recorded
from hmopt.networks import Hypermorph
from hmopt.oracle import AmortizedOracle
from hmopt.records import Pair

MakeModel = Callable[..., Hypermorph]
SETTINGS = [(0,), (100,), (200,)]
T = TypeVar("T")


@pytest.fixture
def oracle(flat_cohort: PreparedCohort, make_model: MakeModel) -> AmortizedOracle:
    return AmortizedOracle(make_model((16, 16)), flat_cohort, batch=2)


def lacking(oracle: AmortizedOracle, folder: Path, pairs: list[Pair]) -> int:
    gaps = Ledger(folder).missing(
        oracle.identity, oracle.space, SETTINGS, pairs, ["dice", "folding"], oracle.labels
    )
    return sum(len(gap.pairs) for gap in gaps)


def test_ledger_holds_everything_afterwards(
    oracle: AmortizedOracle, pairs: list[Pair], tmp_path: Path
) -> None:
    assert lacking(oracle, tmp_path, pairs) == 15
    Recorded(oracle, Ledger(tmp_path)).fill(SETTINGS, pairs, ["dice", "folding"])
    assert lacking(oracle, tmp_path, pairs) == 0


def test_progress_counts_every_pair_at_every_setting(
    oracle: AmortizedOracle, pairs: list[Pair], tmp_path: Path
) -> None:
    seen = []

    def counting(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        done = list(items)
        seen.append((len(done), total))
        yield from done

    for _ in range(2):
        Recorded(oracle, Ledger(tmp_path)).fill(SETTINGS, pairs, ["dice"], counting)
    assert seen == [(15, 15), (15, 15)]


def test_interrupted_sweep_goes_on_where_it_stopped(
    oracle: AmortizedOracle, pairs: list[Pair], tmp_path: Path
) -> None:
    def interrupted(
        items: Iterable[T], description: str, total: int, start: int = 0
    ) -> Iterator[T]:
        for count, item in enumerate(items):
            if count == 7:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        Recorded(oracle, Ledger(tmp_path)).fill(SETTINGS, pairs, ["dice", "folding"], interrupted)
    assert 0 < lacking(oracle, tmp_path, pairs) < 15
    Recorded(oracle, Ledger(tmp_path)).fill(SETTINGS, pairs, ["dice", "folding"])
    assert lacking(oracle, tmp_path, pairs) == 0
