"""The sampler of the registry proposes what hmopt's own does, whatever was measured before."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from hmopt.search import CurveSampler, distributions
from hmopt.space import Hyperparameter, Space

LAMBDA = Hyperparameter(name="regularization")
SPACES = {
    "one float": Space(hyperparameters=(LAMBDA,)),
    "one float on a logarithm": Space(
        hyperparameters=(
            Hyperparameter(name="weight", low=0.01, high=10, prior="log-uniform", default=1),
        )
    ),
    "whole numbers": Space(
        hyperparameters=(
            Hyperparameter(name="spacing", type="integer", low=2, high=80, step=2, default=4),
        )
    ),
    "whole numbers on a logarithm": Space(
        hyperparameters=(
            Hyperparameter(
                name="iterations",
                type="integer",
                low=1,
                high=1000,
                prior="log-uniform",
                default=10,
            ),
        )
    ),
    "two floats": Space(hyperparameters=(LAMBDA, Hyperparameter(name="label_weight", step=0.05))),
    "three floats": Space(
        hyperparameters=tuple(Hyperparameter(name=name, step=0.1) for name in "abc")
    ),
    "a choice": Space(
        hyperparameters=(
            LAMBDA,
            Hyperparameter(name="similarity", type="categorical", choices=("CC", "MI")),
        )
    ),
}
HISTORIES = 12

Direction = Literal["maximize", "minimize"]


@pytest.fixture
def package(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("samplers/curve_sampler")


def humps(x: float) -> float:
    """The higher of two humps lies between points of the coarse lattice."""
    lower = 0.6 * np.exp(-(((x - 0.2) / 0.15) ** 2))
    higher = 0.65 * np.exp(-(((x - 0.775) / 0.06) ** 2))
    return float(lower + higher)


def along(params: Mapping[str, Any], among: Mapping[str, BaseDistribution]) -> float:
    """Return where numbers lie along their ranges, on average."""
    shares = []
    for name, values in among.items():
        if isinstance(values, (FloatDistribution, IntDistribution)):
            shares.append((params[name] - values.low) / (values.high - values.low))
    return float(np.mean(shares))


def trials_of(
    sampler: optuna.samplers.BaseSampler,
    among: dict[str, BaseDistribution],
    count: int,
    direction: Direction = "maximize",
) -> list[dict[str, Any]]:
    study = optuna.create_study(direction=direction, sampler=sampler)
    sign = 1 if direction == "maximize" else -1
    for number in range(count):
        trial = study.ask(among)
        share = along(trial.params, among)
        trial.set_constraint("folding", 0.1 - share)
        if number % 7 == 4:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, sign * humps(share))
    return [trial.params for trial in study.trials]


def recorded(among: dict[str, BaseDistribution], seed: int) -> list[FrozenTrial]:
    """Return trials at random settings, some failed or pruned, with constraints and equal scores."""
    generator = np.random.default_rng(seed)
    random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    states = [TrialState.COMPLETE] * 6 + [TrialState.FAIL, TrialState.PRUNED]
    trials = []
    for _ in range(int(generator.integers(0, 30))):
        params = random.ask(among).params
        state = states[generator.integers(len(states))]
        score = round(float(generator.normal()), int(generator.integers(0, 3)))
        trial = optuna.create_trial(
            params=params,
            distributions=among,
            state=state,
            value=score if state == TrialState.COMPLETE else None,
            constraints={"folding": float(generator.normal() - 0.5)},
        )
        trials.append(trial)
    return trials


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("name", SPACES)
def test_a_search_proposes_what_hmopt_proposes(
    name: str, direction: Direction, package: ModuleType
) -> None:
    space = SPACES[name]
    among = distributions(space)
    coarse = 3 if len(among) > 1 else None
    own = CurveSampler(space, coarse=coarse, seed=1)
    packaged = package.CurveSampler(among, coarse=coarse, seed=1)
    count = 26 if len(among) == 1 else 13
    expected = trials_of(own, among, count, direction)
    assert trials_of(packaged, among, count, direction) == expected


@pytest.mark.parametrize("name", [name for name in SPACES if len(SPACES[name].names) == 1])
def test_recorded_histories_are_continued_as_hmopt_continues_them(
    name: str, package: ModuleType
) -> None:
    space = SPACES[name]
    among = distributions(space)
    compared = 0
    for seed in range(HISTORIES):
        history = recorded(among, seed)
        coarse = [None, 3, 5][seed % 3]
        proposed = []
        for sampler in (
            CurveSampler(space, coarse=coarse, seed=0),
            package.CurveSampler(among, coarse=coarse, seed=0),
        ):
            study = optuna.create_study(direction="maximize", sampler=sampler)
            study.add_trials(history)
            # workers at once: those before are not told
            proposed.append([study.ask(among).params for _ in range(14)])
        assert proposed[0] == proposed[1]
        compared += len(proposed[0])
    assert compared == 14 * HISTORIES


def test_without_a_declared_space_it_is_that_of_the_first_trials(package: ModuleType) -> None:
    among = distributions(SPACES["one float"])
    declared = trials_of(package.CurveSampler(among), among, 20)
    assert trials_of(package.CurveSampler(), among, 20) == declared


def test_a_float_without_a_step_has_as_many_values_as_are_asked_for(package: ModuleType) -> None:
    among: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    study = optuna.create_study(sampler=package.CurveSampler(among, coarse=3, points=11))
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1) - 0.4) ** 2, n_trials=11)
    values = sorted(trial.params["x"] for trial in study.trials)
    assert values == pytest.approx(np.arange(11) / 10)
    assert study.best_params["x"] == pytest.approx(0.4)


def test_a_parameter_of_one_value_and_others_are_left_to_chance(package: ModuleType) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1, step=0.1)
        fixed = trial.suggest_int("fixed", 3, 3)
        trial.suggest_categorical("kind", ["a", "b"])
        return x + fixed

    among: dict[str, BaseDistribution] = {
        "x": FloatDistribution(0, 1, step=0.1),
        "fixed": IntDistribution(3, 3),
    }
    study = optuna.create_study(sampler=package.CurveSampler(among, coarse=3, seed=0))
    study.optimize(objective, n_trials=11)
    assert len({trial.params["x"] for trial in study.trials}) == 11
    assert {trial.params["kind"] for trial in study.trials} == {"a", "b"}


def test_choices_that_are_found_out_are_left_to_tpe(package: ModuleType) -> None:
    among: dict[str, BaseDistribution] = {
        "x": FloatDistribution(0, 1, step=0.1),
        "kind": CategoricalDistribution(["a", "b"]),
    }
    assert len(trials_of(package.CurveSampler(seed=0), among, 5)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"coarse": 2}, "coarse: expected at least 3"), ({"points": 1}, "points: expected at least")],
)
def test_too_few_values_are_refused(
    arguments: dict[str, int], message: str, package: ModuleType
) -> None:
    with pytest.raises(ValueError, match=message):
        package.CurveSampler(**arguments)
