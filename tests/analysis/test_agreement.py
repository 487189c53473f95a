from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis.agreement import agreement_table, find_agreement, rank_correlation
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.regret import find_regret, regret_table
from hmopt.analysis.robustness import find_robustness
from hmopt.declaration.search import SearchSection
from hmopt.errors import LedgerError
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Space

COHORT, CORTEX = Scope(criteria=()), Scope(criteria=(("label", "cortex"),))
SECTION = SearchSection(metric="dice", repeats=4)
NINE = np.linspace(0, 1, 9)
Make = Callable[..., Measurements]


@pytest.fixture
def model(make: Make, all_cross: list[tuple[str, str]]) -> Callable[..., Measurements]:
    """A model whose pairs score along a curve over λ = 0, 1/8, …, 1, or some of them, each pair shifted a little."""

    def build(curve: np.ndarray, places: tuple[int, ...] = tuple(range(9)), seed: int = 0) -> Measurements:
        shifts = np.random.default_rng(seed).normal(0, 0.02, len(all_cross))
        dice = np.repeat((np.asarray(curve)[:, None] + shifts)[:, :, None], 2, axis=2)
        template = make(all_cross, np.zeros((5, len(all_cross), 2)))
        space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.125),))
        settings = tuple((place,) for place in places)
        return replace(template, space=space, settings=settings, values={"dice": dice})

    return build


def hump(best: float, values: np.ndarray = NINE) -> np.ndarray:
    return 0.8 - 0.4 * (values - best) ** 2


def test_a_constant_gap_is_told_at_each_setting_with_its_sign(model: Callable[..., Measurements]) -> None:
    amortized = {"0": model(hump(0.3))}
    separate = {"0": model(hump(0.3) + 0.011), "1": model(hump(0.3) + 0.009)}
    found = find_agreement(amortized, separate, COHORT, "dice", seed=0)
    assert [gap.value for gap in found.gaps] == pytest.approx([0.01] * 9)
    assert found.mean_gap == pytest.approx((0.01, 0.01, 0.01))
    assert found.upper_bound == pytest.approx(0.01)
    np.testing.assert_allclose(found.seed_spread, np.std([0.011, 0.009], ddof=1))
    assert np.isnan(found.amortized_spread).all()
    assert not found.within_two_spreads.any()
    assert found.rank_correlation == pytest.approx(1.0)
    assert found.shift == {"regularization": 0.0}
    table = agreement_table([found])
    assert len(table) == 9
    assert table["separate"].tolist() == pytest.approx((hump(0.3) + 0.01 + 0).tolist(), abs=0.01)


def test_a_gap_of_surface_distance_is_positive_where_separate_networks_are_nearer(
    model: Callable[..., Measurements],
) -> None:
    def distance(measurements: Measurements) -> Measurements:
        return replace(measurements, values={"hd95_mm": 2 - measurements.values["dice"]})

    found = find_agreement(
        {"0": distance(model(hump(0.3)))}, {"0": distance(model(hump(0.3) + 0.05))}, COHORT, "hd95_mm", seed=0
    )
    assert found.mean_gap.value == pytest.approx(0.05)


def test_the_interval_of_the_gap_is_that_of_subjects_who_differ(make: Make, all_cross: list[tuple[str, str]]) -> None:
    own = dict(zip("abcdefgh", stats.norm.ppf((np.arange(8) + 0.5) / 8) * 0.01, strict=True))
    gaps = np.array([own[a[0]] + own[b[0]] for a, b in all_cross])
    one, other = (make(all_cross, np.zeros((5, len(gaps), 2)) + g[:, None]) for g in (np.zeros(len(gaps)), gaps))
    found = find_agreement({"0": one}, {"0": other}, COHORT, "dice", seed=0).mean_gap
    low, high = stats.ttest_1samp(2 * np.array(list(own.values())), 0).confidence_interval(0.95)
    assert found.value == pytest.approx(0.0, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.25)


def test_best_settings_of_shifted_curves_lie_apart_by_the_shift(model: Callable[..., Measurements]) -> None:
    found = find_agreement({"0": model(hump(0.25))}, {"0": model(hump(0.75))}, COHORT, "dice", seed=0)
    assert found.shift == {"regularization": 0.5}
    assert found.rank_correlation < 0.5


def test_settings_and_pairs_that_one_side_lacks_are_left_out(model: Callable[..., Measurements]) -> None:
    places = (0, 2, 5, 8)
    separate = model(hump(0.3)[list(places)], places)
    separate.values["dice"][:, :3] = np.nan
    found = find_agreement({"0": model(hump(0.3))}, {"0": separate}, CORTEX, "dice", seed=0)
    assert [setting["regularization"] for setting in found.settings] == [0, 0.25, 0.625, 1]
    assert found.mean_gap.value == pytest.approx(0.0, abs=1e-12)
    assert found.ranking is Evidence.TOO_FEW
    separate.values["dice"][:] = np.nan
    assert find_agreement({"0": model(hump(0.3))}, {"0": separate}, CORTEX, "dice", seed=0) is None


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
    assert rank_correlation(one, other, np.full(9, spread))[2] is expected


def test_without_spread_the_rank_correlation_is_scipys() -> None:
    one, other = np.random.default_rng(0).random((2, 12))
    found = rank_correlation(one, other, np.full(12, np.nan))
    assert found[0] == pytest.approx(stats.spearmanr(one, other).statistic)
    assert found[1] == 12


def test_models_of_other_hyperparameters_are_refused(model: Callable[..., Measurements]) -> None:
    one = model(hump(0.3))
    other = replace(one, space=Space(hyperparameters=(Hyperparameter(name="label_weight", step=0.125),)))
    with pytest.raises(LedgerError, match="space: expected one space"):
        find_agreement({"0": one}, {"0": other}, COHORT, "dice", seed=0)
    with pytest.raises(LedgerError, match="at least one"):
        find_agreement({"0": one}, {}, COHORT, "dice", seed=0)


def test_the_regret_is_the_fall_of_the_retrained_curve_from_its_best_to_the_amortized_choice(
    model: Callable[..., Measurements],
) -> None:
    found = find_regret({"0": model(hump(0.25))}, {"0": model(hump(0.125))}, COHORT, SECTION)
    assert found.retraining == pytest.approx((0.4 * 0.125**2,) * 3)
    assert found.default == pytest.approx((0.4 * 0.375**2,) * 3)
    assert found.default_more.value == pytest.approx(0.4 * (0.375**2 - 0.125**2))
    assert found.trained
    assert found.subjects == 8
    assert regret_table([found])["default_regret"].item() == found.default.value


def test_between_trained_settings_the_regret_is_that_of_the_straight_line(model: Callable[..., Measurements]) -> None:
    separate = model(np.array([0.5, 0.7, 0.6, 0.4]), (0, 2, 6, 8))
    found = find_regret({"0": model(hump(0.5))}, {"0": separate}, COHORT, SECTION)
    assert found.retraining.value == pytest.approx(0.7 - 0.65)
    assert not found.trained


def test_a_flat_retrained_curve_is_called_flat(model: Callable[..., Measurements]) -> None:
    flat = model(0.7 + 0.001 * NINE)
    assert find_regret({"0": model(hump(0.0))}, {"0": flat}, COHORT, SECTION).evidence is Evidence.FLAT


def test_noise_between_subjects_makes_the_best_of_the_grid_no_better_than_another(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    noise = np.random.default_rng(2).normal(0.6, 0.05, (2, 5, len(all_cross), 2))
    one, other = (make(all_cross, dice) for dice in noise)
    found = find_regret({"0": one}, {"0": other}, COHORT, SECTION)
    assert found.retraining.low < 0 < found.retraining.high
    assert found.evidence is Evidence.NONE


def test_networks_of_further_seeds_at_some_settings_count_there_and_leave_the_grid_whole(
    model: Callable[..., Measurements],
) -> None:
    separate = {"0": model(hump(0.3)), "1": model(hump(0.3)[[2, 4]] + 0.02, (2, 4))}
    found = find_agreement({"0": model(hump(0.3))}, separate, COHORT, "dice", seed=0)
    assert [gap.value for gap in found.gaps] == pytest.approx([0, 0, 0.01, 0, 0.01, 0, 0, 0, 0], abs=1e-12)
    assert np.flatnonzero(np.isfinite(found.seed_spread)).tolist() == [2, 4]
    assert found.seed_spread[2] == pytest.approx(0.02 / np.sqrt(2))
    regret = find_regret({"0": model(hump(0.25))}, separate, COHORT, SECTION)
    assert regret.retraining.value == pytest.approx(0.0, abs=1e-12)
    assert find_robustness(separate, COHORT, "dice").settings == ({"regularization": 0.25}, {"regularization": 0.5})
