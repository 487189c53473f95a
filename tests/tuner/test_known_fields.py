import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmopt.space import Hyperparameter, Space
from hmopt.tuner.known_fields import NODES, KnownFields, halving

LAMBDA = Hyperparameter(name="regularization", step=0.1)
GAMMA = Hyperparameter(name="label_weight", step=0.1)


def field(value: float) -> np.ndarray:
    return np.full((2, 3, 3), value, np.float32)


def known(*indices: int) -> KnownFields:
    fields = KnownFields(Space(hyperparameters=(LAMBDA,)))
    for index in indices:
        fields.keep((index,), field(index**2))
    return fields


def test_nothing_stands_for_a_setting_where_nothing_is_known() -> None:
    assert known().between((3,)) is None


@pytest.mark.parametrize(
    ("index", "expected"),
    [(0, 0.0), (2, 4.0), (1, 2.0), (5, 4 + 3 / 6 * 60), (9, 64.0), (10, 64.0)],
)
def test_it_is_linear_between_the_nearest_known_settings(index: int, expected: float) -> None:
    # known are the squares at 0, 2 and 8; beyond the last one stands the last one
    found = known(0, 2, 8).between((index,))
    assert found is not None
    np.testing.assert_allclose(found, expected)


def test_along_a_logarithm_it_is_linear_in_the_logarithm() -> None:
    weight = Hyperparameter(name="weight", low=0.01, high=1, prior="log-uniform", default=0.1)
    fields = KnownFields(Space(hyperparameters=(weight,)))
    fields.keep((weight.index(0.01),), field(0))
    fields.keep((weight.index(1),), field(1))
    found = fields.between((weight.index(0.1),))
    assert found is not None
    np.testing.assert_allclose(found, 0.5, atol=1e-6)


def test_of_several_hyperparameters_the_nearest_stands_for_others() -> None:
    fields = KnownFields(Space(hyperparameters=(LAMBDA, GAMMA)))
    fields.keep((0, 0), field(1))
    fields.keep((10, 10), field(2))
    found = fields.between((9, 3))
    assert found is not None
    assert found.min() == found.max() == 2


def test_another_choice_is_farther_than_any_number() -> None:
    metric = Hyperparameter(name="similarity", type="categorical", choices=("CC", "MI"))
    fields = KnownFields(Space(hyperparameters=(LAMBDA, metric)))
    fields.keep((0, 0), field(1))
    fields.keep((10, 1), field(2))
    found = fields.between((10, 0))
    assert found is not None
    assert found.max() == 1


def test_nodes_of_several_hyperparameters_are_spread_over_each() -> None:
    several = tuple(Hyperparameter(name=f"x{number}", step=0.1) for number in range(4))
    nodes = KnownFields(Space(hyperparameters=several)).nodes()
    assert len(nodes) == len(set(nodes)) <= 27
    for column in range(4):
        assert {node[column] for node in nodes} >= {0, 10}


def test_nodes_begin_with_the_ends_and_the_middle() -> None:
    nodes = KnownFields(Space(hyperparameters=(Hyperparameter(name="regularization"),))).nodes()
    assert nodes[:3] == [(0,), (200,), (100,)]
    assert len(set(nodes)) == NODES


@given(st.integers(1, 40))
def test_halving_takes_every_place_once(count: int) -> None:
    assert sorted(halving(count)) == list(range(count))
