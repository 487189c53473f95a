"""The regret of metrics without labels, on curves whose optima are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.jackknife import jackknife
from hmopt.analysis.resampling import Names
from hmopt.analysis.scope_result import analyse_scopes
from hmopt.analysis.without_labels import StandIn, StandIns, find_stand_ins
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.1),))
COHORT = Scope(criteria=())
SCOPES = [COHORT, Scope(criteria=(("label", "thymus"),)), Scope(criteria=(("label", "spleen"),))]
BEST = {"thymus": 0.2, "spleen": 0.4}
STEEP = 0.5
VALUES = np.arange(11) / 10


def measured(peaks: dict[str, float], subjects: int = 10, noise: float = 0.0) -> Measurements:
    """Dice falls by STEEP times the squared distance of λ from each best value; others fall from their peaks."""
    names = [f"s{number}" for number in range(subjects)]
    rows = [(f"{a}->{b}", a, b, a, b, "cross") for a in names for b in names if a != b]
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    pairs = pd.DataFrame(rows, columns=columns)
    generator = np.random.default_rng(0)
    shape = (len(VALUES), len(pairs))
    dice = np.empty((*shape, len(BEST)))
    for place, best in enumerate(BEST.values()):
        dice[..., place] = 0.8 - STEEP * (VALUES[:, None] - best) ** 2
    values = {"dice": dice + noise * generator.standard_normal(dice.shape)}
    for name, peak in peaks.items():
        distance = np.abs(VALUES - peak)[:, None] + np.zeros(shape)
        values[name] = 0.5 - distance if name == "similarity" else 0.5 + distance
    return Measurements(
        identity="made up",
        space=SPACE,
        settings=tuple((place,) for place in range(len(VALUES))),
        pairs=pairs,
        labels=tuple(BEST),
        values=values,
    )


def stand_ins(measurements: Measurements, metric: str = "dice") -> StandIns:
    reported = [name for name in measurements.values if name != metric]
    found = find_stand_ins(measurements, SCOPES, SearchOptions(metric=metric, reported=reported))
    assert found is not None
    return found


def test_a_metric_that_never_varies_chooses_nothing() -> None:
    measurements = measured({"log_jacobian_sd": 1.0})
    still = np.zeros((len(VALUES), len(measurements.pairs)))
    values = {**measurements.values, "folding": still}
    found = stand_ins(replace(measurements, values=values))
    assert found.constant == ("folding",)
    assert list(found.found) == ["log_jacobian_sd"]


def test_the_margin_of_another_metric_is_not_that_of_dice() -> None:
    measurements = measured({"log_jacobian_sd": 1.0}, noise=1e-4)
    options = SearchOptions(metric="log_jacobian_sd", reported=["dice"], margin=0.5)
    found = find_stand_ins(measurements, [COHORT], options)
    assert found is not None
    assert found.metric == "dice"
    assert of(found, "log_jacobian_sd", COHORT).evidence is Evidence.FOUND


def of(found: StandIns, metric: str, scope: Scope) -> StandIn:
    (entry,) = [one for one in found.found[metric] if one.scope == scope]
    return entry


def sides_of(measurements: Measurements) -> tuple[Names, Names]:
    pairs = measurements.pairs
    return pairs["moving_subject"].to_numpy(object), pairs["fixed_subject"].to_numpy(object)


def loss_at(value: float, *labels: str) -> float:
    """Return the mean loss at a value of λ against the best one for some labels together."""
    bests = np.array([BEST[label] for label in labels])
    at_value = np.mean((value - bests) ** 2)
    least = np.mean((bests.mean() - bests) ** 2)
    return float(STEEP * (at_value - least))


def test_the_regret_is_what_the_parabola_says() -> None:
    found = stand_ins(measured({"similarity": 0.7}))
    assert of(found, "similarity", COHORT).setting == {"regularization": 0.7}
    assert of(found, "similarity", COHORT).regret.value == pytest.approx(
        loss_at(0.7, "thymus", "spleen")
    )
    for label in BEST:
        entry = of(found, "similarity", Scope(criteria=(("label", label),)))
        # curves of a family are pooled where there are enough of them: two are not
        assert entry.regret.value == pytest.approx(loss_at(0.7, label))
        assert entry.regret_at_default.value == pytest.approx(loss_at(0.5, label))


def test_a_metric_that_is_best_where_dice_is_loses_nothing() -> None:
    entry = of(stand_ins(measured({"similarity": 0.3}, noise=0.0001)), "similarity", COHORT)
    assert entry.regret.value == pytest.approx(0, abs=1e-4)
    assert entry.evidence is Evidence.NEGLIGIBLE


def test_a_metric_that_falls_where_nothing_is_registered_chooses_that_and_loses() -> None:
    found = stand_ins(measured({"log_jacobian_sd": 1.0}, noise=0.001))
    entry = of(found, "log_jacobian_sd", COHORT)
    assert entry.setting == {"regularization": 1.0}
    assert entry.regret.value == pytest.approx(loss_at(1.0, "thymus", "spleen"), abs=0.001)
    assert entry.evidence is Evidence.FOUND


def test_the_regret_is_in_dice_where_the_search_was_by_a_metric_without_labels() -> None:
    measurements = measured({"similarity": 0.7})
    searched = stand_ins(measurements, "similarity")
    assert searched.metric == "dice"
    by_dice = of(stand_ins(measurements), "similarity", COHORT)
    assert of(searched, "similarity", COHORT).regret == by_dice.regret


def test_a_setting_that_all_subjects_choose_is_compared_as_a_given_one() -> None:
    """The regret at the default is the gain over the default, and so is that of a metric that always chooses it."""
    measurements = measured({"similarity": 0.5}, noise=0.05)
    entry = of(stand_ins(measurements), "similarity", COHORT)
    options = SearchOptions(metric="dice", reported=["similarity"])
    (result,) = analyse_scopes(measurements, None, [COHORT], options)
    assert result.held_out is not None
    over_default = result.held_out.over_default
    expected = (over_default.value, over_default.error)
    assert (entry.regret_at_default.value, entry.regret_at_default.error) == pytest.approx(expected)
    assert (entry.regret.value, entry.regret.error) == pytest.approx(expected)
    given = jackknife(result.held_out.default_gains, *sides_of(measurements))
    assert entry.regret.error > 1.05 * given.error


def test_few_subjects_give_no_interval() -> None:
    entry = of(stand_ins(measured({"similarity": 0.7}, subjects=4)), "similarity", COHORT)
    assert np.isnan(entry.regret.interval.low)
    assert entry.evidence is Evidence.TOO_FEW


def test_without_either_kind_of_metric_there_is_no_regret() -> None:
    options = SearchOptions(metric="dice", reported=[])
    assert find_stand_ins(measured({}), SCOPES, options) is None
    measurements = measured({"similarity": 0.7})
    del measurements.values["dice"]  # type: ignore[attr-defined]
    only = SearchOptions(metric="similarity", reported=[])
    assert find_stand_ins(measurements, SCOPES, only) is None
