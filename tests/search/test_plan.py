from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.ledger import Measurements
from hmopt.search.plan import (
    coarse_settings,
    confirming_settings,
    dense_settings,
    predict,
    promise,
)
from hmopt.space import Hyperparameter, Index, Space

LABELS = SearchOptions(scopes=[["label"]])
Measure = Callable[..., Measurements]


def hump(best: float, width: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: 0.8 - 0.1 * ((x - best) / width) ** 2 / (1 + ((x - best) / width) ** 2)


def test_the_default_is_measured_with_the_coarse_lattice() -> None:
    space = Space(
        hyperparameters=(
            Hyperparameter(name="regularization", default=0.33),
            Hyperparameter(name="label_weight", default=0.5),
        )
    )
    settings = coarse_settings(space, SearchOptions(coarse=4))
    assert len(settings) == 17
    assert (66, 100) in settings
    assert settings == sorted(settings)


def test_the_dense_sweep_is_the_whole_lattice_of_one_hyperparameter(space: Space) -> None:
    assert dense_settings(space) == [(place,) for place in range(201)]
    two = Space(
        hyperparameters=(Hyperparameter(name="regularization"), Hyperparameter(name="label_weight"))
    )
    with pytest.raises(
        SearchError, match=r"hyperparameters: expected one, .* got regularization, label_weight"
    ):
        dense_settings(two)


def search(
    measure: Callable[[Sequence[Index]], Measurements], section: SearchOptions, space: Space
) -> list[Index]:
    """Measure until nothing more is asked for; return what was asked for after the coarse settings."""
    coarse = coarse_settings(space, section)
    asked: list[Index] = []
    while more := confirming_settings(measure(sorted({*coarse, *asked})), section):
        asked += more
    return asked


def test_the_best_lattice_points_of_all_scopes_are_found(measure: Measure, space: Space) -> None:
    curves = {"a": hump(0.3, 0.1), "b": hump(0.31, 0.1), "c": hump(0.77, 0.1), "d": hump(0.5, 0.1)}
    asked = search(partial(measure, curves), LABELS, space)
    measured = {index for (index,) in (*asked, *coarse_settings(space, LABELS))}
    assert len(asked) <= 5
    for best in (0.3, 0.31, 0.77, 0.5):
        assert min(abs(place / 200 - best) for place in measured) <= 0.01


def test_the_higher_of_two_humps_is_found_though_the_coarse_lattice_prefers_the_other(
    measure: Measure, space: Space
) -> None:
    def curve(x: np.ndarray) -> np.ndarray:
        left = 0.2 * np.exp(-(((x - 0.25) / 0.12) ** 2))
        right = 0.26 * np.exp(-(((x - 0.685) / 0.1) ** 2))
        return left + right

    coarse = np.array(coarse_settings(space, LABELS))[:, 0] / 200
    assert coarse[curve(coarse).argmax()] == 0.25
    asked = search(partial(measure, {"a": curve}), LABELS, space)
    assert min(abs(place / 200 - 0.685) for (place,) in asked) <= 0.005


def test_what_serves_many_scopes_comes_before_what_serves_one(
    measure: Measure, space: Space
) -> None:
    curves = {
        "a": hump(0.31, 0.1),
        "b": hump(0.312, 0.1),
        "c": hump(0.308, 0.1),
        "d": hump(0.69, 0.1),
    }
    first, second = search(partial(measure, curves), LABELS, space)[:2]
    assert abs(first[0] - 62) <= 2
    assert abs(second[0] - 138) <= 2


@pytest.mark.parametrize(
    "curve", [lambda x: 0.5 + 0 * x, lambda x: 0.5 + 0.1 * x], ids=["flat", "best at an end"]
)
def test_nothing_is_confirmed_where_nothing_is_to_be_gained(
    curve: Callable[[np.ndarray], np.ndarray], measure: Measure, space: Space
) -> None:
    assert search(partial(measure, {"a": curve}), LABELS, space) == []


def test_no_more_is_asked_for_than_was_declared(measure: Measure, space: Space) -> None:
    curves = {
        name: hump(best, 0.05)
        for name, best in (("a", 0.06), ("b", 0.31), ("c", 0.44), ("d", 0.81))
    }
    for most in (0, 1, 2):
        section = LABELS.model_copy(update={"refinements": most})
        assert len(search(partial(measure, curves), section, space)) == most


def test_the_plan_stays_the_same_whatever_else_has_been_measured(
    measure: Measure, space: Space
) -> None:
    curves = {"a": hump(0.31, 0.1), "b": hump(0.68, 0.1), "c": hump(0.12, 0.1)}
    planned = search(partial(measure, curves), LABELS, space)
    assert planned
    among = [*coarse_settings(space, LABELS), (3,), (61,), (64,), (137,)]
    with_more = lambda settings: measure(curves, sorted({*settings, *among}))  # noqa: E731
    assert search(with_more, LABELS, space) == [
        setting for setting in planned if setting not in among
    ]
    assert confirming_settings(measure(curves, space.coarse(201)), LABELS) == []


def test_without_all_coarse_settings_there_is_no_plan(measure: Measure, space: Space) -> None:
    settings = coarse_settings(space, LABELS)
    assert confirming_settings(measure({"a": hump(0.31, 0.1)}, settings), LABELS)
    assert confirming_settings(measure({"a": hump(0.31, 0.1)}, settings[1:]), LABELS) == []


def test_two_hyperparameters_are_confirmed_between_grid_points(measure: Measure) -> None:
    space = Space(
        hyperparameters=(Hyperparameter(name="regularization"), Hyperparameter(name="label_weight"))
    )
    section = LABELS.model_copy(update={"coarse": 5})

    def measure_plane(settings: Sequence[Index]) -> Measurements:
        one = measure({"a": hump(0.5, 1.0)}, [(place,) for place in range(len(settings))])
        scores = [0.8 - (i / 200 - 0.37) ** 2 - (j / 200 - 0.13) ** 2 for i, j in settings]
        values = {"dice": np.repeat(np.array(scores)[:, None, None], len(one.pairs), axis=1)}
        return Measurements(
            **{**vars(one), "space": space, "settings": tuple(settings), "values": values}
        )

    ((first, second),) = search(measure_plane, section, space)
    assert abs(first - 74) <= 3
    assert abs(second - 26) <= 3


def test_three_hyperparameters_with_an_integer_are_searched_without_a_whole_product(
    measure: Measure,
) -> None:
    window = Hyperparameter(name="window", type="integer", low=3, high=15, step=2, default=9)
    names = ("regularization", "bending_share")
    space = Space(hyperparameters=(*(Hyperparameter(name=name) for name in names), window))
    section = LABELS.model_copy(update={"coarse": 6})
    asked: list[Index] = []

    def score(setting: Index) -> float:
        i, j, k = setting
        return 0.8 - (i / 200 - 0.37) ** 2 - (j / 200 - 0.13) ** 2 - 0.3 * (k / 6 - 0.6) ** 2

    def measure_all(settings: Sequence[Index]) -> Measurements:
        asked[:] = settings
        one = measure({"a": hump(0.5, 1.0)}, [(place,) for place in range(len(settings))])
        scores = [score(setting) for setting in settings]
        values = {"dice": np.repeat(np.array(scores)[:, None, None], len(one.pairs), axis=1)}
        return Measurements(
            **{**vars(one), "space": space, "settings": tuple(settings), "values": values}
        )

    ((first, second, third),) = search(measure_all, section, space)
    assert len(asked) <= 36 + 2 + section.refinements
    assert abs(first - 74) <= 8
    assert abs(second - 26) <= 8
    assert third in (3, 4)


@hypothesis_settings(deadline=None, max_examples=50)
@given(
    count=st.integers(3, 25),
    coefficients=st.tuples(*[st.floats(-2, 2)] * 3),
)
def test_a_parabola_is_given_back_from_evenly_spaced_places(
    count: int, coefficients: tuple[float, float, float]
) -> None:
    even = list(range(0, 10 * count, 10))
    at = list(range(even[-1] + 1))
    parabola = np.polynomial.Polynomial(coefficients[::-1])
    expected = np.array([float(parabola(place / 200)) for place in at])
    measured = np.array([float(parabola(place / 200)) for place in even])
    np.testing.assert_allclose(promise(even, measured, at), expected, atol=1e-9)


@hypothesis_settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_nothing_more_is_promised_where_it_was_measured(data: st.DataObject) -> None:
    places = data.draw(
        st.lists(st.integers(0, 200), min_size=2, max_size=25, unique=True).map(sorted)
    )
    scores = np.array(
        data.draw(st.lists(st.floats(0, 1), min_size=len(places), max_size=len(places)))
    )
    np.testing.assert_allclose(promise(places, scores, places), scores, atol=1e-9)


def test_through_two_places_a_straight_line_is_promised() -> None:
    for slope in (1e6, -1.0, 3.0):
        dirt = np.full(5, slope)  # memory that Akima's slopes may be made in
        del dirt
        found = promise([0, 8], np.array([1.0, 3.0]), [2, 4, 6])
        np.testing.assert_allclose(found, [1.5, 2.0, 2.5])


def test_a_hump_between_two_places_is_promised() -> None:
    places = list(range(0, 201, 20))
    scores = np.exp(-(((np.array(places) - 110) / 24) ** 2))
    between = promise(places, scores, [110])
    assert between.item() > 0.95 > 0.85 > scores.max()


def test_one_hyperparameter_is_predicted_on_its_whole_lattice(space: Space) -> None:
    grid = space.coarse(5)
    scores = np.array([[(place / 200) ** 2, 1.0] for (place,) in grid])
    candidates, predicted = predict(space, grid, scores)
    assert candidates == [(place,) for place in range(201)]
    np.testing.assert_allclose(predicted[:, 0], (np.arange(201) / 200) ** 2, atol=1e-12)
    np.testing.assert_allclose(predicted[:, 1], 1.0)


def test_a_parabola_of_two_hyperparameters_is_given_back_from_scattered_settings() -> None:
    space = Space(
        hyperparameters=(
            Hyperparameter(name="regularization"),
            Hyperparameter(name="label_weight", step=0.05),
        )
    )
    measured = sorted({*space.coarse(4), (17, 3), (120, 11)})

    def surface(setting: tuple[int, ...]) -> float:
        first, second = setting
        return (first / 200) ** 2 - first * second / 4000 + second / 20

    candidates, predicted = predict(
        space, measured, np.array([[surface(setting)] for setting in measured])
    )
    assert len(candidates) == len(set(candidates)) == 41 * 21
    np.testing.assert_allclose(
        predicted[:, 0], [surface(setting) for setting in candidates], atol=1e-9
    )


def test_one_weight_for_all_regions_is_measured_along_its_range_twice_as_closely() -> None:
    names = ("regularization", "regularization_deep", "label_weight")
    space = Space(hyperparameters=tuple(Hyperparameter(name=name) for name in names))
    settings = coarse_settings(space, SearchOptions(coarse=6))
    # 0, 25, …, 200, and a quarter of a step from the end
    for place in (*range(0, 201, 25), 194):
        assert (place, place, 100) in settings
    others = [index for index in settings if index[0] != index[1]]
    assert len(others) >= 20


def test_hyperparameters_of_other_names_or_values_are_no_weights_of_regions() -> None:
    common = Hyperparameter(name="regularization")
    for other in (
        Hyperparameter(name="label_weight"),
        Hyperparameter(name="regularization_deep", high=2.0),
    ):
        settings = coarse_settings(Space(hyperparameters=(common, other)), SearchOptions(coarse=6))
        assert len(settings) == 6 * 6  # the default is among them


CHOICES = ("CC", "MI", "MSE")
BEST = {"CC": 0.32, "MI": 0.71, "MSE": 0.55}


def of_choices(choices: Sequence[str]) -> Space:
    similarity = Hyperparameter(name="similarity", type="categorical", choices=tuple(choices))
    return Space(hyperparameters=(similarity, Hyperparameter(name="regularization")))


def scored(space: Space, index: Index) -> float:
    setting = space.setting(index)
    best = BEST[str(setting["similarity"])]
    return 0.8 - (float(setting["regularization"]) - best) ** 2 * (2 if best > 0.6 else 1)


@pytest.mark.parametrize("choices", [CHOICES, CHOICES[::-1], ("MI", "MSE", "CC")])
def test_each_choice_has_a_curve_of_its_own_whatever_the_order_of_the_choices(
    choices: Sequence[str],
) -> None:
    space = of_choices(choices)
    measured = space.product([[0, 1, 2], [0, 50, 100, 150, 200]])
    scores = np.array([[scored(space, index)] for index in measured])
    candidates, predicted = predict(space, measured, scores)
    assert len(candidates) == len(set(candidates)) == 3 * 201
    truth = [scored(space, index) for index in candidates]
    np.testing.assert_allclose(predicted[:, 0], truth, atol=1e-9)


def test_numbers_are_predicted_among_the_settings_in_which_they_are_active() -> None:
    """A window that only CC has: its place among the settings with MI says nothing."""
    similarity = Hyperparameter(name="similarity", type="categorical", choices=("MI", "CC"))
    window = Hyperparameter(name="window", low=1, high=3, default=2, only_if={"similarity": "CC"})
    space = Space(
        hyperparameters=(similarity, Hyperparameter(name="regularization", step=0.05), window)
    )

    def score(index: Index) -> float:
        setting = space.setting(index)
        found = 0.8 - (float(setting["regularization"]) - 0.4) ** 2
        if "window" in setting:
            found -= 0.1 * (float(setting["window"]) - 2.2) ** 2 + 0.05
        return found

    measured = space.product([[0, 1], [0, 5, 10, 15], [0, 60, 120, 200]])
    assert len(measured) == 4 + 16
    scores = np.array([[score(index)] for index in measured])
    candidates, predicted = predict(space, measured, scores)
    truth = [score(index) for index in candidates]
    np.testing.assert_allclose(predicted[:, 0], truth, atol=1e-9)
    assert {space.canonical(index) for index in candidates} == set(candidates)
    # λ = 0.75 is the outermost that was measured: nothing is predicted beyond
    assert max(index[1] for index in candidates) == 15
    assert sum(index[0] == 0 for index in candidates) == 16


def test_a_combination_that_was_measured_once_stands_for_itself() -> None:
    space = of_choices(CHOICES)
    measured = [(0, 0), (0, 100), (0, 200), (1, 40)]
    scores = np.array([[0.5], [0.7], [0.6], [0.9]])
    candidates, predicted = predict(space, measured, scores)
    of_second = [place for place, index in enumerate(candidates) if index[0] == 1]
    assert [candidates[place] for place in of_second] == [(1, 40)]
    assert predicted[of_second].item() == 0.9
    assert all(index[0] != 2 for index in candidates)
