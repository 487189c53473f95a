import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hmopt.search.plan import predict, promise
from hmopt.space import Hyperparameter, Space


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(3, 25),
    coefficients=st.tuples(*[st.floats(-2, 2)] * 3),
)
def test_a_parabola_is_given_back_from_evenly_spaced_places(
    count: int, coefficients: tuple[float, float, float]
) -> None:
    even = list(range(0, 10 * count, 10))
    at = list(range(even[-1] + 1))
    expected = np.polyval(coefficients, np.array(at) / 200)
    measured = np.polyval(coefficients, np.array(even) / 200)
    np.testing.assert_allclose(promise(even, measured, at), expected, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_nothing_more_is_promised_where_it_was_measured(data: st.DataObject) -> None:
    places = data.draw(
        st.lists(st.integers(0, 200), min_size=2, max_size=25, unique=True).map(sorted)
    )
    scores = np.array(
        data.draw(st.lists(st.floats(0, 1), min_size=len(places), max_size=len(places)))
    )
    np.testing.assert_allclose(promise(places, scores, places), scores, atol=1e-9)


def test_a_hump_between_two_places_is_promised() -> None:
    places, hump = list(range(0, 201, 20)), lambda x: np.exp(-(((x - 110) / 24) ** 2))
    between = promise(places, hump(np.array(places)), [110])
    assert between.item() > 0.95 > 0.85 > hump(np.array(places)).max()


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
