from collections.abc import Callable
from typing import Literal

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from hmopt.errors import SearchError
from hmopt.search.sampler import CurveSampler
from hmopt.space import Hyperparameter, Space

LATTICE = np.arange(201) / 200


def run(
    score: Callable[[float], float],
    trials: int,
    space: Space,
    direction: Literal["maximize", "minimize"] = "maximize",
    n_jobs: int = 1,
) -> optuna.Study:
    study = optuna.create_study(direction=direction, sampler=CurveSampler(space))
    study.optimize(
        lambda trial: score(trial.suggest_float("regularization", 0, 1, step=0.005)),
        trials,
        n_jobs=n_jobs,
    )
    return study


def values(study: optuna.Study) -> list[float]:
    return [trial.params["regularization"] for trial in study.trials]


def one_hump(x: float) -> float:
    return float(0.8 - 0.2 * abs(x - 0.333) ** 1.5 - 0.3 * x**20)


def two_humps(x: float) -> float:
    """The higher hump is the narrower, and lies between points of the coarse lattice."""
    return float(
        0.6 * np.exp(-(((x - 0.2) / 0.15) ** 2)) + 0.65 * np.exp(-(((x - 0.775) / 0.06) ** 2))
    )


@pytest.mark.parametrize(
    "score", [one_hump, two_humps, lambda x: -x, lambda x: x], ids=["one", "two", "low", "high"]
)
def test_the_best_lattice_point_is_found_with_a_few_trials_more_than_the_coarse_lattice(
    score: Callable[[float], float], space: Space
) -> None:
    study = run(score, 27, space)
    assert (
        study.best_params["regularization"] == LATTICE[int(np.argmax([score(x) for x in LATTICE]))]
    )
    assert len(set(values(study))) == 27


def test_a_metric_that_is_to_fall_is_minimized(space: Space) -> None:
    study = run(lambda x: -two_humps(x), 27, space, direction="minimize")
    assert study.best_params == {"regularization": 0.775}


def test_a_flat_curve_is_filled_evenly(space: Space) -> None:
    study = run(lambda x: 0.5, 41, space)
    assert np.diff(sorted(values(study))).max() == pytest.approx(0.035)


def test_the_coarse_lattice_comes_first_with_ends_before_what_lies_between(space: Space) -> None:
    found = values(run(one_hump, 10, space))
    assert sorted(found) == pytest.approx([*np.linspace(0, 0.875, 8), 0.97, 1.0])
    assert found[:3] == [0.0, 1.0, 0.5]


def test_when_one_hump_is_known_the_widest_gaps_are_looked_into(space: Space) -> None:
    study = run(lambda x: 0.8 - (x - 0.5) ** 2, 24, space)
    assert max(np.diff(sorted(values(study)))) <= 0.065


def test_the_same_trials_come_again_and_a_stopped_study_goes_on_as_if_it_had_not(
    space: Space,
) -> None:
    whole = values(run(two_humps, 26, space))
    study = run(two_humps, 23, space)
    study.sampler = CurveSampler(space)
    study.optimize(
        lambda trial: two_humps(trial.suggest_float("regularization", 0, 1, step=0.005)), 3
    )
    assert values(study) == whole


def test_no_setting_is_taken_twice_until_all_are_measured() -> None:
    space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.05),))
    study = optuna.create_study(sampler=CurveSampler(space, coarse=5))
    study.optimize(lambda trial: trial.suggest_float("regularization", 0, 1, step=0.05), 23)
    assert len(set(values(study)[:21])) == 21


def test_workers_at_once_share_the_coarse_lattice(space: Space) -> None:
    study = run(one_hump, 30, space, n_jobs=2)
    assert {*np.round(np.linspace(0, 1, 9), 3), 0.97} <= set(np.round(values(study), 3))


def test_settings_that_break_a_constraint_are_not_refined(space: Space) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("regularization", 0, 1, step=0.005)
        trial.set_constraint("folding", 0.512 - x)
        return one_hump(x)

    study = optuna.create_study(direction="maximize", sampler=CurveSampler(space))
    study.optimize(objective, n_trials=26)
    assert study.best_params == {"regularization": 0.515}


def test_other_parameters_are_drawn_at_random_and_failed_settings_tried_again(space: Space) -> None:
    def objective(trial: optuna.Trial) -> float:
        x, other = (
            trial.suggest_float("regularization", 0, 1, step=0.005),
            trial.suggest_float("other", -1, 1),
        )
        if trial.number == 0:
            raise RuntimeError
        return x + other

    study = optuna.create_study(sampler=CurveSampler(space, coarse=3, seed=1))
    study.optimize(objective, n_trials=4, catch=RuntimeError)
    assert values(study)[:2] == [0.0, 0.0]
    assert len({trial.params["other"] for trial in study.trials}) == 4


def test_a_setting_that_always_fails_is_given_up_and_an_infinite_score_spans_no_curve(
    space: Space,
) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("regularization", 0, 1, step=0.005)
        if x == 0:
            raise RuntimeError
        return float("-inf") if x == 1 else one_hump(x)

    study = optuna.create_study(direction="maximize", sampler=CurveSampler(space))
    study.optimize(objective, n_trials=30, catch=RuntimeError)
    failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert len(failed) == 2
    assert study.best_value == pytest.approx(max(one_hump(x / 200) for x in range(201)), abs=1e-3)


@pytest.mark.parametrize(("count", "points"), [(2, 4), (3, None)])
def test_more_hyperparameters_are_searched_on_their_lattice(count: int, points: int | None) -> None:
    space = Space(
        hyperparameters=tuple(
            Hyperparameter(name=f"x{number}", step=0.1) for number in range(count)
        )
    )

    def objective(trial: optuna.Trial) -> float:
        return sum((trial.suggest_float(name, 0, 1, step=0.1) - 0.3) ** 2 for name in space.names)

    best = []
    for _ in range(2):
        study = optuna.create_study(sampler=CurveSampler(space, coarse=points, seed=3))
        study.optimize(objective, n_trials=21)
        best.append([trial.params for trial in study.trials])
    assert best[0] == best[1]
    if points:
        coarse = {tuple(np.round(list(trial.params.values()), 1)) for trial in study.trials[:16]}
        assert coarse == {(a, b) for a in (0, 0.5, 0.9, 1) for b in (0, 0.5, 0.9, 1)}
        assert study.best_value < 0.02


def test_too_coarse_a_lattice_is_refused(space: Space) -> None:
    with pytest.raises(SearchError, match="coarse: expected at least 3, got 2"):
        CurveSampler(space, coarse=2)
