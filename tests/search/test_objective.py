import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest

from hmopt.errors import DeclarationError, LedgerError, SearchError
from hmopt.ledger import Measurements, Tabulated
from hmopt.records import Block, Pair
from hmopt.search.objective import Objective
from hmopt.space import Hyperparameter, Space

CURVES = {"thalamus": lambda x: 0.7 - (x - 0.5) ** 2, "cortex": lambda x: 0.6 - (x - 0.1) ** 2}
EVERY_FIFTH = [(place,) for place in range(0, 201, 40)]


@pytest.fixture
def oracle(measure: Callable[..., Measurements]) -> Tabulated:
    return Tabulated(measure(CURVES, EVERY_FIFTH, folding=lambda x: 0.01 * (1 - x)))


def at(value: float) -> optuna.trial.FixedTrial:
    return optuna.trial.FixedTrial({"regularization": value})


def test_a_score_is_the_mean_over_pairs_and_labels(oracle: Tabulated, pairs: list[Pair]) -> None:
    assert Objective(oracle, pairs, label="thalamus")(at(0.2)) == pytest.approx(0.7 - 0.09)
    assert Objective(oracle, pairs)(at(0.2)) == pytest.approx((0.7 - 0.09 + 0.6 - 0.01) / 2)
    assert Objective(oracle, pairs[:1], label="cortex")(at(1.0)) == pytest.approx(0.6 - 0.81 - 0.05)
    assert Objective(oracle, pairs, metric="folding")(at(0.2)) == pytest.approx(0.008)


def test_a_trial_keeps_its_setting_and_folding_and_obeys_the_limit(
    oracle: Tabulated, pairs: list[Pair]
) -> None:
    study = optuna.create_study(direction=Objective(oracle, pairs).direction)
    for place in EVERY_FIFTH:
        study.enqueue_trial(oracle.space.setting(place))
    study.optimize(Objective(oracle, pairs, label="cortex", folding_limit=0.005), n_trials=6)
    assert study.trials[1].user_attrs == {
        "setting": {"regularization": 0.2},
        "folding": pytest.approx(0.008),
    }
    assert study.trials[1].constraints == {"folding": pytest.approx(0.003)}
    assert study.best_params == {"regularization": 0.6}
    unlimited = optuna.create_study(direction="maximize")
    unlimited.enqueue_trial({"regularization": 0.2})
    unlimited.optimize(Objective(oracle, pairs), n_trials=1)
    assert unlimited.trials[0].constraints == {}


@pytest.mark.parametrize("value", [-0.2, 1.2])
def test_an_enqueued_value_outside_the_bounds_is_refused(
    value: float, oracle: Tabulated, pairs: list[Pair]
) -> None:
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"regularization": value})
    with pytest.raises(
        SearchError, match=rf"regularization: expected a number in \[0.0, 1.0\], got {value}"
    ):
        study.optimize(Objective(oracle, pairs), n_trials=1)
    with pytest.raises(SearchError, match="Enqueue a value inside"):
        Objective(oracle, pairs)(at(value))


def test_a_study_in_the_wrong_direction_is_refused(oracle: Tabulated, pairs: list[Pair]) -> None:
    with pytest.raises(
        SearchError, match="direction: expected maximize, as dice asks for, got minimize"
    ):
        optuna.create_study().optimize(Objective(oracle, pairs), n_trials=1)
    with pytest.raises(
        SearchError, match="direction: expected minimize, as folding asks for, got maximize"
    ):
        optuna.create_study(direction="maximize").optimize(
            Objective(oracle, pairs, metric="folding"), n_trials=1
        )


def test_a_study_of_several_directions_needs_one_that_fits(
    oracle: Tabulated, pairs: list[Pair]
) -> None:
    dice, folding = Objective(oracle, pairs), Objective(oracle, pairs, metric="folding")

    def both(trial: optuna.Trial) -> tuple[float, float]:
        return dice(trial), folding(trial)

    study = optuna.create_study(directions=["maximize", "minimize"])
    study.enqueue_trial({"regularization": 0.2})
    study.optimize(both, n_trials=1)
    assert study.trials[0].values == pytest.approx([dice(at(0.2)), folding(at(0.2))])
    with pytest.raises(
        SearchError, match="direction: expected maximize, as dice asks for, got minimize, minimize"
    ):
        optuna.create_study(directions=["minimize", "minimize"]).optimize(both, n_trials=1)


def test_a_pickled_objective_gives_the_same_score(oracle: Tabulated, pairs: list[Pair]) -> None:
    objective = Objective(oracle, pairs, label="cortex", folding_limit=0.01)
    assert pickle.loads(pickle.dumps(objective))(at(0.2)) == objective(at(0.2))


def test_what_is_suggested_is_brought_to_the_lattice(oracle: Tabulated, pairs: list[Pair]) -> None:
    trial = at(0.2011)
    assert Objective(oracle, pairs, label="thalamus")(trial) == pytest.approx(0.7 - 0.09)
    assert trial.user_attrs["setting"] == {"regularization": 0.2}


def test_warnings_are_shown_again_afterwards(oracle: Tabulated, pairs: list[Pair]) -> None:
    before = list(warnings.filters)
    Objective(oracle, pairs)(at(0.2))
    assert warnings.filters == before


class Logarithmic:
    """Scores the value itself, and lacks the label in the second pair."""

    identity, labels = "0f", ("x",)
    space = Space(
        hyperparameters=(
            Hyperparameter(
                name="weight", low=1e-4, high=1.0, step=0.25, prior="log-uniform", default=1.0
            ),
        )
    )

    def measure(self, settings: Any, pairs: Any, metrics: Any) -> Any:
        for index in settings:
            for pair in pairs:
                value = np.nan if pair.moving == "missing" else self.space.setting(index)["weight"]
                values = {"dice": np.array([[value]]), "folding": np.array([value])}
                yield Block(index=index, pairs=(pair.id,), labels=self.labels, values=values)


def pair(moving: str) -> Pair:
    return Pair(moving=moving, fixed="b", moving_subject=moving, fixed_subject="b")


def test_a_logarithmic_hyperparameter_is_measured_on_its_lattice_by_any_sampler() -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(Objective(Logarithmic(), [pair("a")]), n_trials=50)
    assert {trial.user_attrs["setting"]["weight"] for trial in study.trials} == {
        1e-4,
        1e-3,
        1e-2,
        1e-1,
        1.0,
    }
    assert all(trial.value == trial.user_attrs["setting"]["weight"] for trial in study.trials)


def test_pairs_that_lack_the_label_do_not_count_and_none_left_is_said_so() -> None:
    trial = optuna.trial.FixedTrial({"weight": 0.01})
    assert Objective(Logarithmic(), [pair("a"), pair("missing")])(trial) == 0.01
    assert trial.user_attrs["folding"] == 0.01
    with pytest.raises(
        SearchError,
        match="expected dice of x for some of 1 pairs, got nothing that can be measured",
    ):
        Objective(Logarithmic(), [pair("missing")], label="x")(
            optuna.trial.FixedTrial({"weight": 0.01})
        )


def test_what_cannot_be_scored_is_refused_at_once(oracle: Tabulated, pairs: list[Pair]) -> None:
    with pytest.raises(SearchError, match="pairs: expected at least one pair"):
        Objective(oracle, [])
    with pytest.raises(SearchError, match="label: expected one of thalamus, cortex, got 'brain'"):
        Objective(oracle, pairs, label="brain")
    with pytest.raises(DeclarationError, match="metric: expected one of"):
        Objective(oracle, pairs, metric="accuracy")
    with pytest.raises(LedgerError, match="setting: expected one of the 6 that were measured"):
        Objective(oracle, pairs)(at(0.5))


def test_a_trial_obeys_the_limits_of_several_metrics(oracle: Tabulated, pairs: list[Pair]) -> None:
    """Folding is 0.01 (1 - λ); the Dice of the thalamus stands for a further metric."""
    limits = {"folding": 0.005, "dice_nearest": 0.65}
    measured = oracle._measurements
    measured.values["dice_nearest"] = measured.values["dice"]  # type: ignore[index]
    objective = Objective(oracle, pairs, label="thalamus", limits=limits)
    study = optuna.create_study(direction=objective.direction)
    for place in EVERY_FIFTH:
        study.enqueue_trial({"regularization": place[0] / 200})
    study.optimize(objective, n_trials=len(EVERY_FIFTH))
    excess = [trial.constraints["dice_nearest"] for trial in study.trials]
    values = np.array([place[0] / 200 for place in EVERY_FIFTH])
    assert excess == pytest.approx(0.65 - (0.7 - (values - 0.5) ** 2))
    assert study.trials[1].user_attrs["dice_nearest"] == pytest.approx(0.7 - 0.3**2)
    assert study.best_params == {"regularization": 0.6}
    obeying = [trial for trial in study.trials if max(trial.constraints.values()) <= 0]
    assert [trial.params["regularization"] for trial in obeying] == [0.6]
