"""The time of registrations, of any oracle that registers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from hmopt.catalogue import find_metric
from hmopt.catalogue.metrics import WALL_TIME
from hmopt.data.pairs import draw_pairs
from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import parse_study
from hmopt.declaration.study import with_absolute_paths
from hmopt.ledger import Ledger, Recorded
from hmopt.metrics import Originals
from hmopt.oracle import UnregisteredOracle
from hmopt.records import Pair
from hmopt.space import Index


class Slow(UnregisteredOracle):
    """Takes half a second of a clock that the test sets."""

    calls = 0

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        self.calls += 1
        return super().register(index, pairs, images)


def test_wall_time_is_measured_with_the_rest_and_never_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cohort(tmp_path / "data", subjects=4, shape=(24, 24))
    declared = {
        "name": "x",
        "cohort": {"manifest": "data/cohort.csv", "label_names": "data/dseg.tsv"},
        "preprocessing": {"shape": [16, 16]},
        "split": {"train": 0, "tune": 0, "search": 4},
        "pairs": {"same": ["modality"], "search": 4},
        "model": {"source": "engine", "callable": "x.py:register"},
    }
    study = with_absolute_paths(parse_study(declared), tmp_path)
    cohort = prepare(study, tmp_path)
    pairs = draw_pairs(cohort, study.pairs, "search")
    # the clock goes on by half a second each time that it is looked at
    ticks = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr("hmopt.oracle.registered.time.perf_counter", lambda: next(ticks))
    slow = Slow(cohort, batch=2)
    recorded = Recorded(slow, Ledger(tmp_path / "ledger"))
    recorded.fill([()], pairs, ["folding"])
    calls = slow.calls
    (without,) = recorded.measure([()], pairs, ["folding", WALL_TIME])
    assert slow.calls == calls  # what was not timed is not registered again
    assert np.isnan(without.values[WALL_TIME]).all()
    fresh = Recorded(slow, Ledger(tmp_path / "other"))
    blocks = list(fresh.measure([()], pairs, ["folding", WALL_TIME]))
    assert slow.calls > calls
    for block in blocks:
        # each of the two pairs of a batch has an equal share of half a second
        np.testing.assert_allclose(block.values[WALL_TIME], 0.5 / len(block.pairs))
    assert find_metric(WALL_TIME).unit == "s"
