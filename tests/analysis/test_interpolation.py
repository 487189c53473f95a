import numpy as np

from hmopt.analysis.optimum import interpolation
from hmopt.space import Hyperparameter, Space

ONE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.01),))
TWO = Space(hyperparameters=(*ONE.hyperparameters, Hyperparameter(name="label_weight", step=0.05)))


def test_a_cubic_polynomial_is_told_on_every_lattice_point_between_the_measured_ones() -> None:
    def score(place: np.ndarray) -> np.ndarray:
        return (place / 100 - 0.3) ** 3 - place / 200

    settings = tuple((place,) for place in (5, 20, 50, 80, 97))
    candidates, matrix = interpolation(ONE, settings)
    assert candidates == [(place,) for place in range(5, 98)]
    np.testing.assert_allclose(
        matrix @ score(np.array(settings)[:, 0]), score(np.arange(5, 98)), atol=1e-12
    )


def test_a_parabola_of_two_hyperparameters_is_told_on_an_even_lattice_with_the_measured_settings() -> (
    None
):
    def score(settings: np.ndarray) -> np.ndarray:
        x, y = settings.T / np.array([[100], [20]])
        return np.asarray(1 - (x - 0.4) ** 2 - 2 * (y - 0.6) ** 2 + x * y)

    settings = tuple((x, y) for x in (0, 33, 71, 100) for y in (0, 7, 13, 20))
    candidates, matrix = interpolation(TWO, settings)
    assert set(settings) < set(candidates)
    np.testing.assert_allclose(
        matrix @ score(np.array(settings)), score(np.array(candidates)), atol=1e-8
    )


def test_settings_too_few_for_a_surface_stand_for_themselves() -> None:
    settings = ((0, 0), (0, 20), (100, 0))
    candidates, matrix = interpolation(TWO, settings)
    assert candidates == list(settings)
    np.testing.assert_array_equal(matrix, np.eye(3))
