from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis.optimum import Optimum, band, find_optimum, within_range
from hmopt.analysis.resampling import Estimate, Interval, Samples, draw, interval, widening
from hmopt.analysis.warnings import OptimumWarning, disagree, draws_near, find_warnings
from hmopt.catalogue import find_metric
from hmopt.search.curve import Curve
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Space
from hmopt.training.batches import draw_settings

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.25),))
NAMES = np.array([f"s{i}" for i in range(12)], dtype=object)
NO_LIMIT = {"folding": 1.0}
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
    found = find_optimum(respond(parabola(0.3)), samples(), NO_LIMIT)
    assert found.setting == {"regularization": 0.25}
    assert found.score.value == pytest.approx(0.7 - 0.05**2)
    assert found.folding == 0.004


def test_the_constrained_optimum_is_the_best_of_those_under_the_limit() -> None:
    found = find_optimum(respond(parabola(0.1)), samples(), limits={"folding": 0.001})
    assert found.setting == {"regularization": 0.0}
    assert found.constrained == {"regularization": 0.5}
    assert found.score_constrained == pytest.approx(0.7 - 0.4**2)


def test_where_every_setting_folds_none_is_chosen_and_that_is_flagged() -> None:
    found = find_optimum(
        respond(parabola(0.5), folding=FALLING + 1), samples(), limits={"folding": 0.001}
    )
    assert found.constrained is None
    assert find_warnings(SPACE, found, None) == (OptimumWarning.FOLDS,)


def test_a_score_to_be_minimized_has_its_optimum_at_the_least() -> None:
    found = find_optimum(respond(1 - parabola(0.75), "hd95_mm"), samples(), NO_LIMIT)
    assert found.setting == {"regularization": 0.75}


def test_the_interval_of_the_optimum_is_that_of_a_loop_over_samples() -> None:
    scores = np.random.default_rng(1).normal(0.7, 0.02, (5, 12))
    drawn, centre = samples(), scores.mean(axis=1)
    wide = np.sqrt(12 / 11) * stats.t(11).ppf(0.975) / stats.norm.ppf(0.975)
    means = [
        np.array([np.average(row, weights=weight) for row in scores]) for weight in drawn.weights
    ]
    best = [np.argmax(centre + wide * (mean - centre)) / 4 for mean in means]
    found = find_optimum(respond(scores), drawn, NO_LIMIT)
    optimum = int(centre.argmax()) / 4
    found_interval = found.intervals["regularization"]
    assert tuple(found_interval) == (
        min(np.quantile(best, 0.025, method="lower"), max(optimum - 0.125, 0.0)),
        max(np.quantile(best, 0.975, method="higher"), min(optimum + 0.125, 1.0)),
    )
    assert found_interval.low < found_interval.high


def test_the_interval_reaches_between_the_measured_settings_and_half_way_to_those_next_to_the_best() -> (
    None
):
    fine = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.005),))
    values, shifts = np.linspace(0, 1, 6)[:, None], np.linspace(-0.06, 0.06, 12)
    response = replace(
        respond(0.7 - (values - 0.31 - shifts) ** 2, folding=np.zeros(6)),
        space=fine,
        settings=tuple((40 * place,) for place in range(6)),
    )
    found = find_optimum(response, samples(), NO_LIMIT).intervals["regularization"]
    deviation = shifts.std(ddof=1) / np.sqrt(12) * stats.t(11).ppf(0.975)
    assert found.low == pytest.approx(0.31 - deviation, abs=0.01)
    assert found.high == 0.5


@pytest.mark.parametrize("best", [0.0, 0.25, 0.5, 1.0])
def test_the_interval_is_never_narrower_than_half_way_to_the_measured_neighbours(
    best: float,
) -> None:
    certain = np.repeat((0.7 - (np.linspace(0, 1, 5) - best) ** 2)[:, None], 12, axis=1)
    found = find_optimum(respond(certain), samples(), NO_LIMIT)
    assert found.intervals["regularization"] == (max(best - 0.125, 0.0), min(best + 0.125, 1.0))


def certain_interval(hyperparameter: Hyperparameter, best: int, settings: list[int]) -> Interval:
    """The interval of a best value that all subjects agree on."""
    scores = np.repeat(-np.abs(np.subtract(settings, settings[best]))[:, None] / 1000.0, 12, axis=1)
    response = replace(
        respond(0.7 + scores, folding=np.zeros(len(settings))),
        space=Space(hyperparameters=(hyperparameter,)),
        settings=tuple((place,) for place in settings),
    )
    return find_optimum(response, samples(), NO_LIMIT).intervals[hyperparameter.name]


def test_half_way_is_meant_along_the_logarithm_of_a_log_uniform_range() -> None:
    weight = Hyperparameter(
        name="label_weight", low=0.01, high=100, step=0.25, prior="log-uniform", default=1
    )
    assert [weight.value(place) for place in range(5)] == [0.01, 0.1, 1, 10, 100]
    found = certain_interval(weight, best=2, settings=[0, 1, 2, 3, 4])
    assert found == pytest.approx((10**-0.5, 10**0.5))
    assert certain_interval(weight, best=0, settings=[0, 1, 2, 3, 4]).low == 0.01
    steps = Hyperparameter(
        name="steps", type="integer", low=1, high=100, prior="log-uniform", default=10
    )
    # half-way between 1, 9 and 64: 3 and 24
    assert certain_interval(steps, best=1, settings=[0, 8, 63]) == (3, 24)


def test_the_interval_of_an_integer_ends_at_values_that_it_has() -> None:
    window = Hyperparameter(name="window", type="integer", low=3, high=21, step=2, default=9)
    measured = [0, 3, 6, 9]
    assert [window.value(place) for place in measured] == [3, 9, 15, 21]
    # half-way, at 6 and 12, lies no value
    assert certain_interval(window, best=1, settings=measured) == (5, 13)


def equal_by_loop(scores: np.ndarray, drawn: Samples, margin: float) -> tuple[float, float]:
    """Return the range of settings next to each other that lose less than the margin in 95 % of the samples."""
    best, wide = int(scores.mean(axis=1).argmax()), widening(12)
    passes = []
    for setting in range(len(scores)):
        lost = scores[best] - scores[setting]
        means = [
            lost.mean() + wide * (np.average(lost, weights=one) - lost.mean())
            for one in drawn.weights
        ]
        passes.append(setting == best or np.quantile(means, 0.95) <= margin)
    first = last = best
    while first > 0 and passes[first - 1]:
        first -= 1
    while last < len(scores) - 1 and passes[last + 1]:
        last += 1
    return first / 4, last / 4


@pytest.mark.parametrize("margin", [0.002, 0.01, 0.05])
def test_equivalent_settings_are_those_of_a_loop_over_samples(margin: float) -> None:
    generator = np.random.default_rng(2)
    scores = parabola(0.45) * 0.1 + generator.normal(0, 0.003, (5, 12))
    found = find_optimum(respond(scores), samples(), NO_LIMIT, margin)
    assert found.equals["regularization"] == equal_by_loop(scores, samples(), margin)


def test_without_noise_the_equivalent_settings_are_those_within_the_margin() -> None:
    curve = np.array([0.60, 0.699, 0.7, 0.6981, 0.6979])
    found = find_optimum(respond(np.repeat(curve[:, None], 12, axis=1)), samples(), NO_LIMIT)
    assert found.equals["regularization"] == (0.25, 0.75)
    assert OptimumWarning.FLAT in find_warnings(SPACE, found, None)
    distance = find_optimum(
        respond(100 * (1 - np.repeat(curve[:, None], 12, axis=1)), "hd95_mm"), samples(), NO_LIMIT
    )
    assert distance.equals["regularization"] == (0.5, 0.5)


def test_settings_that_noise_hides_are_not_called_equivalent() -> None:
    """All means lie within the margin of the best one, but subjects differ too much to be sure of it."""
    noise = np.random.default_rng(3).normal(0, 0.05, (5, 12))
    scores = 0.7 + noise - noise.mean(axis=1, keepdims=True)
    scores[2] += 0.001
    found = find_optimum(respond(scores), samples(), NO_LIMIT)
    assert np.ptp(scores.mean(axis=1)) < 0.002
    assert found.equals["regularization"] == (0.5, 0.5)
    assert OptimumWarning.FLAT not in find_warnings(SPACE, found, None)


@pytest.mark.parametrize("subjects", [1, 4])
def test_of_fewer_than_five_subjects_no_interval_is_given(subjects: int) -> None:
    few = draw(NAMES[:subjects], NAMES[:subjects], draws=100, seed=0)
    response = respond(parabola(0.3)[:, :subjects])
    found = find_optimum(response, few, NO_LIMIT)
    assert np.isnan(found.intervals["regularization"]).all()
    assert np.isnan(found.equals["regularization"]).all()
    assert np.isnan(found.score[1:]).all()
    assert found.setting == {"regularization": 0.25}
    assert np.isnan(band(response, few)).all()
    assert not disagree(found, found)
    assert find_warnings(SPACE, found, None) == ()


@pytest.mark.parametrize(
    ("metric", "most", "one"), [("dice", 1.0, 0.0), ("dice", 0.0, 1.0), ("hd95_mm", 0.0, 3.0)]
)
def test_intervals_keep_to_the_values_that_a_metric_can_have(
    metric: str, most: float, one: float
) -> None:
    scores = np.full((5, 12), most)
    scores[:, 0] = one
    low, high = find_metric(metric).range
    unlimited = interval(samples().means(scores[0]))
    assert unlimited.low < low or unlimited.high > high
    found, ends = (
        find_optimum(respond(scores, metric), samples(), NO_LIMIT).score,
        band(respond(scores, metric), samples()),
    )
    assert low <= found.low <= found.value <= found.high <= high
    assert ends.min() >= low
    assert ends.max() <= high


def test_an_estimate_outside_the_range_is_cut_and_its_value_kept() -> None:
    cut = within_range(find_metric("dice"), Estimate(0.809, 0.091, 1.527))
    assert cut == (0.809, 0.091, 1.0)
    assert np.isnan(within_range(find_metric("dice"), Estimate(0.8, np.nan, np.nan))[1:]).all()


def test_where_training_drew_hardly_anything_is_flagged() -> None:
    ends = Space(
        hyperparameters=(Hyperparameter(name="regularization", step=0.25, end_point_rate=0.45),)
    )
    found = find_optimum(respond(parabola(0.5)), samples(), NO_LIMIT)
    assert find_warnings(ends, found, None) == (OptimumWarning.NOT_TRAINED,)
    at_end = find_optimum(respond(parabola(1.0)), samples(), NO_LIMIT)
    assert find_warnings(ends, at_end, None) == (OptimumWarning.BOUND,)


@pytest.mark.parametrize("value", [0.0, 0.03, 0.4, 0.97, 1.0])
def test_the_share_of_draws_near_a_value_is_that_of_actual_draws(value: float) -> None:
    hyperparameter = Hyperparameter(name="regularization", end_point_rate=0.2)
    generator, space = np.random.default_rng(3), Space(hyperparameters=(hyperparameter,))
    settings = draw_settings(space, 20_000, generator)
    drawn = np.array([setting["regularization"] for setting in settings])
    assert draws_near(hyperparameter, value) == pytest.approx(
        np.mean(np.abs(drawn - value) <= 0.05), abs=0.01
    )


def test_an_end_of_the_range_is_flagged() -> None:
    found = find_optimum(respond(parabola(1.0)), samples(), NO_LIMIT)
    assert find_warnings(SPACE, found, None) == (OptimumWarning.BOUND,)


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
def test_optima_disagree_only_where_each_lies_outside_the_others_interval(
    half: Optimum, expected: bool
) -> None:
    full = optimum(0.25, 0.2, 0.35)
    assert disagree(full, half) is expected
    assert (OptimumWarning.NOT_CONVERGED in find_warnings(SPACE, full, half)) is expected


def test_the_band_holds_the_curve() -> None:
    response = respond(parabola(0.5))
    low, high = band(response, samples())
    assert (low < response.means).all()
    assert (high > response.means).all()
