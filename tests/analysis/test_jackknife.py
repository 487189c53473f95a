"""Standard errors of means over pairs: textbook cases, brute force, and how often a true 0 is rejected."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.evidence import Evidence, of_mean
from hmopt.analysis.jackknife import (
    Mean,
    difference_over_initializations,
    jackknife,
    jackknife_rows,
    mean_over_initializations,
    variance_of_mean,
)

COHORTS = 2000
LEVEL = 0.05


def names(subjects: int) -> NDArray[np.object_]:
    return np.array([f"s{number}" for number in range(subjects)], dtype=object)


def all_pairs(subjects: int) -> tuple[NDArray[np.object_], NDArray[np.object_], NDArray[np.intp]]:
    """Return the subjects of each unordered pair, as names and as places of shape (pairs, 2)."""
    places = np.array(list(itertools.combinations(range(subjects), 2)))
    moving, fixed = names(subjects)[places].T
    return moving, fixed, places


def test_of_single_subjects_it_is_the_t_test_of_textbooks() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 11)
    found = jackknife(values, names(11), names(11))
    textbook = stats.ttest_1samp(values, 0)
    assert found.error == pytest.approx(stats.sem(values))
    assert found.freedom == 10
    assert found.p_value == pytest.approx(textbook.pvalue)
    assert tuple(found.interval) == pytest.approx(tuple(textbook.confidence_interval(0.95)))


def test_of_pairs_within_and_across_subjects_it_is_a_loop_over_left_out_subjects() -> None:
    generator = np.random.default_rng(1)
    everyone = names(7)
    moving, fixed = everyone[generator.integers(7, size=(2, 40))]
    assert (moving == fixed).any()
    assert (moving != fixed).any()
    values = generator.normal(size=40)
    replicates = [
        np.mean(
            [value for value, a, b in zip(values, moving, fixed, strict=True) if name not in (a, b)]
        )
        for name in everyone
    ]
    variance = 6 / 7 * np.sum((replicates - np.mean(replicates)) ** 2)
    found = jackknife(values, moving, fixed)
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(np.sqrt(variance))
    assert (found.freedom, found.subjects) == (6, 7)


def test_the_subject_that_a_scope_is_about_is_never_left_out() -> None:
    values = np.random.default_rng(2).normal(size=8)
    partners = names(8)
    subject = np.array(["me"] * 8, dtype=object)
    found = jackknife(values, subject, partners, always="me")
    assert found.subjects == 8
    assert found.error == pytest.approx(stats.sem(values))


def cohorts_without_a_mean(
    subjects: int,
) -> tuple[NDArray[np.float64], NDArray[np.object_], NDArray[np.object_]]:
    """Return differences D = a_i + a_j + e of pairs in many cohorts, shape (cohorts, pairs), with expectation 0."""
    generator = np.random.default_rng(3)
    moving, fixed, places = all_pairs(subjects)
    of_subject = generator.normal(0, 1, (COHORTS, subjects))
    of_pair = generator.normal(0, 0.3, (COHORTS, len(places)))
    return of_subject[:, places[:, 0]] + of_subject[:, places[:, 1]] + of_pair, moving, fixed


def bounds() -> tuple[float, float]:
    low, high = np.asarray(stats.binom.ppf([0.0005, 0.9995], COHORTS, LEVEL)) / COHORTS
    return float(low), float(high)


@pytest.mark.parametrize("subjects", [8, 20])
def test_a_true_mean_of_zero_is_rejected_as_often_as_the_level_says(subjects: int) -> None:
    values, moving, fixed = cohorts_without_a_mean(subjects)
    found = jackknife_rows(values, moving, fixed)
    rejected = np.mean([mean.p_value <= LEVEL for mean in found])
    covered = np.mean([mean.interval.low <= 0 <= mean.interval.high for mean in found])
    low, high = bounds()
    assert low <= rejected <= high
    assert covered == pytest.approx(1 - rejected)


@pytest.mark.parametrize("subjects", [8, 20])
def test_pairs_or_subjects_means_taken_for_independent_break_the_same_bound(subjects: int) -> None:
    values, moving, fixed = cohorts_without_a_mean(subjects)
    of_subject = np.stack(
        [values[:, (moving == name) | (fixed == name)].mean(axis=1) for name in names(subjects)]
    )
    by_pairs = np.mean(stats.ttest_1samp(values, 0, axis=1).pvalue <= LEVEL)
    by_subjects = np.mean(stats.ttest_1samp(of_subject, 0, axis=0).pvalue <= LEVEL)
    by_ranks = np.mean(stats.wilcoxon(of_subject[:, :300], axis=0).pvalue <= LEVEL)
    assert min(by_pairs, by_subjects, by_ranks) > bounds()[1]


def test_noise_of_pairs_alone_makes_the_test_careful_and_never_lax() -> None:
    generator = np.random.default_rng(4)
    moving, fixed, places = all_pairs(8)
    found = jackknife_rows(generator.normal(size=(COHORTS, len(places))), moving, fixed)
    assert np.mean([mean.p_value <= LEVEL for mean in found]) <= bounds()[1]


def test_of_fewer_than_five_subjects_there_is_no_interval_no_p_value_and_no_verdict() -> None:
    found = jackknife(np.array([0.01, 0.011, 0.012, 0.0105]), names(4), names(4))
    assert np.isnan(found.interval).all()
    assert np.isnan(found.within(0.95)).all()
    assert math.isnan(found.p_value)
    assert not found.equivalent(1.0)
    assert of_mean(found, found.p_value, 0.002) is Evidence.TOO_FEW
    assert jackknife(np.array([0.01]), names(1), names(1)).estimate[:1] == (0.01,)


def test_of_a_star_of_four_and_a_template_there_is_no_interval() -> None:
    moving = np.array([f"s{number}" for number in range(4)], dtype=object)
    fixed = np.full(4, "template", dtype=object)
    mean = jackknife(np.array([0.1, 0.2, 0.3, 0.4]), moving, fixed)
    assert mean.value == pytest.approx(0.25)
    assert not mean.known


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e6])
def test_values_that_do_not_vary_are_no_evidence_of_anything(value: float) -> None:
    moving, fixed, places = all_pairs(7)
    found = jackknife(np.full(len(places), value), moving, fixed)
    assert found.error == 0
    assert found.p_value == 1
    assert np.isnan(found.interval).all()
    assert found.equivalent(0.002) is (value == 0)
    expected = Evidence.NEGLIGIBLE if value == 0 else Evidence.NONE
    assert of_mean(found, found.p_value, 0.002) is expected


@pytest.mark.parametrize("value", [0.0, 0.0006, -0.0011, 0.0019, 0.004])
@pytest.mark.parametrize("error", [0.0002, 0.0007])
def test_equivalence_is_two_one_sided_tests_at_five_percent(value: float, error: float) -> None:
    found = Mean(value=value, error=error, freedom=9, subjects=10)
    above = stats.t.sf((value + 0.002) / error, 9)
    below = stats.t.cdf((value - 0.002) / error, 9)
    assert found.equivalent(0.002) is bool(max(above, below) <= 0.05)


def test_a_difference_outside_the_margin_is_called_equivalent_in_one_of_twenty_cohorts() -> None:
    generator = np.random.default_rng(5)
    everyone = names(10)
    values = 0.002 + generator.normal(0, 0.0005, (COHORTS, 10))
    called = np.mean(
        [mean.equivalent(0.002) for mean in jackknife_rows(values, everyone, everyone)]
    )
    assert bounds()[0] <= called <= bounds()[1]


def test_without_variance_over_subjects_two_groups_of_starts_are_compared_as_by_welch() -> None:
    generator = np.random.default_rng(6)
    ones, others = generator.normal(0.7, 0.01, 4), generator.normal(0.69, 0.003, 6)
    moving, fixed, places = all_pairs(8)
    found = difference_over_initializations(
        np.repeat(ones[:, None], len(places), axis=1),
        np.repeat(others[:, None], len(places), axis=1),
        moving,
        fixed,
    )
    welch = stats.ttest_ind(ones, others, equal_var=False)
    assert found.value == pytest.approx(ones.mean() - others.mean())
    assert found.freedom == pytest.approx(welch.df)
    assert found.p_value == pytest.approx(welch.pvalue)
    assert tuple(found.interval) == pytest.approx(tuple(welch.confidence_interval(0.95)))


def test_variances_over_subjects_and_over_starts_add_up() -> None:
    generator = np.random.default_rng(7)
    everyone = names(9)
    values = generator.normal(0, 0.01, 9) + generator.normal(0, 0.02, 3)[:, None]
    over_subjects = jackknife(values.mean(axis=0), everyone, everyone)
    found = mean_over_initializations(values, everyone, everyone)
    expected = over_subjects.error**2 + values.mean(axis=1).var(ddof=1) / 3
    assert found.error**2 == pytest.approx(expected)
    assert 2 <= found.freedom <= 10
    assert found.subjects == 9


def test_a_single_start_adds_nothing_as_its_variance_is_not_known() -> None:
    values = np.random.default_rng(8).normal(size=(1, 9))
    everyone = names(9)
    assert mean_over_initializations(values, everyone, everyone) == jackknife(
        values[0], everyone, everyone
    )
    assert variance_of_mean(values[0][:1]) == (0.0, 1.0)
