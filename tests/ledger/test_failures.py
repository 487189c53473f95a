"""Failures in a ledger: rows beside the values, kept through compaction, removed only when asked."""

from pathlib import Path

import numpy as np
import pytest

from hmopt.errors import LedgerError
from hmopt.ledger import Ledger
from hmopt.ledger.ledger import find_gaps
from hmopt.ledger.recorded import failed_block
from hmopt.ledger.shard import Axes
from hmopt.records import Block, Pair
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
LABELS = ("cortex", "pons")
PAIRS = [
    Pair(moving=name, fixed="x", moving_subject=name, fixed_subject="x") for name in ("a", "b", "c")
]


def measured(place: int, *pairs: Pair) -> Block:
    """Values of some pairs, of which the second label is missing."""
    count = len(pairs)
    dice = np.column_stack([np.full(count, 0.5), np.full(count, np.nan)])
    return Block(
        index=(place,),
        pairs=tuple(pair.id for pair in pairs),
        labels=LABELS,
        values={"dice": dice, "folding": np.zeros(count)},
    )


def failed(place: int, pair: Pair, reason: str) -> Block:
    return failed_block((place,), {pair.id: reason}, LABELS, ["dice", "folding"])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Measurements at two settings: at the second, b and c failed."""
    ledger = Ledger(tmp_path)
    ledger.write("0f", SPACE, [measured(10, *PAIRS)])
    ledger.write("0f", SPACE, [measured(20, PAIRS[0]), failed(20, PAIRS[1], "a crash (SIGSEGV)")])
    ledger.write("0f", SPACE, [failed(20, PAIRS[2], "a crash (SIGSEGV)")])
    ledger.write("other", SPACE, [failed(20, PAIRS[0], "ValueError: x")])
    return ledger


def gaps(ledger: Ledger) -> list[tuple[int, ...]]:
    axes = Axes(
        space=SPACE,
        settings=((10,), (20,)),
        pairs=tuple(pair.id for pair in PAIRS),
        labels=LABELS,
    )
    cells = ledger.read("0f", axes, ["dice", "folding"])
    return [gap.index for gap in find_gaps(cells, PAIRS)]


def test_a_failure_is_known_with_its_reason_and_no_gap(ledger: Ledger) -> None:
    reason = "a crash (SIGSEGV)"
    assert ledger.failures("0f", SPACE) == {(20,): {"b->x": reason, "c->x": reason}}
    assert gaps(ledger) == []
    assert ledger.holdings()[0].failures == {reason: 2}
    kept = {one.metric: one.rows for one in ledger.holdings()[0].metrics}
    assert kept == {"dice@1": 12, "folding@1": 6}  # reasons are no values


def test_a_missing_label_is_no_failure(ledger: Ledger) -> None:
    block = ledger.block("0f", SPACE, (10,), ["a->x"], ["dice"], LABELS)
    assert np.isnan(block.values["dice"][0, 1])
    assert (10,) not in ledger.failures("0f", SPACE)


def test_failures_survive_compaction_and_a_lost_manifest(ledger: Ledger) -> None:
    before = ledger.failures("0f", SPACE)
    ledger.compact()
    assert ledger.failures("0f", SPACE) == before
    (ledger.folder / "manifest.json").unlink()
    assert ledger.failures("0f", SPACE) == before


def test_what_is_forgotten_is_a_gap_again_and_nothing_else_changes(ledger: Ledger) -> None:
    assert ledger.forget_failures("0f", SPACE) == 2
    assert ledger.failures("0f", SPACE) == {}
    assert gaps(ledger) == [(20,)]
    missing = ledger.missing("0f", SPACE, [(10,), (20,)], PAIRS, ["folding"], LABELS)
    assert [pair.id for pair in missing[0].pairs] == ["b->x", "c->x"]
    assert ledger.failures("other", SPACE) == {(20,): {"a->x": "ValueError: x"}}
    assert ledger.forget_failures("0f", SPACE) == 0
    ledger.write("0f", SPACE, [measured(20, *PAIRS[1:])])
    assert gaps(ledger) == []
    block = ledger.block("0f", SPACE, (20,), ["b->x"], ["dice"], LABELS)
    assert block.values["dice"][0, 0] == 0.5


def test_a_damaged_shard_with_failures_is_refused(ledger: Ledger) -> None:
    for path in ledger.folder.glob("*.parquet"):
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
    with pytest.raises(LedgerError):
        ledger.failures("0f", SPACE)
