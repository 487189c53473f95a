"""Ascents on functions whose optima are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hmopt.search.ascent import Ascent, Evaluate, ascend, distinct_optima, spread_starts

Floats = NDArray[np.float64]


def parabola(best: float) -> Evaluate:
    return lambda places: (0.8 - float((places[0] - best) ** 2), -2 * (places - best))


def bumps(*centres: tuple[float, float]) -> Evaluate:
    """A sum of Gaussians of width 0.08, with their heights."""

    def evaluate(places: Floats) -> tuple[float, Floats]:
        score, slope = 0.0, 0.0
        for centre, height in centres:
            away = (places[0] - centre) / 0.08
            value = height * np.exp(-(away**2) / 2)
            score += value
            slope -= value * away / 0.08
        return float(score), np.array([slope])

    return evaluate


def climbed(evaluate: Evaluate, starts: int, dimensions: int = 1) -> list[Ascent]:
    return [ascend(evaluate, start.tolist()) for start in spread_starts(dimensions, starts)]


@pytest.mark.parametrize("best", [0.0, 0.07, 0.31, 0.5, 0.96, 1.0])
@pytest.mark.parametrize("starts", [1, 2, 5, 8])
def test_one_optimum_is_found_from_any_start(best: float, starts: int) -> None:
    ascents = climbed(parabola(best), starts)
    (found,) = distinct_optima(parabola(best), ascents, negligible=0.0)
    assert found.place[0] == pytest.approx(best, abs=0.002)
    assert found.starts == starts
    assert all(ascent.converged for ascent in ascents)
    assert max(ascent.evaluations for ascent in ascents) <= 10


@pytest.mark.parametrize(("best", "end"), [(-0.4, 0.0), (1.7, 1.0)])
def test_an_optimum_outside_is_found_at_the_end_of_the_range(best: float, end: float) -> None:
    (found,) = distinct_optima(parabola(best), climbed(parabola(best), 3), negligible=0.0)
    assert found.place == (end,)


def test_the_scale_of_the_score_changes_nothing() -> None:
    for scale in (1e-6, 1.0, 1e6):

        def scaled(places: Floats, factor: float = scale) -> tuple[float, Floats]:
            score, slope = parabola(0.31)(places)
            return factor * score, factor * slope

        assert ascend(scaled, [0.8]).end[0] == pytest.approx(0.31, abs=0.002)


def test_two_optima_are_told_apart_and_the_better_one_comes_first() -> None:
    evaluate = bumps((0.2, 0.9), (0.8, 1.0))
    first, second = distinct_optima(evaluate, climbed(evaluate, 6), negligible=1e-3)
    assert first.place[0] == pytest.approx(0.8, abs=0.005)
    assert second.place[0] == pytest.approx(0.2, abs=0.005)
    assert (first.score, second.score) == pytest.approx((1.0, 0.9), abs=1e-3)
    assert first.starts + second.starts == 6
    # a valley that is negligible makes one optimum of them
    assert len(distinct_optima(evaluate, climbed(evaluate, 6), negligible=1.0)) == 1


def test_a_plateau_is_one_optimum_wherever_ascents_end_on_it() -> None:
    def plateau(places: Floats) -> tuple[float, Floats]:
        beyond = float(np.clip(places[0], None, 0.3) - 0.3 + np.clip(places[0] - 0.7, 0, None))
        return -(beyond**2), np.array([-2 * beyond])

    ascents = climbed(plateau, 5)
    ends = [ascent.end[0] for ascent in ascents]
    assert np.ptp(ends) > 0.2
    assert len(distinct_optima(plateau, ascents, negligible=1e-6)) == 1


def test_a_rough_score_is_climbed_to_near_its_optimum() -> None:
    """Ripples of 1e-5, a hundredth of the range apart: their slope is that of the parabola at 0.003."""

    def rough(places: Floats) -> tuple[float, Floats]:
        score, slope = parabola(0.42)(places)
        phase = 2 * np.pi * places / 0.01
        return score + 1e-5 * float(np.sin(phase[0])), slope + 1e-5 * np.cos(phase) * 200 * np.pi

    ascents = climbed(rough, 5)
    best, *_ = distinct_optima(rough, ascents, negligible=3e-5)
    assert best.place[0] == pytest.approx(0.42, abs=0.01)


def test_of_several_hyperparameters_all_are_tuned() -> None:
    curvature = np.array([[2.0, 0.5], [0.5, 1.0]])
    best = np.array([0.3, 0.8])

    def quadratic(places: Floats) -> tuple[float, Floats]:
        away = places - best
        return -float(away @ curvature @ away) / 2, -curvature @ away

    starts = spread_starts(2, 5)
    assert starts.shape == (5, 2)
    assert ((starts >= 0) & (starts <= 1)).all()
    (found,) = distinct_optima(quadratic, climbed(quadratic, 5, 2), negligible=0.0)
    assert found.place == pytest.approx(best, abs=0.005)


def test_a_start_without_a_slope_or_a_score_stays_where_it_is() -> None:
    flat = ascend(lambda places: (0.5, np.zeros(1)), [0.25])
    assert (flat.end, flat.evaluations, flat.converged) == ((0.25,), 1, True)
    missing = ascend(lambda places: (np.nan, np.ones(1)), [0.25])
    assert (missing.end, missing.converged) == ((0.25,), False)
