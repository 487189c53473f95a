from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hmopt.analysis.baselines import (
    BaselineComparison,
    chosen_rates,
    compare_baselines,
)
from hmopt.analysis.evidence import Evidence
from hmopt.declaration.search import SearchOptions
from hmopt.ledger import Baseline, Comparison, RateTrial
from hmopt.ledger.baselines import Role
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import WHOLE_COHORT, Scope
from hmopt.space import Hyperparameter, Space

PLACES = np.linspace(0, 1, 9)
CORTEX = Scope(criteria=(("label", "cortex"),))
Make = Callable[..., Measurements]


def hump(best: float, height: float = 0.7) -> np.ndarray:
    return height - 0.4 * (PLACES - best) ** 2


@pytest.fixture
def template(make: Make, all_cross: list[tuple[str, str]]) -> Measurements:
    return make(all_cross, np.zeros((5, len(all_cross), 2)))


@pytest.fixture
def compared(
    template: Measurements, compare_curves: Callable[..., BaselineComparison | None]
) -> Callable[..., BaselineComparison]:
    def build(*arguments: Any, **changes: Any) -> BaselineComparison:
        found = compare_curves(template, *arguments, **changes)
        assert found is not None
        return found

    return build


def test_the_gap_is_told_at_both_lengths_of_training(
    compared: Callable[..., BaselineComparison],
) -> None:
    found = compared(hump(0.375, 0.704), hump(0.375))
    assert found.equal is not None
    assert (found.main.times, found.equal.times) == (2, 1)
    assert found.main.agreements[WHOLE_COHORT].mean_gap.value == pytest.approx(0.004)
    assert found.equal.agreements[WHOLE_COHORT].mean_gap.value == pytest.approx(0.014)
    assert found.main.agreements.keys() == {
        WHOLE_COHORT,
        CORTEX,
        Scope(criteria=(("label", "thalamus"),)),
    }
    assert found.main.agreements[CORTEX].rank_correlation == pytest.approx(1.0)


def test_networks_without_the_whole_grid_count_at_the_best_setting_alone(
    compared: Callable[..., BaselineComparison],
) -> None:
    shifts = (0.0, 0.0, 0.0, 0.01, 0.01)
    found = compared(hump(0.375), hump(0.375), shifts)
    assert found.main.agreements[WHOLE_COHORT].separate == pytest.approx(
        found.separate.along[WHOLE_COHORT].scores[0]
    )
    assert found.separate.along[WHOLE_COHORT].models == 3
    assert found.separate.along[WHOLE_COHORT].score_spread.value == pytest.approx(0.0, abs=1e-12)
    at_optimum = found.separate.at_optimum[WHOLE_COHORT]
    assert at_optimum.models == 5
    assert at_optimum.at == found.optimum == {"regularization": 0.375}
    assert at_optimum.score_spread.value == pytest.approx(np.std(shifts, ddof=1))
    assert found.main.spread_ratios[WHOLE_COHORT][0].value == pytest.approx(1.0)
    assert found.main.spread_ratios[WHOLE_COHORT][1] is Evidence.NONE


def test_the_regret_is_that_of_the_retrained_curve(
    compared: Callable[..., BaselineComparison],
) -> None:
    found = compared(hump(0.25), hump(0.375))
    regret = found.main.regrets[WHOLE_COHORT]
    assert regret.retraining.value == pytest.approx(0.4 * 0.125**2)
    assert regret.default.value == pytest.approx(0.4 * 0.25**2)


def test_ensembles_are_judged_at_the_best_setting_by_their_members(
    compared: Callable[..., BaselineComparison],
) -> None:
    found = compared(hump(0.375), hump(0.625), ensemble_gain=0.007)
    assert (found.separate.ensemble, found.main.hypermorphs.ensemble) == (5, 5)
    for family in (found.separate, found.main.hypermorphs):
        assert family.ensemble_gains[WHOLE_COHORT].value == pytest.approx(0.007)


def test_the_cost_ratio_is_of_one_training_by_the_clock(
    compared: Callable[..., BaselineComparison],
) -> None:
    found = compared(hump(0.375), hump(0.375))
    assert (found.separate.minutes, found.main.hypermorphs.minutes) == pytest.approx((3.5, 7.0))
    assert found.main.cost_ratio == pytest.approx(2.0)


def test_without_one_side_there_is_no_comparison(template: Measurements) -> None:
    grid = tuple((place,) for place in range(5))
    hypermorph = Baseline(
        role="hypermorph", steps=10, seeds=(0,), identity="h", networks=1, minutes=1.0
    )
    separate = Baseline(
        role="separate", steps=10, seeds=(0,), identity="s", networks=5, minutes=5.0
    )
    comparison = Comparison(
        model="h",
        steps=10,
        hypermorph_steps=20,
        grid=grid,
        optimum=(1,),
        default=(2,),
        baselines=(separate,),
    )

    def find(
        *baselines: Baseline, settings: tuple[tuple[int, ...], ...] = grid
    ) -> BaselineComparison | None:
        held = {"hypermorph": template, "separate": template.at(settings)}
        asked = replace(comparison, baselines=baselines)
        return compare_baselines(
            asked, lambda one: held[one.role], template, [WHOLE_COHORT], SearchOptions()
        )

    assert find(separate) is None
    assert find(hypermorph) is None
    assert find(hypermorph, separate, settings=grid[1:3]) is None
    found = find(hypermorph, separate)
    assert found is not None
    assert (found.full_steps, dict(found.confirmed)) == (None, {})
    assert found.main is found.equal
    assert found.main.spread_ratios[WHOLE_COHORT][1] is Evidence.TOO_FEW
    assert found.separate.ensemble == 0


def test_networks_that_trained_longer_confirm_the_searched_model_at_its_best_setting(
    template: Measurements,
) -> None:
    grid = tuple((place,) for place in range(5))
    longer = replace(template, values={"dice": template.values["dice"] + 0.01}).at([(1,)])
    trained: tuple[tuple[Role, int], ...] = (
        ("hypermorph", 10),
        ("separate", 10),
        ("separate", 40),
    )
    asked = [
        Baseline(role=role, steps=steps, seeds=(0,), identity="", networks=1, minutes=1.0)
        for role, steps in trained
    ]
    comparison = Comparison(
        model="h",
        steps=10,
        hypermorph_steps=20,
        grid=grid,
        optimum=(1,),
        default=(2,),
        baselines=tuple(asked),
    )
    found = compare_baselines(
        comparison,
        lambda one: longer if one.steps == 40 else template,
        replace(template, values={"dice": template.values["dice"] + 0.004}),
        [WHOLE_COHORT],
        SearchOptions(),
    )
    assert found is not None
    assert found.full_steps == 40
    assert found.confirmed[WHOLE_COHORT].mean_gap.value == pytest.approx(0.006)
    assert found.confirmed[WHOLE_COHORT].settings == ({"regularization": 0.25},)


def test_a_setting_costs_all_trainings_that_its_rate_was_chosen_among() -> None:
    def trial(
        place: int, rate: float, dice: float | None, minutes: float, **facts: Any
    ) -> RateTrial:
        return RateTrial(
            steps=10,
            setting=(place,),
            learning_rate=rate,
            tune_dice=dice,
            diverged=dice is None,
            minutes=minutes,
            **facts,
        )

    trials = [
        trial(3, 0.004, None, 0.5, steps_done=4, chosen=False),
        trial(3, 0.002, 0.70, 2.0, steps_done=10, chosen=True),
        trial(1, 0.004, 0.75, 2.5, steps_done=10, chosen=True),
        trial(1, 0.002, 0.74, 3.0, steps_done=10, chosen=False),
    ]
    longer = [replace(one, steps=20) for one in trials]
    space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.25),))
    found = chosen_rates([*longer, *trials], 10, space)
    assert found is not None
    assert found.rates == (0.002, 0.004)
    assert found.settings == ({"regularization": 0.25}, {"regularization": 0.75})
    assert found.chosen == (0.004, 0.002)
    np.testing.assert_array_equal(found.tune_dice, [[0.74, 0.75], [0.70, np.nan]])
    assert found.minutes == pytest.approx((0.5 + 2.0 + 2.5 + 3.0) / 2)
    assert found.steps == pytest.approx((4 + 10 + 10 + 10) / 2)
    assert chosen_rates([], 10, space) is None
