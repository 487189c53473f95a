from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.sensitivity import (
    category_effect,
    find_sensitivities,
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


def test_a_setting_that_is_the_same_for_all_cannot_go_with_anything() -> None:
    places = np.linspace(0, 9, 10)
    assert np.isnan(rank_effect(places, np.full(10, 0.4), seed=0)).all()
    assert np.isnan(category_effect(places < 1, places, seed=0)).all()
