"""Optuna's samplers, and hmopt's, on choices, integers and conditional hyperparameters."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from hmopt.declaration import SearchOptions
from hmopt.errors import FailedPairsError, SearchError
from hmopt.ledger import Ledger, Measurements, Recorded
from hmopt.ledger.table import read_measurements, write_measurements
from hmopt.records import Block, Pair
from hmopt.search.curve import Curves
from hmopt.search.lattice import bears_surface, coarse_lattice, distributions, unit_places
from hmopt.search.objective import FAILED, Objective, optimize_scopes
from hmopt.search.plan import coarse_settings, confirming_settings, dense_settings
from hmopt.search.sampler import CurveSampler, make_sampler
from hmopt.search.scopes import Scope
from hmopt.search.studies import make_study, origin_of
from hmopt.space import Hyperparameter, Index, Space, Value

MIXED = Space(
    hyperparameters=(
        Hyperparameter(name="similarity", type="categorical", choices=("MI", "CC", False)),
        Hyperparameter(
            name="radius", type="integer", low=1, high=4, default=2, only_if={"similarity": "CC"}
        ),
        Hyperparameter(name="weight", low=0.0, high=1.0, step=0.1, default=0.2),
    )
)
ORDERED = Space(
    hyperparameters=(
        Hyperparameter(name="iterations", type="integer", low=0, high=100, step=5, default=20),
        Hyperparameter(name="weight", low=0.01, high=1.0, prior="log-uniform", default=0.1),
    )
)
BEST: dict[str, Value] = {"similarity": "CC", "radius": 3, "weight": 0.6}


class Known:
    """Dice is highest at `BEST`, or at the middle of a space of numbers; some pairs fail at some settings."""

    labels = ("cortex",)
    identity = "known"

    def __init__(self, space: Space, failing: Sequence[tuple[Index, str]] = ()) -> None:
        self.space = space
        self.failing = set(failing)
        self.asked: list[tuple[Index, str]] = []

    def score(self, index: Index) -> float:
        setting = self.space.setting(index)
        if "similarity" in setting:
            radius = float(setting.get("radius", 0))
            loss = 0.0 if setting["similarity"] == "CC" else 0.1
            return (
                0.8 - loss - 0.02 * (radius - 3) ** 2 - 0.2 * (float(setting["weight"]) - 0.6) ** 2
            )
        places = self.space.to_unit_interval(setting)
        return 0.8 - float(np.square(np.subtract(places, 0.5)).sum())

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        for index in settings:
            self.asked += [(index, pair.id) for pair in pairs]
            ids = tuple(pair.id for pair in pairs)
            failures = {pair: "crash" for pair in ids if (index, pair) in self.failing}
            fails = np.array([pair in failures for pair in ids])
            dice = np.where(fails, np.nan, self.score(index))
            values = {"dice": dice[:, None], "folding": np.where(fails, np.nan, 0.0)}
            yield Block(
                index=index, pairs=ids, labels=self.labels, values=values, failures=failures
            )


def options_of(sampler: str, trials: int, **more: object) -> SearchOptions:
    values = {"sampler": sampler, "trials": trials, "reported": [], "scopes": [["cohort"]], **more}
    return SearchOptions.model_validate(values)


def search(
    oracle: Known, options: SearchOptions, pairs: list[Pair], table: pd.DataFrame
) -> optuna.Study:
    """Let a sampler search the whole cohort, and return its study."""
    default = oracle.space.index(oracle.space.default)
    (block,) = oracle.measure([default], pairs, ("dice", "folding"))
    known = Measurements(
        identity=oracle.identity,
        space=oracle.space,
        settings=(default,),
        pairs=table,
        labels=oracle.labels,
        values={name: values[None] for name, values in block.values.items()},
    )
    storage = InMemoryStorage()
    optimize_scopes(oracle, known, options, "mixed", storage)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def test_distributions_are_those_of_the_types() -> None:
    assert distributions(MIXED) == {
        "similarity": CategoricalDistribution(("MI", "CC", False)),
        "radius": IntDistribution(1, 4),
        "weight": FloatDistribution(0.0, 1.0, step=0.1),
    }
    assert list(distributions(MIXED, (0, 0, 3))) == ["similarity", "weight"]
    assert distributions(ORDERED)["iterations"] == IntDistribution(0, 100, step=5)


@pytest.mark.parametrize(
    "sampler", ["TPESampler", "RandomSampler", "CurveSampler", "NSGAIISampler"]
)
def test_samplers_ask_only_for_what_is_active(
    sampler: str, pairs: list[Pair], pair_table: pd.DataFrame
) -> None:
    study = search(Known(MIXED), options_of(sampler, 20), pairs, pair_table)
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    assert len(trials) == 20
    assert {trial.params["similarity"] for trial in trials} == {"MI", "CC", False}
    for trial in trials:
        assert ("radius" in trial.params) == (trial.params["similarity"] == "CC")
        assert trial.user_attrs["setting"] == pytest.approx(trial.params)


def test_tpe_finds_the_best_choice_integer_and_number(
    pairs: list[Pair], pair_table: pd.DataFrame
) -> None:
    study = search(Known(MIXED), options_of("TPESampler", 60), pairs, pair_table)
    assert study.best_params["similarity"] == "CC"
    assert study.best_value > 0.8 - 0.01


def test_a_grid_has_all_choices_and_as_many_values_of_a_number_as_declared(
    pairs: list[Pair], pair_table: pd.DataFrame
) -> None:
    oracle = Known(MIXED)
    study = search(oracle, options_of("GridSampler", 200, coarse=3), pairs, pair_table)
    settings = {MIXED.index(trial.params) for trial in study.trials}
    assert settings == set(MIXED.coarse(3))


def test_the_gp_sampler_and_the_curve_sampler_take_integers(
    pairs: list[Pair], pair_table: pd.DataFrame
) -> None:
    whole = Space(hyperparameters=ORDERED.hyperparameters[:1])
    study = search(Known(whole), options_of("CurveSampler", 12), pairs, pair_table)
    assert study.best_params == {"iterations": 50}
    pytest.importorskip("torch")
    study = search(Known(ORDERED), options_of("GPSampler", 14), pairs, pair_table)
    assert study.best_value > 0.79


@pytest.mark.parametrize("name", ["CmaEsSampler", "optuna.samplers.CmaEsSampler"])
def test_cma_es_refuses_choices_in_one_line(name: str) -> None:
    with pytest.raises(SearchError, match="takes categorical and conditional hyperparameters"):
        make_sampler(options_of(name, 3), MIXED, seed=0)


def test_an_enqueued_choice_that_there_is_not_is_refused(pairs: list[Pair]) -> None:
    objective = Objective(Known(MIXED), pairs)
    assert objective(optuna.trial.FixedTrial(BEST)) == pytest.approx(0.8)
    outside = optuna.trial.FixedTrial({**BEST, "radius": 9})
    with pytest.raises(SearchError, match=r"radius: expected a value a whole number in \[1, 4\]"):
        objective(outside)


def test_the_plan_refines_integers_and_numbers(pair_table: pd.DataFrame) -> None:
    oracle = Known(ORDERED)
    options = SearchOptions(coarse=5, refinements=8, reported=[], scopes=[["cohort"]])
    settings = coarse_settings(ORDERED, options)
    assert all(0 <= index[0] <= 20 for index in settings)

    def measured(settings: Sequence[Index]) -> Measurements:
        scores = np.array([[oracle.score(index)] * len(pair_table) for index in settings])
        return Measurements(
            identity="known",
            space=ORDERED,
            settings=tuple(settings),
            pairs=pair_table,
            labels=oracle.labels,
            values={"dice": scores[:, :, None], "folding": np.zeros_like(scores)},
        )

    while more := confirming_settings(measured(settings), options):
        settings = sorted({*settings, *more})
    best = max(settings, key=oracle.score)
    assert oracle.score(best) > 0.8 - 0.002


def test_the_plan_goes_on_where_an_integer_has_two_values_only(pair_table: pd.DataFrame) -> None:
    two = Hyperparameter(name="steps", type="integer", low=0, high=1, default=0)
    space = Space(hyperparameters=(two, Hyperparameter(name="weight")))
    settings = coarse_lattice(space, 6)
    assert not bears_surface(unit_places(space, settings))
    scores = np.zeros((len(settings), len(pair_table)))
    measurements = Measurements(
        identity="known",
        space=space,
        settings=tuple(settings),
        pairs=pair_table,
        labels=("cortex",),
        values={"dice": scores[:, :, None], "folding": scores},
    )
    options = SearchOptions(coarse=6, reported=[], scopes=[["cohort"]])
    assert confirming_settings(measurements, options) == []


def test_every_value_of_an_integer_on_a_logarithm_is_measured_densely() -> None:
    whole = Hyperparameter(
        name="steps", type="integer", low=1, high=50, prior="log-uniform", default=5
    )
    settings = dense_settings(Space(hyperparameters=(whole,)))
    assert settings == [(place,) for place in range(50)]


def test_a_sampler_of_curves_takes_the_tpe_sampler_where_nothing_lies_between(
    pairs: list[Pair],
) -> None:
    study = optuna.create_study(direction="maximize", sampler=CurveSampler(MIXED, seed=1))
    study.optimize(Objective(Known(MIXED), pairs), n_trials=15)
    assert len(study.trials) == 15


def test_measurements_of_a_mixed_space_are_kept_and_exported(
    pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> None:
    oracle = Known(MIXED)
    settings = MIXED.coarse(4)
    ledger = Ledger(tmp_path)
    Recorded(oracle, ledger).fill(settings, pairs, ["dice", "folding"])
    ledger.compact()
    measurements = ledger.measurements(
        "known", MIXED, pair_table, ["dice", "folding"], oracle.labels
    )
    assert measurements.settings == tuple(settings)
    write_measurements(measurements, tmp_path / "measurements.parquet")
    again = read_measurements(tmp_path / "measurements.parquet")
    assert (again.space, again.settings) == (MIXED, measurements.settings)
    table = pd.read_parquet(tmp_path / "measurements.parquet")
    assert set(table["similarity"]) == {"MI", "CC", "false"}
    assert table.loc[table["similarity"] == "MI", "radius"].isna().all()

    curve = Curves(measurements, "dice").of(Scope(criteria=()))
    assert curve is not None
    study = make_study("mixed", curve, origin_of(measurements, options_of("TPESampler", 1)))
    assert len(study.trials) == len(settings)
    best = max(settings, key=oracle.score)
    assert study.best_params == MIXED.setting(best)


def test_a_trial_fails_where_a_pair_fails_and_the_others_go_on(
    pairs: list[Pair], pair_table: pd.DataFrame
) -> None:
    failing = [((1, 2, place), pairs[3].id) for place in range(11)]
    study = search(Known(MIXED, failing), options_of("TPESampler", 40), pairs, pair_table)
    failed = study.get_trials(states=(TrialState.FAIL,))
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert failed
    assert len(failed) + len(complete) == 40
    for trial in failed:
        assert trial.params["radius"] == 3
        assert f"{pairs[3].id} (crash)" in trial.user_attrs[FAILED]
    for trial in complete:
        assert trial.params.get("radius") != 3


def test_a_failed_pair_is_told_to_who_calls_the_objective(pairs: list[Pair]) -> None:
    index = MIXED.index(BEST)
    objective = Objective(Known(MIXED, [(index, pairs[0].id)]), pairs)
    with pytest.raises(FailedPairsError, match="got 1 that failed"):
        objective(optuna.trial.FixedTrial(BEST))
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(BEST)
    study.optimize(objective, n_trials=2, catch=(FailedPairsError,))
    assert study.trials[0].state == TrialState.FAIL


def test_a_setting_with_a_failed_pair_is_no_part_of_a_curve_and_a_pair_that_always_fails_neither(
    pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> None:
    settings = MIXED.coarse(4)
    default = MIXED.index(MIXED.default)
    settings = sorted({*settings, default})
    lost = settings[-1]
    assert lost != default
    at_default = [(default, pairs[1].id)]
    oracle = Known(MIXED, [(lost, pairs[0].id), *at_default])
    ledger = Ledger(tmp_path)
    Recorded(oracle, ledger).fill(settings, pairs, ["dice", "folding"])
    metrics = ["dice", "folding"]
    measurements = ledger.measurements("known", MIXED, pair_table, metrics, oracle.labels)
    curve = Curves(measurements, "dice").of(Scope(criteria=()))
    assert curve is not None
    assert lost not in curve.settings
    assert default in curve.settings
    assert pairs[1].id not in curve.ids
    assert len(curve.ids) == len(pairs) - 1
    coverage = ledger.coverage("known", MIXED, [pair.id for pair in pairs], metrics, oracle.labels)
    assert coverage.failed == 2
    assert coverage.partial == 0
    assert coverage.evaluations == len(settings) * len(pairs)
