from collections.abc import Callable

import numpy as np
import pytest

from hmopt.errors import LedgerError
from hmopt.ledger import Measurements
from hmopt.search.curve import Curves, find_curves
from hmopt.search.scopes import Scope

SETTINGS = [(0,), (100,), (200,)]
CURVES = {"thalamus": lambda x: 0.5 + 0.2 * x, "cortex": lambda x: 0.8 - 0.2 * x}


def test_a_curve_is_the_mean_over_the_pairs_of_its_scope(
    measure: Callable[..., Measurements],
) -> None:
    measurements = measure(CURVES, SETTINGS, folding=lambda x: 0.01 - 0.01 * x)
    within = Scope(criteria=(("task", "within"), ("label", "cortex")))
    cohort, chosen = find_curves(measurements, [Scope(criteria=()), within], "dice")
    assert cohort.means == pytest.approx([0.65, 0.65, 0.65])
    assert chosen.means == pytest.approx(np.array([0.8, 0.7, 0.6]) + (0.025 + 0.0375 + 0.05) / 3)
    assert chosen.folding == pytest.approx([0.01, 0.005, 0.0])
    within_limit = chosen.best_within({"folding": 0.005})
    assert (chosen.best(), within_limit, chosen.best_within({"folding": -1})) == (0, 1, None)
    assert cohort.settings == ((0,), (100,), (200,))


def test_pairs_that_lack_the_label_are_left_out_of_its_score_and_folding(
    measure: Callable[..., Measurements],
) -> None:
    measurements = measure(CURVES, SETTINGS)
    measurements.values["dice"][:, 0, 1] = np.nan
    measurements.values["folding"][:, 0] = 1.0
    label, cohort = find_curves(
        measurements, [Scope(criteria=(("label", "cortex"),)), Scope(criteria=())], "dice"
    )
    assert len(label.pairs) == len(cohort.pairs) - 1 == 8
    assert label.means[0] == pytest.approx(0.8 + 0.05 / 8)
    assert label.folding.tolist() == [0, 0, 0]


def test_a_setting_that_lacks_a_pair_is_left_out_and_a_scope_without_scores_altogether(
    measure: Callable[..., Measurements],
) -> None:
    measurements = measure(CURVES, SETTINGS)
    measurements.values["dice"][1, 0, 0] = np.nan
    measurements.values["dice"][:, :, 1] = np.nan
    scopes = [Scope(criteria=(("label", label),)) for label in CURVES]
    assert [curve.settings for curve in find_curves(measurements, scopes, "dice")] == [
        ((0,), (200,))
    ]


def test_folding_that_was_not_measured_obeys_no_limit(measure: Callable[..., Measurements]) -> None:
    measurements = measure(CURVES, SETTINGS)
    del measurements.values["folding"]  # type: ignore[attr-defined]
    (curve,) = find_curves(measurements, [Scope(criteria=())], "dice")
    assert curve.best_within({"folding": 1.0}) is None
    with pytest.raises(LedgerError, match="got 'folding'"):
        list(find_curves(measurements, [], "folding"))


def test_less_is_better_where_the_metric_says_so_and_the_first_of_equals_is_best(
    measure: Callable[..., Measurements],
) -> None:
    measurements = measure(CURVES, SETTINGS, folding=lambda x: np.where(x > 0, 0.25, 0.5))
    (curve,) = find_curves(measurements, [Scope(criteria=())], "folding")
    assert curve.best() == 1


def test_losses_are_how_much_worse_than_the_best_a_setting_is_in_either_direction(
    measure: Callable[..., Measurements],
) -> None:
    measurements = measure(CURVES, SETTINGS, folding=lambda x: 0.01 - 0.01 * x)
    (folding,) = find_curves(measurements, [Scope(criteria=())], "folding")
    (cortex,) = find_curves(measurements, [Scope(criteria=(("label", "cortex"),))], "dice")
    assert folding.losses == pytest.approx([0.01, 0.005, 0.0])
    assert cortex.losses == pytest.approx([0.0, 0.1, 0.2])
    assert cortex.best_of(np.array([[0.1, 0.2, 0.3], [0.4, 0.2, 0.3]])).tolist() == [2, 0]


def test_a_curve_tells_where_its_pairs_are_and_where_a_setting_is(
    measure: Callable[..., Measurements],
) -> None:
    measurements = measure(CURVES, SETTINGS)
    measurements.values["dice"][:, 1, 1] = np.nan
    measurements.values["dice"][1, 4, 1] = np.nan
    (curve,) = find_curves(measurements, [Scope(criteria=(("label", "cortex"),))], "dice")
    assert curve.pairs.tolist() == [0, *range(2, 9)]
    assert list(curve.ids) == measurements.pairs["pair"][curve.pairs].tolist()
    assert curve.scores.shape == (2, 8)
    assert (curve.place((200,)), curve.place((100,))) == (1, -1)
    assert curve.values.tolist() == [[0.0], [1.0]]


def test_curves_of_any_products_are_those_of_a_loop_over_pairs(
    measure: Callable[..., Measurements],
) -> None:
    measurements = measure(CURVES, SETTINGS, folding=lambda x: 0.01 - 0.01 * x)
    pairs = measurements.pairs
    criteria = {"label": "thalamus", "subject": "017", "task": "cross", "age": "60–75"}
    (curve,) = find_curves(measurements, [Scope(criteria=tuple(criteria.items()))], "dice")
    own = [
        row
        for row, (_, pair) in enumerate(pairs.iterrows())
        if "017" in (pair["moving_subject"], pair["fixed_subject"])
        and (pair["task"], pair["age"]) == ("cross", "60–75")
    ]
    assert curve.pairs.tolist() == own
    assert curve.means == pytest.approx(measurements.values["dice"][:, own, 0].mean(axis=1))


def test_the_best_setting_obeys_the_limits_of_several_metrics(
    measure: Callable[..., Measurements],
) -> None:
    """Dice of the cortex falls with λ, its distance too, and folding: each limit takes some settings away."""
    measurements = measure(CURVES, SETTINGS, folding=lambda x: 0.01 - 0.01 * x)
    distances = np.full(measurements.values["dice"].shape, np.nan)
    distances[:, :, 1] = np.array([3.0, 1.5, 1.0])[:, None]
    distances[:, 0, 1] = np.nan  # a pair without the label counts in no mean
    measurements.values["hd95_mm"] = distances  # type: ignore[index]
    scope = Scope(criteria=(("label", "cortex"),))
    curve = Curves(measurements, "dice", ["folding", "hd95_mm"]).of(scope)
    assert curve is not None
    assert curve.mean_of("hd95_mm").tolist() == [3.0, 1.5, 1.0]
    limits = {"folding": 1.0, "hd95_mm": 2.0}
    assert curve.best() == 0
    assert curve.best_within(limits) == 1
    assert curve.best_within({**limits, "folding": 0.001}) == 2
    assert curve.best_within({**limits, "dice": 0.7}) == 1  # of what rises, the least
    assert curve.best_within({**limits, "dice": 0.75}) is None
    assert curve.best_within({"similarity": 0.0}) is None  # was not measured
    assert curve.at(SETTINGS[1:]).mean_of("hd95_mm").tolist() == [1.5, 1.0]
