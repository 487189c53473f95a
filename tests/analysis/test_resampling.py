import numpy as np
import pytest
from scipy import stats

from hmopt.analysis.resampling import (
    Samples,
    draw,
    draw_weights,
    estimate,
    interval,
    weighted_means,
    widening,
)

MOVING = np.array(["a", "a", "b", "c", "c"], dtype=object)
FIXED = np.array(["b", "c", "c", "a", "c"], dtype=object)


def test_a_pair_weighs_the_product_of_its_subjects_counts_and_within_a_subject_its_count() -> None:
    weights = draw_weights(MOVING, FIXED, draws=200, seed=0)
    for ab, ac, bc, ca, cc in weights:
        assert ac == ca
        c = cc
        candidates = {(a, b) for a in range(4) for b in range(4) if a + b + c == 3}
        assert any((a * b, a * c, b * c) == (ab, ac, bc) for a, b in candidates)


def test_a_pair_of_two_subjects_weighs_on_average_what_two_multinomial_counts_do() -> None:
    names = np.array([f"s{i}" for i in range(10)], dtype=object)
    weights = draw_weights(names, np.roll(names, 1), draws=20_000, seed=1)
    assert weights.mean() == pytest.approx(
        stats.multinomial(10, [0.1] * 10).cov()[0, 1] + 1, abs=0.02
    )


def test_the_subject_that_a_scope_is_about_is_in_every_sample() -> None:
    partners = np.array([f"p{i}" for i in range(6)], dtype=object)
    weights = draw_weights(np.full(6, "me", dtype=object), partners, draws=500, seed=0, always="me")
    np.testing.assert_array_equal(weights.sum(axis=1), 6)


def test_weighted_means_are_what_a_loop_over_samples_gives() -> None:
    generator = np.random.default_rng(0)
    weights, values = (
        generator.integers(0, 3, (50, 5)).astype(float) + 0.1,
        generator.random((4, 5)),
    )
    expected = [[np.average(row, weights=weight) for row in values] for weight in weights]
    np.testing.assert_allclose(weighted_means(weights, values), expected)


def test_samples_without_any_weight_are_left_out() -> None:
    weights = np.array([[0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(weighted_means(weights, np.array([3.0, 5.0])), [3.0])


@pytest.mark.parametrize("subjects", [6, 60])
def test_the_interval_of_independent_within_subject_scores_is_that_of_students_t(
    subjects: int,
) -> None:
    names = np.array([f"s{i}" for i in range(subjects)], dtype=object)
    values = stats.norm.ppf((np.arange(subjects) + 0.5) / subjects) * 0.05 + 0.7
    found = estimate(draw(names, names, draws=10_000, seed=3), values)
    t_interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    low, high = float(t_interval.low), float(t_interval.high)
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.06 * (high - low))


def test_samples_of_some_pairs_are_those_of_all_of_them() -> None:
    weights = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    drawn = Samples(weights=weights, members=np.ones((1, 3), dtype=bool))
    some = drawn.of(np.array([True, False, True]))
    np.testing.assert_allclose(some.means(np.array([3.0, 6.0])), [5.0, 6.0])


def test_subjects_are_those_of_the_pairs_that_were_kept() -> None:
    names = np.array([f"s{number}" for number in range(8)], dtype=object)
    drawn = draw(names, np.roll(names, 1), draws=50, seed=0)
    assert (drawn.subjects, drawn.enough) == (8, True)
    # s0 and s7, s1 and s0, s2 and s1
    some = drawn.of(np.arange(8) < 3)
    assert (some.subjects, some.enough) == (4, False)
    assert np.isnan(estimate(some, np.array([0.7, 0.8, 0.9]))[1:]).all()
    about_one = draw(names, np.full(8, "s0", object), draws=50, seed=0, always="s0")
    assert about_one.subjects == 7


def test_the_ends_of_an_interval_are_samples_so_that_settings_stay_on_the_lattice() -> None:
    samples = np.repeat([0.1, 0.2, 0.3], [3, 94, 3])
    assert interval(samples) == (0.1, 0.3)
    assert interval(np.repeat([0.1, 0.2, 0.3], [1, 98, 1])) == (0.2, 0.2)


def test_nothing_drawn_gives_an_unknown_interval() -> None:
    assert np.isnan(interval(np.empty(0))).all()


@pytest.mark.parametrize("level", [0.95, 0.975, 0.9875])
@pytest.mark.parametrize("subjects", [5, 12])
def test_a_quantile_of_widened_means_is_the_end_of_a_t_interval_of_its_level(
    subjects: int, level: float
) -> None:
    names = np.array([f"s{i}" for i in range(subjects)], dtype=object)
    values = stats.norm.ppf((np.arange(subjects) + 0.5) / subjects)
    drawn = draw(names, names, draws=40_000, seed=3)
    # the standard deviation of bootstrap means stands for their quantiles, which are nearly normal
    deviation = drawn.means(values, level).std()
    reach = deviation * stats.norm.ppf(level)
    error = values.std(ddof=1) / np.sqrt(subjects)
    assert reach == pytest.approx(stats.t.ppf(level, subjects - 1) * error, rel=0.02)


def test_the_factor_of_another_level_differs() -> None:
    assert widening(8, level=0.95) < widening(8) < widening(8, level=0.9875)
