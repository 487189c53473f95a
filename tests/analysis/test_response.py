from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.response import find_response
from hmopt.ledger.measurements import Measurements

SIDES = [("a1", "b1"), ("b1", "c1"), ("c1", "a1")]
EVERY = np.ones(3, dtype=bool)


def uneven() -> NDArray[np.float64]:
    dice = np.arange(30, dtype=float).reshape(5, 3, 2) / 100
    dice[:, 1, 0] = np.nan
    dice[3, 2] = np.nan
    return dice


def test_a_pair_without_the_label_is_left_out_and_then_a_setting_that_a_pair_lacks(
    make: Callable[..., Measurements],
) -> None:
    measurements = make(SIDES, uneven())
    response = find_response(measurements, measurements.score("dice", "cortex"), EVERY, "dice")
    assert response is not None
    assert response.pairs.tolist() == [0, 2]
    assert response.settings == ((0,), (1,), (2,), (4,))
    np.testing.assert_allclose(response.scores[:, 0], [0.0, 0.06, 0.12, 0.24])


def test_nothing_measured_under_a_mask_gives_none(make: Callable[..., Measurements]) -> None:
    measurements = make(SIDES, uneven())
    only = np.array([False, True, False])
    assert find_response(measurements, measurements.score("dice", "cortex"), only, "dice") is None


def test_smaller_is_better_for_a_distance(make: Callable[..., Measurements]) -> None:
    measurements = make(SIDES, uneven())
    dice = find_response(measurements, measurements.score("dice", "thalamus"), EVERY, "dice")
    distance = find_response(measurements, measurements.score("hd95_mm", "thalamus"), EVERY, "hd95_mm")
    assert dice is not None
    assert distance is not None
    assert dice.best(dice.curve) == distance.best(distance.curve) == 3
    np.testing.assert_allclose(distance.losses(distance.curve), dice.losses(dice.curve))
