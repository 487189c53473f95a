"""Settings of a confidence set, the spread of displacements over them, and the error of landmarks."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import NOTHING, Interval
from hmopt.analysis.uncertainty import (
    ConfidenceSet,
    judge_uncertainty,
    rank_correlation,
    settings_within,
    spread_of,
)
from hmopt.ledger.uncertainty import PairPoints, UncertaintyRecord
from hmopt.space import Hyperparameter, Setting, Space

LAMBDA = Hyperparameter(name="regularization", step=0.005)
SPACE = Space(hyperparameters=(LAMBDA,))
MIXED = Space(
    hyperparameters=(
        LAMBDA,
        Hyperparameter(name="passes", type="integer", low=1, high=8, default=2),
        Hyperparameter(name="similarity", type="categorical", choices=("CC", "MI", "MSE")),
    )
)


def of_lambda(low: float, high: float, best: float = 0.3) -> ConfidenceSet:
    return ConfidenceSet(
        best={"regularization": best}, intervals={"regularization": Interval(low, high)}, choices={}
    )


def test_settings_are_even_from_end_to_end_and_on_the_lattice() -> None:
    found = settings_within(SPACE, of_lambda(0.1, 0.5), 5)
    values = [float(one["regularization"]) for one in found]
    assert values == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    # ends that lie between lattice points are not passed
    between = settings_within(SPACE, of_lambda(0.1026, 0.4974), 3)
    assert [one["regularization"] for one in between] == [0.105, 0.3, 0.495]


def test_a_narrow_set_has_each_of_its_settings_once() -> None:
    found = settings_within(SPACE, of_lambda(0.295, 0.305), 9)
    assert [one["regularization"] for one in found] == [0.295, 0.3, 0.305]


def test_settings_of_several_hyperparameters_stay_in_their_sets() -> None:
    best: Setting = {"regularization": 0.3, "passes": 3, "similarity": "CC"}
    intervals = {
        "regularization": Interval(0.2, 0.4),
        "passes": Interval(2, 5),
        "similarity": NOTHING,
    }
    found = ConfidenceSet(best=best, intervals=intervals, choices={"similarity": ("CC", "MI")})
    settings = settings_within(MIXED, found, 20)
    assert best in settings
    assert 10 <= len(settings) <= 20
    values = [float(one["regularization"]) for one in settings]
    assert min(values) >= 0.2
    assert max(values) <= 0.4
    assert max(values) - min(values) > 0.15
    assert {one["similarity"] for one in settings} == {"CC", "MI"}
    assert {one["passes"] for one in settings} <= {2, 3, 4, 5}
    assert settings == settings_within(MIXED, found, 20)


def test_a_set_is_known_where_every_hyperparameter_has_one() -> None:
    assert of_lambda(0.1, 0.2).is_known
    unknown = ConfidenceSet(
        best={"regularization": 0.3}, intervals={"regularization": NOTHING}, choices={}
    )
    assert not unknown.is_known
    without = ConfidenceSet(best={"similarity": "CC"}, intervals={}, choices={"similarity": ()})
    assert not without.is_known


def test_the_spread_is_the_root_of_the_summed_variances() -> None:
    displacements = np.random.default_rng(0).normal(size=(7, 4, 5, 3))
    expected = np.sqrt(displacements.var(axis=0, ddof=1).sum(axis=-1))
    np.testing.assert_allclose(spread_of(displacements), expected)


def test_of_one_direction_the_spread_is_the_standard_deviation_of_the_length() -> None:
    lengths = np.array([1.0, 2.0, 4.0])
    displacements = lengths[:, None, None] * np.array([0.6, 0.8])
    np.testing.assert_allclose(spread_of(displacements), [lengths.std(ddof=1)])


def test_the_spread_sees_a_displacement_that_turns_and_not_one_alone() -> None:
    turning = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, 0.0]], [[0.0, -1.0]]])
    np.testing.assert_allclose(spread_of(turning), [math.sqrt(4 / 3)])
    np.testing.assert_allclose(spread_of(turning[:1]), [0.0])


def test_the_rank_correlation_is_that_of_scipy_with_ties_too() -> None:
    generator = np.random.default_rng(1)
    one = generator.integers(0, 6, 50).astype(float)
    other = one + generator.integers(0, 6, 50).astype(float)
    expected = stats.spearmanr(one, other).statistic
    assert rank_correlation(one, other) == pytest.approx(expected)


def test_a_weight_counts_a_case_so_often() -> None:
    generator = np.random.default_rng(2)
    one, other = generator.normal(size=(2, 20))
    weights = generator.integers(0, 4, 20)
    expected = stats.spearmanr(np.repeat(one, weights), np.repeat(other, weights)).statistic
    assert rank_correlation(one, other, weights.astype(float)) == pytest.approx(expected)


def test_what_does_not_vary_has_no_rank_correlation() -> None:
    assert math.isnan(rank_correlation(np.ones(4), np.array([0.0, 1.0, 2.0, 3.0])))
    rising = np.array([0.0, 1.0, 2.0, 3.0])
    assert math.isnan(rank_correlation(rising, rising, np.zeros(4)))


# --- synthetic landmarks


def make_pairs(subjects: int) -> pd.DataFrame:
    names = [f"s{number}" for number in range(subjects)]
    sides = list(itertools.combinations(names, 2))
    rows = [(f"{a}->{b}", a, b) for a, b in sides]
    return pd.DataFrame(rows, columns=["pair", "moving_subject", "fixed_subject"])


def make_record(
    pairs: pd.DataFrame, slope: float, seed: int, points: int = 20
) -> UncertaintyRecord:
    """Landmarks whose error is so many times their uncertainty, and noise, some of it the subject's."""
    generator = np.random.default_rng(seed)
    subjects = sorted({*pairs["moving_subject"], *pairs["fixed_subject"]})
    of_subject = dict(zip(subjects, generator.gamma(4, 0.25, len(subjects)), strict=True))
    entries = []
    for row in pairs.itertuples():
        uncertainty = generator.gamma(2, 0.5, points)
        harder = of_subject[row.moving_subject] + of_subject[row.fixed_subject]
        error = slope * uncertainty + harder + generator.gamma(2, 0.5, points)
        entry = PairPoints(
            pair=str(row.pair), uncertainty=uncertainty.tolist(), error=error.tolist()
        )
        entries.append(entry)
    return UncertaintyRecord(
        identity="0f",
        unit="mm",
        setting={"regularization": 0.3},
        settings=[{"regularization": 0.2}, {"regularization": 0.4}],
        pairs=entries,
    )


def test_errors_that_grow_with_uncertainty_are_found() -> None:
    pairs = make_pairs(8)
    found = judge_uncertainty(make_record(pairs, slope=2.0, seed=3), pairs, seed=0)
    assert found is not None
    assert found.evidence is Evidence.FOUND
    assert 0.4 < found.over_points.low < found.over_points.value < found.over_points.high <= 1
    assert found.within_pairs.value > found.over_points.value - 0.2
    errors = [part.error for part in found.parts]
    assert errors == sorted(errors)
    assert found.points == 28 * 20
    assert found.subjects == 8
    assert [part.points for part in found.parts] == [140] * 4


def test_without_a_relation_the_interval_holds_zero_about_as_often_as_it_says() -> None:
    pairs = make_pairs(8)
    holds = []
    for seed in range(12):
        found = judge_uncertainty(make_record(pairs, slope=0.0, seed=seed, points=8), pairs, seed=0)
        assert found is not None
        holds.append(found.over_points.low <= 0 <= found.over_points.high)
    assert sum(holds) >= 10


def test_of_four_subjects_there_is_no_interval() -> None:
    pairs = make_pairs(4)
    found = judge_uncertainty(make_record(pairs, slope=2.0, seed=3), pairs, seed=0)
    assert found is not None
    assert found.evidence is Evidence.TOO_FEW
    assert math.isnan(found.over_points.low)
    assert found.over_points.value > 0.4


def test_subjects_whose_pairs_have_too_few_landmarks_do_not_make_an_interval() -> None:
    """Only the pairs among three of eight subjects have enough landmarks for a correlation of their own."""
    pairs = make_pairs(8)
    record = make_record(pairs, slope=2.0, seed=3)
    entries = []
    for one, row in zip(record.pairs, pairs.itertuples(), strict=True):
        if {row.moving_subject, row.fixed_subject} <= {"s0", "s1", "s2"}:
            entries.append(one)
            continue
        few = PairPoints(pair=one.pair, uncertainty=one.uncertainty[:3], error=one.error[:3])
        entries.append(few)
    found = judge_uncertainty(record.model_copy(update={"pairs": entries}), pairs, seed=0)
    assert found is not None
    assert math.isfinite(found.within_pairs.value)
    assert np.isnan(found.within_pairs[1:]).all()
    assert math.isfinite(found.over_points.low)


def test_pairs_of_another_search_do_not_count() -> None:
    pairs = make_pairs(6)
    record = make_record(pairs, slope=1.0, seed=0)
    assert judge_uncertainty(record, make_pairs(3).iloc[:0], seed=0) is None
    fewer = judge_uncertainty(record, pairs.iloc[:10], seed=0)
    assert fewer is not None
    assert fewer.points == 10 * 20


def test_a_record_needs_as_many_errors_as_uncertainties() -> None:
    with pytest.raises(ValueError, match="an uncertainty and an error of each landmark"):
        PairPoints(pair="a->b", uncertainty=[1.0], error=[1.0, 2.0])
