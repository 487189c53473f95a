from pathlib import Path

import numpy as np
import pytest

from hmopt.data.prepared import PreparedCohort
from hmopt.ledger import Ledger, Recorded
from hmopt.oracle import UnregisteredOracle
from hmopt.records import Pair


def test_pairs_are_measured_as_they_are(cohort: PreparedCohort, pairs: list[Pair]) -> None:
    names = ["dice", "dice_nearest", "folding", "log_jacobian_sd"]
    blocks = list(UnregisteredOracle(cohort, batch=2).measure([()], pairs, names))
    values = {name: np.concatenate([block.values[name] for block in blocks]) for name in names}
    for row, pair in enumerate(pairs):
        moving, fixed = cohort.label_map(pair.moving), cohort.label_map(pair.fixed)
        both = ((moving == 1) & (fixed == 1)).sum()
        expected = 2 * both / ((moving == 1).sum() + (fixed == 1).sum())
        assert values["dice"][row, 0] == pytest.approx(expected)
        assert values["dice_nearest"][row, 0] == pytest.approx(expected)
    assert not values["folding"].any()
    assert not values["log_jacobian_sd"].any()


def test_label_that_one_image_lacks_is_not_measured(
    cohort: PreparedCohort, pairs: list[Pair]
) -> None:
    for block in UnregisteredOracle(cohort).measure([()], pairs, ["dice"]):
        assert np.isnan(block.values["dice"][:, 2]).all()
        assert np.isfinite(block.values["dice"][:, :2]).all()


def test_identity_is_the_cohorts(flat_cohort: PreparedCohort, other_cohort: PreparedCohort) -> None:
    identities = {
        UnregisteredOracle(one).identity for one in (flat_cohort, flat_cohort, other_cohort)
    }
    assert len(identities) == 2


def test_its_one_setting_goes_through_a_ledger(
    flat_cohort: PreparedCohort, pairs: list[Pair], tmp_path: Path
) -> None:
    direct = UnregisteredOracle(flat_cohort)
    (expected,) = direct.measure([()], pairs, ["dice", "folding"])
    recorded = Recorded(direct, Ledger(tmp_path))
    recorded.fill(recorded.space.coarse(21), pairs, ["dice", "folding"])
    (block,) = recorded.measure([()], pairs, ["dice", "folding"])
    assert Ledger(tmp_path).settings(direct.identity, direct.space) == [()]
    np.testing.assert_allclose(block.values["dice"], expected.values["dice"], atol=1e-6)
