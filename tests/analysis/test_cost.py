import math

import pytest

from hmopt.analysis.cost import Work, break_even_settings, find_cost, training_work

SEPARATE = training_work(3000, 4, 0.07, operations_per_pair=1e9)
HYPERMORPH = training_work(6000, 4, 0.08, operations_per_pair=1.1e9)
MEASURED = Work(seconds=0.01, evaluations=1, operations=3e8)


def test_a_grid_grows_with_a_power_of_its_values_and_the_amortized_model_does_not() -> None:
    one, two = (
        find_cost(HYPERMORPH, SEPARATE, MEASURED, 100, h, values=9, searched=15) for h in (1, 2)
    )
    assert (one.settings, two.settings) == (9, 81)
    assert one.separate.seconds == pytest.approx(9 * (3000 * 0.07 + 100 * 0.01))
    assert two.separate.seconds == pytest.approx(9 * one.separate.seconds)
    assert one.amortized == two.amortized
    assert one.amortized.seconds == pytest.approx(480 + 15)
    assert one.amortized.evaluations == 24_000 + 1500
    assert one.amortized.operations == pytest.approx(24_000 * 1.1e9 + 1500 * 3e8)


def test_beyond_the_break_even_point_the_grid_takes_longer_and_before_it_does_not() -> None:
    settings = break_even_settings(HYPERMORPH, SEPARATE, MEASURED, 100, searched=15)
    ratios = [
        find_cost(HYPERMORPH, SEPARATE, MEASURED, 100, 1, values=n, searched=15).ratio
        for n in (settings - 1, settings)
    ]
    assert ratios[0] <= 1 < ratios[1]


def test_operations_that_were_not_counted_are_unknown() -> None:
    cost = find_cost(training_work(10, 1, 0.1), SEPARATE, MEASURED, 5, 1, values=4, searched=10)
    assert math.isnan(cost.amortized.operations)
    assert cost.separate.seconds == pytest.approx(4 * (SEPARATE.seconds + 5 * MEASURED.seconds))
    assert cost.settings == 4
