import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from hmopt.search.lattice import (
    bears_surface,
    coarse_count,
    coarse_lattice,
    distribution,
    even_lattice,
    lattice_index,
    unit_places,
)
from hmopt.space import Hyperparameter, Space

RANGES = st.tuples(
    st.floats(1e-3, 100, allow_subnormal=False).map(lambda low: round(low, 4)),
    st.floats(0.1, 100).map(lambda width: round(width, 3)),
    st.sampled_from([1, 3, 7, 10, 20, 100, 200]),
    st.sampled_from(["uniform", "log-uniform"]),
)


@settings(deadline=None, max_examples=50)
@given(declared=RANGES)
def test_every_lattice_value_is_in_the_distribution_and_found_again(
    declared: tuple[float, float, int, str],
) -> None:
    low, width, steps, prior = declared
    high = round(low + width, 4)
    h = Hyperparameter(name="x", low=low, high=high, step=1 / steps, prior=prior, default=low)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        among = distribution(h)
    assert isinstance(among, FloatDistribution)
    assert (among.low, among.high) == (low, high)
    for index in range(h.points):
        assert among._contains(float(h.value(index)))
        assert lattice_index(Space(hyperparameters=(h,)), {"x": h.value(index), "other": 3}) == (
            index,
        )


def test_decimal_steps_are_steps_of_optuna_and_logarithms_are_continuous() -> None:
    def found(**declared: Any) -> FloatDistribution:
        among = distribution(Hyperparameter(name="x", **declared))
        assert isinstance(among, FloatDistribution)
        return among

    assert found().step == 0.005
    assert found(low=0.1, high=0.7).step == 0.003
    assert found(step=1 / 3).step is None
    assert found(low=0.1, prior="log-uniform").log


def test_coarse_places_are_even_but_for_one_near_the_upper_end_and_go_from_end_to_end(
    space: Space,
) -> None:
    assert coarse_lattice(space, 10) == [
        (place,) for place in (0, 25, 50, 75, 100, 125, 150, 175, 194, 200)
    ]
    three = Space(
        hyperparameters=(Hyperparameter(name="x", step=0.1), Hyperparameter(name="y", step=0.5))
    )
    assert coarse_lattice(three, 4) == [(x, y) for x in (0, 5, 9, 10) for y in (0, 1, 2)]


@pytest.mark.parametrize("params", [{}, {"other": 0.5}, {"regularization": 1.01}])
def test_parameters_outside_the_space_have_no_lattice_point(
    params: dict[str, float], space: Space
) -> None:
    assert lattice_index(space, params) is None


def test_three_hyperparameters_have_as_many_coarse_settings_as_two_far_from_each_other() -> None:
    window = Hyperparameter(name="window", type="integer", low=3, high=15, step=2, default=9)
    names = ("regularization", "bending_share")
    space = Space(hyperparameters=(*(Hyperparameter(name=name) for name in names), window))
    settings = coarse_lattice(space, 8)
    assert len(settings) == len(set(settings)) == 64
    places = unit_places(space, settings)
    assert bears_surface(places)
    assert places.min(axis=0).tolist() == [0, 0, 0]
    assert places.max(axis=0).tolist() == [1, 1, 1]
    # each setting stands for those nearer than 0.3, about as of a whole product of 4³
    gaps = np.linalg.norm(places[:, None] - places, axis=2) + 9 * np.eye(64)
    assert gaps.min() > 0.2
    anywhere = unit_places(space, even_lattice(space, 13))
    nearest = np.linalg.norm(anywhere[:, None] - places, axis=2).min(axis=1)
    assert nearest.max() < 0.3
    for column in places.T:
        assert len(set(column.round(3))) >= 7


@pytest.mark.parametrize(("dimensions", "points"), [(1, 7), (2, 5), (3, 3), (3, 4), (3, 9)])
def test_coarse_settings_are_counted_without_listing_them(dimensions: int, points: int) -> None:
    names = "abc"[:dimensions]
    space = Space(hyperparameters=tuple(Hyperparameter(name=name) for name in names))
    assert len(coarse_lattice(space, points)) == coarse_count(dimensions, points)
