import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis.agreement import (
    Agreement,
    Regret,
    find_agreement,
    find_regret,
    judge_ranking,
)
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.jackknife import jackknife
from hmopt.analysis.model_scores import find_robustness
from hmopt.declaration.search import SearchOptions
from hmopt.errors import LedgerError
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Space

COHORT, CORTEX = Scope(criteria=()), Scope(criteria=(("label", "cortex"),))
SECTION = SearchOptions(metric="dice")
NINE = np.linspace(0, 1, 9)
Make = Callable[..., Measurements]


@pytest.fixture
def model(make: Make, all_cross: list[tuple[str, str]]) -> Callable[..., Measurements]:
    """A model whose pairs score along a curve over λ = 0, 1/8, …, 1, or some of them, each pair shifted a little."""

    def build(
        curve: np.ndarray, places: tuple[int, ...] = tuple(range(9)), seed: int = 0
    ) -> Measurements:
        shifts = np.random.default_rng(seed).normal(0, 0.02, len(all_cross))
        dice = np.repeat((np.asarray(curve)[:, None] + shifts)[:, :, None], 2, axis=2)
        template = make(all_cross, np.zeros((5, len(all_cross), 2)))
        space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.125),))
        settings = tuple((place,) for place in places)
        return replace(template, space=space, settings=settings, values={"dice": dice})

    return build


def hump(best: float, values: np.ndarray = NINE) -> np.ndarray:
    return 0.8 - 0.4 * (values - best) ** 2


def agreed(
    amortized: dict[str, Measurements], separate: dict[str, Measurements], scope: Scope = COHORT
) -> Agreement:
    found = find_agreement(amortized, separate, scope, "dice")
    assert found is not None
    return found


def regretted(amortized: dict[str, Measurements], separate: dict[str, Measurements]) -> Regret:
    found = find_regret(amortized, separate, COHORT, SECTION)
    assert found is not None
    return found


def test_a_constant_gap_is_told_at_each_setting_with_its_sign(
    model: Callable[..., Measurements],
) -> None:
    amortized = {"0": model(hump(0.3))}
    separate = {"0": model(hump(0.3) + 0.011), "1": model(hump(0.3) + 0.009)}
    found = agreed(amortized, separate)
    assert [gap.value for gap in found.gaps] == pytest.approx([0.01] * 9)
    assert found.mean_gap.value == pytest.approx(0.01)
    # subjects do not differ at all: the error is that of two random starts
    assert found.mean_gap.error == pytest.approx(np.std([0.011, 0.009], ddof=1) / np.sqrt(2))
    assert found.upper_bound == pytest.approx(0.01 + found.mean_gap.error * stats.t.ppf(0.95, 1))
    assert found.initializations == 1
    assert found.evidence is Evidence.TOO_FEW
    np.testing.assert_allclose(found.seed_spread, np.std([0.011, 0.009], ddof=1))
    assert np.isnan(found.amortized_spread).all()
    assert not found.within_two_spreads.any()
    assert found.rank_correlation == pytest.approx(1.0)
    assert found.shift == {"regularization": 0.0}
    assert len(found.settings) == 9
    of_pairs = amortized["0"].values["dice"][0].mean() - hump(0.3)[0]
    assert found.amortized.tolist() == pytest.approx((hump(0.3) + of_pairs).tolist(), abs=1e-12)
    assert found.separate.tolist() == pytest.approx(
        (hump(0.3) + of_pairs + 0.01).tolist(), abs=1e-12
    )


def test_a_gap_of_surface_distance_is_positive_where_separate_networks_are_nearer(
    model: Callable[..., Measurements],
) -> None:
    def distance(measurements: Measurements) -> Measurements:
        return replace(measurements, values={"hd95_mm": 2 - measurements.values["dice"]})

    found = find_agreement(
        {"0": distance(model(hump(0.3)))},
        {"0": distance(model(hump(0.3) + 0.05))},
        COHORT,
        "hd95_mm",
    )
    assert found is not None
    assert found.mean_gap.value == pytest.approx(0.05)


def test_the_interval_of_the_gap_is_that_of_subjects_who_differ(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    own = dict(zip("abcdefgh", stats.norm.ppf((np.arange(8) + 0.5) / 8) * 0.01, strict=True))
    gaps = np.array([own[a[0]] + own[b[0]] for a, b in all_cross])
    one, other = (
        make(all_cross, np.zeros((5, len(gaps), 2)) + g[:, None])
        for g in (np.zeros(len(gaps)), gaps)
    )
    found = agreed({"0": one}, {"0": other}).mean_gap
    low, high = stats.ttest_1samp(2 * np.array(list(own.values())), 0).confidence_interval(0.95)
    assert found.value == pytest.approx(0.0, abs=1e-12)
    assert tuple(found.interval) == pytest.approx((low, high))


def test_starts_of_both_sides_widen_the_interval_of_the_gap(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    generator = np.random.default_rng(1)
    own = dict(zip("abcdefgh", generator.normal(0, 0.01, 8), strict=True))
    of_pair = np.array([own[a[0]] + own[b[0]] for a, b in all_cross])

    def trained(shifts: list[float], gaps: np.ndarray) -> dict[str, Measurements]:
        return {
            str(seed): make(all_cross, np.full((5, len(gaps), 2), 0.7) + (gaps + shift)[:, None])
            for seed, shift in enumerate(shifts)
        }

    ones, others = [-0.01, 0.0, 0.01], [0.002, -0.002]
    found = agreed(trained(ones, 0 * of_pair), trained(others, of_pair))
    single = agreed(trained([0.0], 0 * of_pair), trained([0.0], of_pair))
    over_starts = np.var(ones, ddof=1) / 3 + np.var(others, ddof=1) / 2
    assert found.mean_gap.value == pytest.approx(single.mean_gap.value)
    assert found.mean_gap.error**2 == pytest.approx(single.mean_gap.error**2 + over_starts)
    assert (found.initializations, single.initializations) == (2, 1)
    assert single.evidence is Evidence.TOO_FEW


@pytest.mark.parametrize(
    ("gap", "evidence", "equivalent"),
    [(0.0, Evidence.NONE, True), (0.0015, Evidence.FOUND, True), (0.01, Evidence.FOUND, False)],
)
def test_equal_is_what_two_one_sided_tests_say_and_different_what_the_interval_says(
    make: Make, all_cross: list[tuple[str, str]], gap: float, evidence: Evidence, equivalent: bool
) -> None:
    noise = np.random.default_rng(2).normal(0, 0.0002, (2, 2, len(all_cross)))
    noise -= noise.mean(axis=2, keepdims=True)

    def trained(shift: float, of_pairs: np.ndarray) -> dict[str, Measurements]:
        dice = np.full((5, len(all_cross), 2), 0.7 + shift)
        return {
            str(seed): make(all_cross, dice + one[:, None]) for seed, one in enumerate(of_pairs)
        }

    found = agreed(trained(0.0, noise[0]), trained(gap, noise[1]))
    assert found.evidence is evidence
    assert found.mean_gap.equivalent(0.003) is equivalent


def test_a_small_gap_of_subjects_who_differ_much_is_neither_equal_nor_different(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    own = np.random.default_rng(3).normal(0, 0.02, (2, 8))
    places = np.array([["abcdefgh".index(side[0]) for side in pair] for pair in all_cross])
    sides = [own[seed][places].sum(axis=1) for seed in range(2)]
    separate = {
        str(seed): make(all_cross, 0.7 + np.zeros((5, 56, 2)) + one[:, None])
        for seed, one in enumerate(sides)
    }
    amortized = {
        str(seed): make(all_cross, np.full((5, 56, 2), 0.7 + np.mean(sides))) for seed in range(2)
    }
    found = agreed(amortized, separate)
    assert found.mean_gap.value == pytest.approx(0.0, abs=1e-12)
    assert found.evidence is Evidence.NONE
    assert not found.mean_gap.equivalent(0.003)


def test_best_settings_of_shifted_curves_lie_apart_by_the_shift(
    model: Callable[..., Measurements],
) -> None:
    found = agreed({"0": model(hump(0.25))}, {"0": model(hump(0.75))})
    assert found.shift == {"regularization": 0.5}
    assert found.rank_correlation < 0.5


def test_settings_and_pairs_that_one_side_lacks_are_left_out(
    model: Callable[..., Measurements],
) -> None:
    places = (0, 2, 5, 8)
    separate = model(hump(0.3)[list(places)], places)
    separate.values["dice"][:, :3] = np.nan
    found = agreed({"0": model(hump(0.3))}, {"0": separate}, CORTEX)
    assert [setting["regularization"] for setting in found.settings] == [0, 0.25, 0.625, 1]
    assert found.mean_gap.value == pytest.approx(0.0, abs=1e-12)
    assert found.ranking is Evidence.TOO_FEW
    separate.values["dice"][:] = np.nan
    assert find_agreement({"0": model(hump(0.3))}, {"0": separate}, CORTEX, "dice") is None


@pytest.mark.parametrize(
    ("one", "other", "spread", "expected"),
    [
        (hump(0.3), hump(0.3), 0.0, Evidence.FOUND),
        (hump(0.3), np.full(9, 0.7), 0.01, Evidence.FLAT),
        (np.full(9, 0.7), hump(0.3), 0.01, Evidence.FLAT),
        (-hump(0.3), hump(0.3), 0.01, Evidence.NONE),
        (hump(0.3), hump(0.3), 0.2, Evidence.FLAT),
    ],
)
def test_a_rank_correlation_is_told_only_where_settings_can_be_told_apart(
    one: np.ndarray, other: np.ndarray, spread: float, expected: Evidence
) -> None:
    assert judge_ranking(one, other, np.full(9, spread))[2] is expected


def test_without_spread_the_rank_correlation_is_scipys() -> None:
    one, other = np.random.default_rng(0).random((2, 12))
    found = judge_ranking(one, other, np.full(12, np.nan))
    assert found[0] == pytest.approx(stats.spearmanr(one, other).statistic)
    assert found[1] == 12


def test_models_of_other_hyperparameters_are_refused(model: Callable[..., Measurements]) -> None:
    one = model(hump(0.3))
    other = replace(
        one, space=Space(hyperparameters=(Hyperparameter(name="label_weight", step=0.125),))
    )
    with pytest.raises(LedgerError, match="space: expected one space"):
        agreed({"0": one}, {"0": other})
    with pytest.raises(LedgerError, match="at least one"):
        agreed({"0": one}, {})


def test_the_regret_is_the_fall_of_the_retrained_curve_from_its_best_to_the_amortized_choice(
    model: Callable[..., Measurements],
) -> None:
    found = regretted({"0": model(hump(0.25))}, {"0": model(hump(0.125))})
    assert found.retraining.value == pytest.approx(0.4 * 0.125**2)
    assert found.default.value == pytest.approx(0.4 * 0.375**2)
    assert found.retraining.error == found.default.error == 0
    assert found.default_more.value == pytest.approx(0.4 * (0.375**2 - 0.125**2))
    assert found.trained
    assert found.subjects == 8
    assert found.initializations == 1
    assert found.evidence is Evidence.TOO_FEW


def test_between_trained_settings_the_regret_is_that_of_the_straight_line(
    model: Callable[..., Measurements],
) -> None:
    separate = model(np.array([0.5, 0.7, 0.6, 0.4]), (0, 2, 6, 8))
    found = regretted({"0": model(hump(0.5))}, {"0": separate})
    assert found.retraining.value == pytest.approx(0.7 - 0.65)
    assert not found.trained


def starts_of(
    model: Callable[..., Measurements], curve: np.ndarray, seeds: int = 3
) -> dict[str, Measurements]:
    """Networks of several starts, whose scores differ a little at each setting."""
    noise = np.random.default_rng(9).normal(0, 0.0002, (seeds, len(curve)))
    return {str(seed): model(curve + one, seed=seed) for seed, one in enumerate(noise)}


def test_losses_within_the_margin_are_negligible_with_confidence(
    model: Callable[..., Measurements],
) -> None:
    separate = starts_of(model, 0.7 + 0.001 * NINE)
    found = regretted({"0": model(hump(0.0))}, separate)
    assert found.initializations == 3
    assert found.retraining.equivalent(0.002)
    assert found.default.equivalent(0.002)
    assert found.evidence is Evidence.NEGLIGIBLE
    one = regretted({"0": model(hump(0.0))}, {"0": separate["0"]})
    assert one.evidence is Evidence.TOO_FEW


def test_a_default_that_loses_more_over_subjects_and_starts_is_evidence(
    model: Callable[..., Measurements],
) -> None:
    separate = starts_of(model, hump(0.125))
    found = regretted({"0": model(hump(0.125))}, separate)
    assert found.evidence is Evidence.FOUND
    assert found.default_more.value > 0
    other = regretted({"0": model(hump(0.875))}, separate)
    assert other.evidence is Evidence.FOUND
    assert other.default_more.value < 0


def test_where_the_amortized_model_chooses_the_default_neither_loses_more(
    model: Callable[..., Measurements],
) -> None:
    found = regretted({"0": model(hump(0.5))}, starts_of(model, hump(0.125)))
    assert found.retraining == found.default
    assert found.retraining.value > 0.01
    assert (found.default_more.value, found.default_more.error) == (0, 0)
    assert found.evidence is Evidence.NONE


def test_starts_that_differ_widen_the_interval_of_the_regret(
    model: Callable[..., Measurements],
) -> None:
    tilts = np.array([-0.02, 0.0, 0.02])
    separate = {
        str(seed): model(hump(0.25) + tilt * (NINE - 0.25)) for seed, tilt in enumerate(tilts)
    }
    found = regretted({"0": model(hump(0.5))}, separate)
    lost = 0.4 * 0.25**2 - tilts * 0.25
    assert found.retraining.value == pytest.approx(lost.mean())
    assert found.retraining.error == pytest.approx(np.std(lost, ddof=1) / np.sqrt(3))
    assert found.retraining.freedom == pytest.approx(2)


def test_noise_between_subjects_makes_the_best_of_the_grid_no_better_than_another(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    noise = np.random.default_rng(2).normal(0.6, 0.05, (3, 5, len(all_cross), 2))
    one, other, another = (make(all_cross, dice) for dice in noise)
    found = regretted({"0": one}, {"0": other, "1": another})
    assert found.retraining.interval.low < 0 < found.retraining.interval.high
    assert found.evidence is Evidence.NONE


def test_errors_of_regrets_have_the_variance_over_choices(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    noise = np.random.default_rng(2).normal(0.6, 0.05, (2, 5, len(all_cross), 2))
    amortized, network = (make(all_cross, dice) for dice in noise)
    found = regretted({"0": amortized}, {"0": network})
    of_amortized, scores = amortized.score("dice"), network.score("dice")
    default, ratio = 2, 6 / 2  # of eight subjects, two are held out
    lost = np.zeros((3, len(all_cross)))
    of_splits = []
    for held_out in itertools.combinations("abcdefgh", 2):
        sides = [{moving[0], fixed[0]} for moving, fixed in all_cross]
        chooses = [not side & set(held_out) for side in sides]
        judged = np.array([side == set(held_out) for side in sides])
        best = scores[:, chooses].mean(axis=1).argmax()
        own = of_amortized[:, chooses].mean(axis=1).argmax()
        differences = [scores[best] - scores[own], scores[best] - scores[default]]
        differences.append(scores[own] - scores[default])
        of_splits.append([difference.mean() for difference in differences])
        for place, difference in enumerate(differences):
            lost[place, judged] = difference[judged]
    variances = ratio * np.var(of_splits, axis=0)
    moving, fixed = (np.array([pair[side][0] for pair in all_cross], object) for side in (0, 1))
    means = (found.retraining, found.default, found.default_more)
    for mean, values, variance in zip(means, lost, variances, strict=True):
        given = jackknife(values, moving, fixed)
        assert mean.value == pytest.approx(given.value)
        assert mean.error == pytest.approx(np.sqrt(given.error**2 + variance))
        assert mean.error > 1.005 * given.error
        assert mean.freedom == 7


def test_networks_of_further_seeds_at_some_settings_count_there_and_leave_the_grid_whole(
    model: Callable[..., Measurements],
) -> None:
    separate = {"0": model(hump(0.3)), "1": model(hump(0.3)[[2, 4]] + 0.02, (2, 4))}
    found = agreed({"0": model(hump(0.3))}, separate)
    assert [gap.value for gap in found.gaps] == pytest.approx(
        [0, 0, 0.01, 0, 0.01, 0, 0, 0, 0], abs=1e-12
    )
    assert np.flatnonzero(np.isfinite(found.seed_spread)).tolist() == [2, 4]
    assert found.seed_spread[2] == pytest.approx(0.02 / np.sqrt(2))
    assert found.initializations == 1
    regret = regretted({"0": model(hump(0.25))}, separate)
    assert regret.initializations == 1
    assert regret.retraining.value == pytest.approx(0.0, abs=1e-12)
    robustness = find_robustness(separate, COHORT, "dice")
    assert robustness is not None
    assert robustness.settings == ({"regularization": 0.25}, {"regularization": 0.5})
