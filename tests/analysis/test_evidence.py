import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from hmopt.analysis.evidence import Evidence, holm, of_difference, of_interval, of_mean
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.resampling import Estimate


def test_holms_rule_rejects_what_its_steps_reject() -> None:
    p_values = np.random.default_rng(0).uniform(0, 0.1, 12)
    for level in (0.02, 0.05, 0.2, 0.7):
        rejected = set()
        for step, place in enumerate(np.argsort(p_values)):
            if p_values[place] > level / (12 - step):
                break
            rejected.add(place)
        assert set(np.flatnonzero(holm(p_values.tolist()) <= level)) == rejected


def test_corrected_p_values_are_those_of_statsmodels() -> None:
    generator = np.random.default_rng(0)
    for count in (1, 2, 7, 40):
        p_values = generator.random(count) ** 3
        _, expected, *_ = multipletests(p_values, method="holm")
        np.testing.assert_allclose(holm(p_values.tolist()), expected, rtol=1e-12)


def test_unknown_p_values_stay_unknown_and_cost_nothing() -> None:
    np.testing.assert_allclose(holm([np.nan, 0.02, 0.03]), [np.nan, 0.04, 0.04])


@pytest.mark.parametrize(
    ("value", "error", "p_adjusted", "subjects", "expected"),
    [
        (0.01, 0.003, 0.01, 9, Evidence.FOUND),
        (-0.01, 0.003, 0.01, 9, Evidence.FOUND),
        (0.01, 0.003, 0.06, 9, Evidence.NONE),
        (0.01, 0.006, 0.01, 9, Evidence.NONE),
        (0.01, 0.003, 0.01, 4, Evidence.TOO_FEW),
        (0.01, np.nan, np.nan, 9, Evidence.TOO_FEW),
        (0.0005, 0.0004, 0.3, 9, Evidence.NEGLIGIBLE),
        (0.0010, 0.0001, 0.001, 9, Evidence.NEGLIGIBLE),
        (0.0005, 0.0030, 0.9, 9, Evidence.NONE),
        (0.0, 0.0, 1.0, 9, Evidence.NEGLIGIBLE),
        (0.01, 0.0, 1.0, 9, Evidence.NONE),
    ],
)
def test_a_verdict_needs_the_corrected_test_and_the_interval_and_negligible_is_a_claim_of_its_own(
    value: float, error: float, p_adjusted: float, subjects: int, expected: Evidence
) -> None:
    mean = Mean(value=value, error=error, freedom=subjects - 1, subjects=subjects)
    assert of_mean(mean, p_adjusted, margin=0.002) is expected


def test_a_small_difference_that_is_not_sure_is_never_called_negligible() -> None:
    unsure = Mean(value=0.0, error=0.002, freedom=7, subjects=8)
    assert of_mean(unsure, unsure.p_value, margin=0.002) is Evidence.NONE


@pytest.mark.parametrize(
    ("value", "error", "subjects", "expected"),
    [
        (0.01, 0.003, 9, Evidence.FOUND),
        (0.01, 0.006, 9, Evidence.NONE),
        (0.01, 0.0, 9, Evidence.NONE),
        (0.01, 0.003, 4, Evidence.TOO_FEW),
    ],
)
def test_a_single_difference_says_what_it_can(
    value: float, error: float, subjects: int, expected: Evidence
) -> None:
    assert (
        of_difference(Mean(value=value, error=error, freedom=subjects - 1, subjects=subjects))
        is expected
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 0.3, Evidence.FOUND), (-0.1, 0.3, Evidence.NONE), (np.nan, np.nan, Evidence.TOO_FEW)],
)
def test_an_interval_says_what_it_can(low: float, high: float, expected: Evidence) -> None:
    assert of_interval(Estimate(0.2, low, high)) is expected
