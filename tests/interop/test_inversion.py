"""Inversion of displacements, against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hmopt.interop.inversion import TOLERANCE, invert

Floats = NDArray[np.float64]


def points(count: int = 50, d: int = 3) -> Floats:
    return np.random.default_rng(0).uniform(-5, 5, (count, d))


@settings(deadline=None, max_examples=30)
@given(
    angles=st.tuples(*[st.floats(-80, 80)] * 3),
    stretch=st.tuples(*[st.floats(0.4, 3.0)] * 3),
)
def test_a_linear_map_is_inverted_as_its_matrix(
    angles: tuple[float, ...], stretch: tuple[float, ...]
) -> None:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix = turn @ np.diag(stretch)
    found = invert(lambda places: places @ matrix.T - places, points())
    expected = points() @ np.linalg.inv(matrix).T
    reached = np.linalg.norm(found.points @ matrix.T - points(), axis=-1)
    np.testing.assert_allclose(found.residual, reached, atol=1e-9)
    assert (found.residual <= TOLERANCE).all()
    np.testing.assert_allclose(found.points, expected, atol=TOLERANCE / min(stretch) * 1.01)


def test_where_the_fixed_point_iteration_diverges_the_inverse_is_found() -> None:
    # x + 2 x = y: x <- y - 2 x moves away from y / 3 by a factor of 2 each time
    found = invert(lambda places: 2 * places, points())
    np.testing.assert_allclose(found.points, points() / 3, atol=1e-3)


def test_where_a_displacement_folds_the_residual_says_how_far_it_misses() -> None:
    # x + u(x) = |x| reaches no negative number
    found = invert(lambda places: np.abs(places) - places, np.array([[-2.0], [3.0]]))
    assert found.residual[0] == pytest.approx(abs(found.points[0, 0]) + 2)
    assert found.residual[1] <= TOLERANCE


def test_a_guess_that_is_right_is_kept() -> None:
    calls = []

    def displace(places: Floats) -> Floats:
        calls.append(len(places))
        return np.full_like(places, 0.5)

    found = invert(displace, points(), start=points() - 0.5)
    np.testing.assert_array_equal(found.points, points() - 0.5)
    assert calls == [50]
