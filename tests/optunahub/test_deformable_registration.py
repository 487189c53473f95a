"""Benchmark problems of the registry are the committed measurements, as hmopt reads them."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.study import StudyDirection

from benchmarks.measured_problems import FILE, STUDIES, arrays, committed, encoded
from hmopt.analysis import interpolation
from hmopt.ledger import Measurements
from hmopt.search import Curve, Curves, Scope

ROUNDED = 0.5 / 65534
"""By how much a stored Dice may differ."""

SEED = 0
SAMPLE = 12


@pytest.fixture(scope="session")
def package(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("benchmarks/deformable_registration")


@pytest.fixture(scope="session")
def measured() -> dict[str, Measurements]:
    return {study: committed(study) for study in STUDIES}


def curve_of(measurements: Measurements, scope: dict[str, Any]) -> Curve:
    """Return the curve of a scope as hmopt makes it."""
    kinds = {kind: value for kind, value in scope.items() if kind not in ("study", "pair")}
    if "pair" in scope:
        kinds["pair"] = str(measurements.pairs["pair"].iloc[scope["pair"]])
    curve = Curves(measurements, "dice").of(Scope(criteria=tuple(kinds.items())))
    assert curve is not None
    return curve


def on_lattice(curve: Curve, means: np.ndarray) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Return lattice points, and means there as hmopt interpolates them."""
    candidates, matrix = interpolation(curve.space, curve.settings)
    return candidates, np.clip(matrix @ means, 0, 1)


def test_the_file_holds_the_committed_measurements(measured: dict[str, Measurements]) -> None:
    expected = arrays(measured)
    with np.load(FILE) as content:
        assert set(content.files) == set(expected), "run: python -m benchmarks.measured_problems"
        for name, array in expected.items():
            np.testing.assert_array_equal(content[name], array, err_msg=name)


def test_the_file_is_small_enough_to_be_fetched_through_the_interface_of_github() -> None:
    assert FILE.stat().st_size < 1_000_000


def test_what_is_stored_is_within_half_a_code_of_what_was_measured() -> None:
    dice = np.random.default_rng(SEED).random((30, 4))
    dice[:, 2] = np.nan
    codes = np.cumsum(encoded(dice), axis=0, dtype=np.uint16)
    np.testing.assert_allclose(codes[:, [0, 1, 3]] / 65534, dice[:, [0, 1, 3]], atol=ROUNDED)
    assert (codes[:, 2] == 65535).all()


@pytest.mark.parametrize("study", STUDIES)
def test_values_are_those_of_hmopts_curves_at_settings_and_between_them(
    study: str, package: ModuleType, measured: dict[str, Measurements]
) -> None:
    scopes = package.Problem.scopes(study)
    drawn = np.random.default_rng(SEED).choice(len(scopes), SAMPLE, replace=False)
    for number in [0, *drawn]:
        problem = package.Problem(**scopes[number])
        curve = curve_of(measured[study], scopes[number])
        for metric, means, tolerance in (
            ("dice", curve.means, 2 * ROUNDED),
            ("folding", curve.folding, 1e-7),
        ):
            candidates, expected = on_lattice(curve, means)
            found = [problem.values(metric)[index] for index in candidates]
            # a spline may make rounding somewhat larger
            np.testing.assert_allclose(found, expected, atol=3 * tolerance, err_msg=repr(problem))


def test_no_two_scopes_of_a_study_have_the_same_pairs_and_label(
    package: ModuleType, measured: dict[str, Measurements]
) -> None:
    scopes = package.Problem.scopes("cardiac")
    assert len(package.Problem.scopes()) > 10_000
    seen = set()
    for scope in scopes:
        curve = curve_of(measured["cardiac"], scope)
        seen.add((tuple(curve.pairs.tolist()), scope.get("label")))
    assert len(seen) == len(scopes) == 164  # 40 people and all of them, 3 labels and their mean


def test_related_scopes_are_about_other_people_with_the_same_label(package: ModuleType) -> None:
    problem = package.Problem("brains", label="hippocampus", subject="sub-1003")
    related = problem.related()
    assert {scope["label"] for scope in related} == {"hippocampus"}
    assert len({scope["subject"] for scope in related} - {"sub-1003"}) == len(related) == 7
    of_pair = package.Problem("hippocampus", pair=5)
    people = set(of_pair._study.people(of_pair.scope))
    for scope in of_pair.related():
        assert not people & of_pair._study.people(scope)
    assert package.Problem("cardiac").related() == []


@pytest.mark.parametrize(
    ("study", "is_tabular"), [("brains", True), ("cardiac", True), ("hippocampus", False)]
)
def test_it_is_told_what_was_measured_and_what_is_interpolated(
    study: str, is_tabular: bool, package: ModuleType
) -> None:
    problem = package.Problem(study)
    assert problem.is_tabular == is_tabular
    assert problem.is_measured({"regularization": 0.125})
    assert problem.is_measured({"regularization": 0.13}) == is_tabular


def test_the_best_is_the_best_of_all_values_that_a_search_can_suggest(package: ModuleType) -> None:
    problem = package.Problem("brains", label="hippocampus")
    grid = {"regularization": [place / 200 for place in range(201)]}
    study = optuna.create_study(
        directions=problem.directions, sampler=optuna.samplers.GridSampler(grid)
    )
    study.optimize(problem, n_trials=201)
    assert study.best_value == problem.evaluate(problem.best_params)
    assert problem.regret(study.best_params) == 0
    regrets = [problem.regret(trial.params) for trial in study.trials]
    expected = [study.best_value - trial.values[0] for trial in study.trials]
    np.testing.assert_allclose(regrets, expected, atol=1e-15)


def test_two_hyperparameters_are_searched_on_a_surface(package: ModuleType) -> None:
    problem = package.Problem("two_hyperparameters")
    assert list(problem.search_space) == ["regularization", "label_weight"]
    best = problem.evaluate(problem.best_params)
    assert best == problem.values().max()
    assert problem.regret({"regularization": 1.0, "label_weight": 0.0}) > 0.01


def test_folding_beyond_its_limit_is_a_constraint_that_samplers_see(package: ModuleType) -> None:
    problem = package.Problem("models_of_others/clapirn", folding_limit=0.001)
    free = package.Problem("models_of_others/clapirn")
    assert problem.best_params["regularization"] > free.best_params["regularization"]
    study = optuna.create_study(
        directions=problem.directions, sampler=optuna.samplers.TPESampler(seed=SEED)
    )
    study.optimize(problem, n_trials=20)
    for trial in study.trials:
        folding = problem.values("folding")[round(200 * trial.params["regularization"])]
        assert trial.constraints == {"folding": pytest.approx(folding - 0.001)}
        assert np.isinf(problem.regret(trial.params)) == (folding > 0.001)
    assert problem.regret(study.best_params) < 0.05
    with pytest.raises(ValueError, match="folding_limit: expected one that is obeyed somewhere"):
        _ = package.Problem("models_of_others/clapirn", folding_limit=-1.0).best_params


def test_dice_and_folding_are_two_objectives(package: ModuleType) -> None:
    problem = package.Problem("brains/refined", metrics=("dice", "folding"))
    assert problem.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    study = optuna.create_study(
        directions=problem.directions,
        sampler=optuna.samplers.NSGAIISampler(population_size=8, seed=SEED),
    )
    study.optimize(problem, n_trials=24)
    front = sorted(trial.values for trial in study.best_trials)
    assert len(front) > 1
    assert front == sorted(front, key=lambda values: values[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"study": "brain"}, "study: expected one of brains, brains/refined"),
        ({"label": "thalmus"}, "label: expected one of "),
        ({"subject": "x"}, "subject: expected one of sub-"),
        ({"task": "both"}, "task: expected one of cross, within, got 'both'"),
        ({"pair": 132}, "pair: expected one of 0 to 131, got 132"),
        ({"metrics": ("hd95",)}, "metrics: expected some of dice, folding"),
        ({"metrics": ()}, "metrics: expected some of dice, folding"),
        ({"task": "within", "pair": 0}, "scope: expected one with pairs"),
    ],
)
def test_what_does_not_exist_is_refused(
    arguments: dict[str, Any], message: str, package: ModuleType
) -> None:
    with pytest.raises(ValueError, match=message):
        package.Problem(**arguments)
