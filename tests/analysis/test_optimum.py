from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis.flag import Flag, disagree, draws_near, find_flags
from hmopt.analysis.optimum import Optimum, band, find_optimum
from hmopt.analysis.resampling import Estimate, Interval, Samples, draw
from hmopt.metric import find_metric
from hmopt.search.curve import Curve
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Space
from hmopt.training.prior import draw_setting

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.25),))
NAMES = np.array([f"s{i}" for i in range(12)], dtype=object)
FALLING = np.array([0.01, 0.004, 0.001, 0.0, 0.0])


def respond(scores: np.ndarray, metric: str = "dice", folding: np.ndarray = FALLING) -> Curve:
    return Curve(
        scope=Scope(criteria=()),
        space=SPACE,
        metric=find_metric(metric),
        settings=tuple((i,) for i in range(5)),
        pairs=np.arange(scores.shape[1]),
        ids=tuple(NAMES),
        scores=scores,
        folding=folding,
    )


def samples(draws: int = 300) -> Samples:
    return draw(NAMES, NAMES, draws=draws, seed=0)


def parabola(best: float) -> np.ndarray:
    values = np.linspace(0, 1, 5)[:, None]
    return 0.7 - (values - best) ** 2 + np.linspace(-0.1, 0.1, 12)


def test_the_optimum_is_the_best_measured_setting_and_its_score_the_mean_there() -> None:
    found = find_optimum(respond(parabola(0.3)), samples(), folding_limit=1.0)
    assert found.setting == {"regularization": 0.25}
    assert found.score.value == pytest.approx(0.7 - 0.05**2)
    assert found.folding == 0.004


def test_the_constrained_optimum_is_the_best_of_those_under_the_limit() -> None:
    found = find_optimum(respond(parabola(0.1)), samples(), folding_limit=0.001)
    assert found.setting == {"regularization": 0.0}
    assert found.constrained == {"regularization": 0.5}
    assert found.score_constrained == pytest.approx(0.7 - 0.4**2)


def test_where_every_setting_folds_none_is_chosen_and_that_is_flagged() -> None:
    found = find_optimum(respond(parabola(0.5), folding=FALLING + 1), samples(), folding_limit=0.001)
    assert found.constrained is None
    assert find_flags(SPACE, found, None) == (Flag.FOLDS,)


def test_a_score_to_be_minimized_has_its_optimum_at_the_least() -> None:
    found = find_optimum(respond(1 - parabola(0.75), "hd95_mm"), samples(), 1.0)
    assert found.setting == {"regularization": 0.75}


def test_the_interval_of_the_optimum_is_that_of_a_loop_over_samples() -> None:
    scores = np.random.default_rng(1).normal(0.7, 0.02, (5, 12))
    drawn, centre = samples(), scores.mean(axis=1)
    wide = np.sqrt(12 / 11) * stats.t(11).ppf(0.975) / stats.norm.ppf(0.975)
    means = [np.array([np.average(row, weights=weight) for row in scores]) for weight in drawn.weights]
    best = [np.argmax(centre + wide * (mean - centre)) / 4 for mean in means]
    found = find_optimum(respond(scores), drawn, 1.0)
    assert found.intervals["regularization"] == (
        np.quantile(best, 0.025, method="lower"),
        np.quantile(best, 0.975, method="higher"),
    )
    assert found.intervals["regularization"].low < found.intervals["regularization"].high


def test_the_interval_reaches_between_the_measured_settings_and_holds_the_best_of_them() -> None:
    fine = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.005),))
    values, shifts = np.linspace(0, 1, 6)[:, None], np.linspace(-0.06, 0.06, 12)
    response = replace(
        respond(0.7 - (values - 0.31 - shifts) ** 2, folding=np.zeros(6)),
        space=fine,
        settings=tuple((40 * place,) for place in range(6)),
    )
    found = find_optimum(response, samples(), 1.0).intervals["regularization"]
    deviation = shifts.std(ddof=1) / np.sqrt(12) * stats.t(11).ppf(0.975)
    assert found.low == pytest.approx(0.31 - deviation, abs=0.01)
    assert found.high == 0.4


def test_settings_within_the_tolerance_are_as_good() -> None:
    curve = np.array([0.60, 0.699, 0.7, 0.6981, 0.6979])
    found = find_optimum(respond(np.repeat(curve[:, None], 12, axis=1)), samples(), 1.0)
    assert found.equals["regularization"] == (0.25, 0.75)
    assert Flag.FLAT in find_flags(SPACE, found, None)


def test_where_training_drew_hardly_anything_is_flagged() -> None:
    ends = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.25, end_point_rate=0.45),))
    found = find_optimum(respond(parabola(0.5)), samples(), 1.0)
    assert find_flags(ends, found, None) == (Flag.NOT_TRAINED,)
    at_end = find_optimum(respond(parabola(1.0)), samples(), 1.0)
    assert find_flags(ends, at_end, None) == (Flag.BOUND,)


@pytest.mark.parametrize("value", [0.0, 0.03, 0.4, 0.97, 1.0])
def test_the_share_of_draws_near_a_value_is_that_of_actual_draws(value: float) -> None:
    hyperparameter = Hyperparameter(name="regularization", end_point_rate=0.2)
    generator, space = np.random.default_rng(3), Space(hyperparameters=(hyperparameter,))
    drawn = np.array([draw_setting(space, generator)["regularization"] for _ in range(20_000)])
    assert draws_near(hyperparameter, value) == pytest.approx(np.mean(np.abs(drawn - value) <= 0.05), abs=0.01)


def test_an_end_of_the_range_is_flagged() -> None:
    found = find_optimum(respond(parabola(1.0)), samples(), 1.0)
    assert find_flags(SPACE, found, None) == (Flag.BOUND,)


def optimum(value: float, low: float, high: float) -> Optimum:
    return Optimum(
        index=(0,),
        setting={"regularization": value},
        intervals={"regularization": Interval(low, high)},
        equals={"regularization": Interval(value, value)},
        score=Estimate(0.7, 0.6, 0.8),
        folding=0.0,
        constrained={"regularization": value},
        score_constrained=0.7,
    )


@pytest.mark.parametrize(
    ("half", "expected"),
    [
        (optimum(0.5, 0.4, 0.6), True),
        (optimum(0.5, 0.2, 0.6), False),
        (optimum(0.3, 0.3, 0.3), False),
    ],
)
def test_optima_disagree_only_where_each_lies_outside_the_others_interval(half: Optimum, expected: bool) -> None:
    full = optimum(0.25, 0.2, 0.35)
    assert disagree(full, half) is expected
    assert (Flag.NOT_CONVERGED in find_flags(SPACE, full, half)) is expected


def test_the_band_holds_the_curve() -> None:
    response = respond(parabola(0.5))
    low, high = band(response, samples())
    assert (low < response.means).all()
    assert (high > response.means).all()
