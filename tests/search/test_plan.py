from collections.abc import Callable

import numpy as np
import pytest

from hmopt.declaration import SearchSection
from hmopt.ledger import Measurements
from hmopt.search.plan import coarse_settings, confirming_settings
from hmopt.space import Hyperparameter, Space

LABELS = SearchSection(scopes=[["label"]], confirmations=1)


def hump(best: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: 0.8 - (x - best) ** 2


def test_the_default_is_measured_with_the_coarse_lattice() -> None:
    space = Space(
        hyperparameters=(
            Hyperparameter(name="regularization", default=0.33),
            Hyperparameter(name="label_weight", default=0.5),
        )
    )
    settings = coarse_settings(space, SearchSection(coarse=3))
    assert len(settings) == 10
    assert (66, 100) in settings
    assert settings == sorted(settings)


def test_a_confirmation_goes_where_most_scopes_are_best(measure: Callable[..., Measurements], space: Space) -> None:
    curves = {"a": hump(0.335), "b": hump(0.335), "c": hump(0.77), "d": hump(0.5)}
    measurements = measure(curves, space.coarse(21))
    assert confirming_settings(measurements, LABELS) == [(67,)]
    more = LABELS.model_copy(update={"confirmations": 10})
    assert confirming_settings(measurements, more) == [(67,), (154,)]


def test_one_setting_between_serves_scopes_that_are_near_each_other(
    measure: Callable[..., Measurements], space: Space
) -> None:
    measurements = measure({"a": hump(0.32), "b": hump(0.33), "c": hump(0.325)}, space.coarse(21))
    assert confirming_settings(measurements, LABELS) == [(65,)]


@pytest.mark.parametrize("curve", [lambda x: 0.5 + 0 * x, lambda x: 0.5 + 0.1 * x], ids=["flat", "best at an end"])
def test_nothing_is_confirmed_where_nothing_is_to_be_gained(
    curve: Callable[[np.ndarray], np.ndarray], measure: Callable[..., Measurements], space: Space
) -> None:
    assert confirming_settings(measure({"a": curve}, space.coarse(21)), LABELS) == []


def test_the_plan_stays_the_same_when_it_has_been_measured(measure: Callable[..., Measurements], space: Space) -> None:
    curves, grid = {"a": hump(0.31), "b": hump(0.68), "c": hump(0.12)}, coarse_settings(space, LABELS)
    section = LABELS.model_copy(update={"confirmations": 2})
    planned = confirming_settings(measure(curves, grid), section)
    assert len(planned) == 2
    assert confirming_settings(measure(curves, sorted({*grid, *planned, (3,)})), section) == planned


def test_without_the_whole_coarse_lattice_there_is_no_plan(measure: Callable[..., Measurements], space: Space) -> None:
    assert confirming_settings(measure({"a": hump(0.31)}, space.coarse(11)), LABELS) == []


def test_two_hyperparameters_are_confirmed_between_grid_points(measure: Callable[..., Measurements]) -> None:
    space = Space(hyperparameters=(Hyperparameter(name="regularization"), Hyperparameter(name="label_weight")))
    section = LABELS.model_copy(update={"coarse": 5})
    grid = space.coarse(5)
    one = measure({"a": hump(0.5)}, [(place,) for place in range(len(grid))])
    best = [0.8 - (i / 200 - 0.37) ** 2 - (j / 200 - 0.13) ** 2 for i, j in grid]
    values = {"dice": np.repeat(np.array(best)[:, None, None], len(one.pairs), axis=1)}
    measurements = Measurements(**{**vars(one), "space": space, "settings": tuple(grid), "values": values})
    ((first, second),) = confirming_settings(measurements, section)
    assert abs(first - 74) <= 7
    assert abs(second - 26) <= 7
