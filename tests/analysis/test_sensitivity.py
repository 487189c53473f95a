import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hmopt.analysis.evidence import LEVEL, Evidence
from hmopt.analysis.sensitivity import (
    category_effect,
    find_sensitivities,
    p_of_same_order,
    rank_effect,
    subject_optima,
)
from hmopt.ledger.measurements import Measurements

NAMES = [f"s{i}" for i in range(30)]


def test_each_subjects_optimum_is_the_best_of_its_own_pairs(
    make: Callable[..., Measurements], all_cross: list[tuple[str, str]]
) -> None:
    dice = np.full((5, len(all_cross), 2), 0.5)
    for pair, (moving, fixed) in enumerate(all_cross):
        dice["abcdefgh".index(moving[0]) % 5, pair] += 0.01
        dice["abcdefgh".index(fixed[0]) % 5, pair] += 0.01
    optima = subject_optima(make(all_cross, dice), "dice", ["b", "d", "nobody"], label="cortex")
    assert optima["regularization"].to_dict() == {"b": 0.25, "d": 0.75}


def test_the_rank_correlation_is_scipys_and_its_interval_near_the_classical_one() -> None:
    column, noise = np.random.default_rng(0).normal(size=(2, 60))
    values = 0.6 * column + noise
    found = rank_effect(column, values, seed=1)
    expected = stats.spearmanr(column, values).statistic
    classical = np.tanh(
        np.arctanh(expected) + np.array([-1, 1]) * 1.96 * np.sqrt((1 + expected**2 / 2) / 57)
    )
    assert found.value == pytest.approx(expected)
    assert (found.low, found.high) == pytest.approx(tuple(classical), abs=0.08)


def test_intervals_of_correlations_of_nothing_hold_zero_as_often_as_they_say() -> None:
    columns, values = np.random.default_rng(3).normal(size=(2, 300, 15))
    held = [
        found.low <= 0 <= found.high
        for found in (rank_effect(*both, seed=0) for both in zip(columns, values, strict=True))
    ]
    assert 0.92 <= np.mean(held) <= 0.99


def test_the_difference_of_a_category_has_welchs_interval() -> None:
    values = np.random.default_rng(4).normal(0.5, 0.1, 40)
    inside = np.arange(40) < 20
    values[inside] += 0.2
    found = category_effect(inside, values, seed=0)
    welch = stats.ttest_ind(values[inside], values[~inside], equal_var=False)
    low, high = welch.confidence_interval(0.95)
    assert found.value == pytest.approx(values[:20].mean() - values[20:].mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_numbers_are_ranked_and_text_is_held_against_the_rest() -> None:
    generator = np.random.default_rng(5)
    age = generator.uniform(20, 80, 30)
    optima = pd.DataFrame(
        {"regularization": age / 100 + generator.normal(0, 0.02, 30)}, index=NAMES
    )
    columns = pd.DataFrame(
        {
            "age": age,
            "site": ["x", "y", "z"] * 10,
            "noise": generator.normal(size=30),
            "few": np.nan,
        },
        index=NAMES,
    )
    found = find_sensitivities(optima, columns, seed=0)
    told = {(one.column, one.value): one.evidence for one in found}
    assert told[("age", None)] is Evidence.FOUND
    assert told[("noise", None)] is Evidence.NONE
    assert told[("few", None)] is Evidence.TOO_FEW
    assert {value for column, value in told if column == "site"} == {"x", "y", "z"}
    assert [one.subjects for one in found] == [30, 30, 30, 30, 30, 0]


@pytest.mark.parametrize(("inside", "subjects"), [(2, 8), (2, 12), (4, 20)])
def test_of_a_group_of_fewer_than_five_there_is_a_difference_and_no_verdict(
    inside: int, subjects: int
) -> None:
    names = NAMES[:subjects]
    values = np.random.default_rng(6).normal(0.5, 0.01, subjects)
    site = np.where(np.arange(subjects) < inside, "x", "y")
    optima = pd.DataFrame({"regularization": values}, index=names)
    found = find_sensitivities(optima, pd.DataFrame({"site": site}, index=names), seed=0)
    difference = values[:inside].mean() - values[inside:].mean()
    assert [one.effect.value for one in found] == pytest.approx([difference, -difference])
    assert np.isnan([one.effect[1:] for one in found]).all()
    assert {one.evidence for one in found} == {Evidence.TOO_FEW}


def test_differences_of_nothing_are_claimed_no_more_often_than_the_level_allows() -> None:
    cohorts = 300
    generator = np.random.default_rng(7)
    alarms = 0
    for _ in range(cohorts):
        found = category_effect(np.arange(12) < 5, generator.normal(size=12), seed=0)
        alarms += not found.low <= 0 <= found.high
    assert alarms <= stats.binom.ppf(0.999, cohorts, LEVEL)


@pytest.mark.parametrize("numbers", [[1, 2, 3, 4, 5], [1, 1, 1, 1, 2], [1, 2, 2, 2, 3]])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_p_value_of_the_same_order_is_the_share_of_all_permutations(
    numbers: list[float], sign: int
) -> None:
    column = np.array(numbers, dtype=float)
    orders = list(itertools.permutations(sign * column))
    correlations = [stats.spearmanr(column, order).statistic for order in orders]
    expected = np.mean(np.abs(correlations) > 1 - 1e-9)
    assert p_of_same_order(column, sign * column) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("best", "evidence"),
    [([0.1, 0.2, 0.3, 0.4, 0.5], Evidence.FOUND), ([0.1, 0.1, 0.1, 0.1, 0.5], Evidence.NONE)],
)
def test_a_correlation_of_one_has_no_interval_and_the_verdict_of_permutations(
    best: list[float], evidence: Evidence
) -> None:
    optima = pd.DataFrame({"regularization": best}, index=NAMES[:5])
    age = pd.DataFrame({"age": optima["regularization"] * 100})
    (found,) = find_sensitivities(optima, age, seed=0)
    assert found.effect.value == pytest.approx(1)
    assert np.isnan(found.effect[1:]).all()
    assert found.evidence is evidence


def test_a_setting_that_is_the_same_for_all_cannot_go_with_anything() -> None:
    places = np.linspace(0, 9, 10)
    assert np.isnan(rank_effect(places, np.full(10, 0.4), seed=0)).all()
    assert np.isnan(category_effect(places < 1, places, seed=0)).all()
    subjects = [f"s{number}" for number in range(10)]
    optima = pd.DataFrame({"regularization": np.full(10, 0.4)}, index=subjects)
    columns = pd.DataFrame({"age": places}, index=subjects)
    (found,) = find_sensitivities(optima, columns, seed=0)
    assert found.evidence is Evidence.FLAT
