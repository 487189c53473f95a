import numpy as np
import pytest
from scipy import stats

from hmopt.analysis.evidence import Evidence, holm, of_interval, of_test, signed_rank
from hmopt.analysis.resampling import Estimate


def test_the_signed_rank_test_counts_the_signs_that_are_as_extreme() -> None:
    differences = np.array([0.3, -0.1, 0.2, 0.5, 0.4, 0.6])
    ranks = stats.rankdata(np.abs(differences))
    signs = (np.arange(2**6)[:, None] >> np.arange(6)) & 1
    as_extreme = (signs @ ranks >= ranks[differences > 0].sum()).mean()
    assert signed_rank(differences) == pytest.approx(as_extreme)


def test_no_difference_at_all_is_no_evidence_and_no_subject_no_test() -> None:
    assert signed_rank(np.zeros(8)) == 1.0
    assert np.isnan(signed_rank(np.empty(0)))


def test_holms_rule_rejects_what_its_steps_reject() -> None:
    p_values = np.random.default_rng(0).uniform(0, 0.1, 12)
    for level in (0.02, 0.05, 0.2, 0.7):
        rejected = set()
        for step, place in enumerate(np.argsort(p_values)):
            if p_values[place] > level / (12 - step):
                break
            rejected.add(place)
        assert set(np.flatnonzero(holm(p_values) <= level)) == rejected


def test_unknown_p_values_stay_unknown_and_cost_nothing() -> None:
    np.testing.assert_allclose(holm([np.nan, 0.02, 0.03]), [np.nan, 0.04, 0.04])


@pytest.mark.parametrize(
    ("p_value", "subjects", "expected"),
    [(0.01, 9, Evidence.FOUND), (0.2, 9, Evidence.NONE), (0.01, 4, Evidence.TOO_FEW), (np.nan, 9, Evidence.TOO_FEW)],
)
def test_a_test_says_what_it_can(p_value: float, subjects: int, expected: Evidence) -> None:
    assert of_test(p_value, subjects) is expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 0.3, Evidence.FOUND), (-0.1, 0.3, Evidence.NONE), (np.nan, np.nan, Evidence.TOO_FEW)],
)
def test_an_interval_says_what_it_can(low: float, high: float, expected: Evidence) -> None:
    assert of_interval(Estimate(0.2, low, high)) is expected
