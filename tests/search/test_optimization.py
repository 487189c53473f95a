"""Optuna's samplers drive the sweep, on an oracle whose best settings are known."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from hmopt.declaration import SearchOptions, parse_study
from hmopt.errors import DeclarationError, SearchError
from hmopt.ledger import Ledger, Measurements, Recorded
from hmopt.records import Block, Pair
from hmopt.search.objective import EXHAUSTED, SAMPLER, optimize_scopes
from hmopt.search.sampler import CurveSampler, make_sampler
from hmopt.search.storage import open_storage
from hmopt.search.studies import store_studies
from hmopt.space import Hyperparameter, Index, Space

PLANE = Space(
    hyperparameters=(
        Hyperparameter(name="regularization", step=0.01),
        Hyperparameter(name="label_weight", step=0.01),
    )
)
SAMPLERS = [
    "TPESampler",
    "GPSampler",
    "CmaEsSampler",
    "NSGAIISampler",
    "RandomSampler",
    "QMCSampler",
    "CurveSampler",
    "optuna.samplers.TPESampler",
]
BESTS = {"thalamus": (0.3, 0.6), "cortex": (0.7, 0.2)}


class Paraboloid:
    """Dice of a label falls with the squared distance from its best setting; counts what it is asked."""

    identity = "a paraboloid"
    labels = tuple(BESTS)

    def __init__(self, space: Space = PLANE) -> None:
        self.space = space
        self.asked: list[tuple[Index, str]] = []

    def score(self, index: Index, label: str) -> float:
        values = np.array(list(self.space.setting(index).values()))
        best = np.array(BESTS[label][: len(values)])
        return float(0.9 - ((values - best) ** 2).sum())

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        for index in settings:
            self.asked += [(index, pair.id) for pair in pairs]
            row = [self.score(index, label) for label in self.labels]
            values = {"dice": np.array([row] * len(pairs)), "folding": np.zeros(len(pairs))}
            ids = tuple(pair.id for pair in pairs)
            yield Block(index=index, pairs=ids, labels=self.labels, values=values)


class Search:
    """What a search command does with a sampler, without images."""

    def __init__(
        self, oracle: Paraboloid, pairs: list[Pair], table: pd.DataFrame, folder: Path
    ) -> None:
        self.oracle = oracle
        self.pairs = pairs
        self.table = table
        self.ledger = Ledger(folder / "ledger")
        self.storage: RDBStorage = open_storage(folder)

    def run(self, sampler: str, trials: int = 12, **options: Any) -> Measurements:
        declared = SearchOptions(
            sampler=sampler,
            trials=trials,
            reported=[],
            scopes=options.pop("scopes", [["cohort"], ["label"]]),
            **options,
        )
        recorded = Recorded(self.oracle, self.ledger)
        default = self.oracle.space.index(self.oracle.space.default)
        recorded.fill([default], self.pairs, declared.measured)
        settings = optimize_scopes(
            recorded, self._measurements(declared), declared, "known", self.storage
        )
        recorded.fill(settings, self.pairs, declared.measured)
        measurements = self._measurements(declared)
        store_studies(measurements, declared, "known", self.storage)
        return measurements

    def study(self, scope: str) -> optuna.Study:
        (name,) = [
            name
            for name in optuna.get_all_study_names(self.storage)
            if name.startswith(f"known: {scope},")
        ]
        return optuna.load_study(study_name=name, storage=self.storage)

    def trials_of(self, scope: str, sampler: str) -> list[optuna.trial.FrozenTrial]:
        trials = self.study(scope).get_trials(states=(TrialState.COMPLETE,))
        return [trial for trial in trials if trial.user_attrs.get(SAMPLER) == sampler]

    def _measurements(self, options: SearchOptions) -> Measurements:
        oracle = self.oracle
        return self.ledger.measurements(
            oracle.identity, oracle.space, self.table, options.measured, oracle.labels
        )


@pytest.fixture
def search(pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path) -> Search:
    return Search(Paraboloid(), pairs, pair_table, tmp_path)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_asks_for_its_trials_in_the_study_of_every_scope(
    sampler: str, search: Search
) -> None:
    measurements = search.run(sampler, trials=4)
    for scope in ("cohort", "label=thalamus", "label=cortex"):
        asked = search.trials_of(scope, sampler)
        assert len(asked) == 4
        for trial in asked:
            assert PLANE.index(trial.params) in measurements.settings


@pytest.mark.parametrize(("sampler", "trials"), [("TPESampler", 30), ("GPSampler", 13)])
def test_a_sampler_comes_near_the_best_setting_of_every_label(
    sampler: str, trials: int, search: Search
) -> None:
    search.run(sampler, trials, scopes=[["label"]])
    for label, best in BESTS.items():
        found = search.study(f"label={label}").best_trial.params
        assert np.abs(np.array(list(found.values())) - best).max() < 0.12


def test_a_rerun_measures_nothing_and_adds_no_trial(search: Search) -> None:
    search.run("TPESampler")
    before = [trial.params for trial in search.study("cohort").trials]
    search.oracle.asked.clear()
    search.run("TPESampler")
    assert search.oracle.asked == []
    assert [trial.params for trial in search.study("cohort").trials] == before


def test_the_same_seed_asks_for_the_same_settings(
    pairs: list[Pair], pair_table: pd.DataFrame, tmp_path: Path
) -> None:
    found = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        search = Search(Paraboloid(), pairs, pair_table, folder)
        search.run("TPESampler", seed=seed)
        found.append([trial.params for trial in search.trials_of("cohort", "TPESampler")])
    assert found[0] == found[1] != found[2]


def test_an_interrupted_search_is_resumed_and_nothing_is_measured_twice(search: Search) -> None:
    score = search.oracle.score
    calls = []

    def interrupted(index: Index, label: str) -> float:
        calls.append(index)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return score(index, label)

    search.oracle.score = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        search.run("RandomSampler")
    search.oracle.score = score  # type: ignore[method-assign]
    done = [trial.params for trial in search.trials_of("cohort", "RandomSampler")]
    assert 0 < len(done) < 12
    search.oracle.asked.clear()
    search.run("RandomSampler")
    trials = search.trials_of("cohort", "RandomSampler")
    assert [trial.params for trial in trials][: len(done)] == done
    assert len(trials) == 12
    assert len({tuple(trial.params.values()) for trial in trials}) == 12
    assert len(search.oracle.asked) == len(set(search.oracle.asked))
    assert not {PLANE.index(params) for params in done} & {i for i, _ in search.oracle.asked}
    states = [trial.state for trial in search.study("cohort").trials]
    assert TrialState.RUNNING not in states


def test_old_trials_stay_when_another_sampler_or_more_trials_are_declared(search: Search) -> None:
    search.run("RandomSampler", trials=5)
    search.run("RandomSampler", trials=9)
    search.run("TPESampler", trials=4)
    assert len(search.trials_of("cohort", "RandomSampler")) == 9
    assert len(search.trials_of("cohort", "TPESampler")) == 4


def test_a_grid_that_is_exhausted_ends_the_search(search: Search) -> None:
    grid = {"regularization": [0.0, 0.5], "label_weight": [0.25]}
    search.run("GridSampler", trials=12, sampler_options={"search_space": grid})
    asked = {tuple(trial.params.values()) for trial in search.trials_of("cohort", "GridSampler")}
    assert asked == {(0.0, 0.25), (0.5, 0.25)}
    assert search.study("cohort").user_attrs[EXHAUSTED] == "GridSampler"
    before = len(search.study("cohort").trials)
    search.run("GridSampler", trials=12, sampler_options={"search_space": grid})
    assert len(search.study("cohort").trials) == before


def test_settings_of_one_scope_are_exported_to_the_studies_of_the_others(search: Search) -> None:
    measurements = search.run("RandomSampler", trials=5)
    for scope in ("cohort", "label=thalamus"):
        trials = search.study(scope).get_trials(states=(TrialState.COMPLETE,))
        assert {PLANE.index(trial.params) for trial in trials} == set(measurements.settings)
        assert search.study(scope).user_attrs["optimum"]


def test_arguments_of_a_sampler_are_passed_on() -> None:
    options = SearchOptions(sampler="TPESampler", sampler_options={"n_startup_trials": 3})
    assert make_sampler(options, PLANE, seed=0)._n_startup_trials == 3  # type: ignore[attr-defined]
    assert isinstance(make_sampler(SearchOptions(sampler="CurveSampler"), PLANE, 0), CurveSampler)


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        ("TPESampler", {"warmth": 3}, "sampler_options: expected arguments of TPESampler, got"),
        ("no_such_package.Sampler", {}, "a sampler that can be imported, got 'no_such_package"),
        ("math.pi", {}, "sampler"),
        ("datetime.timedelta", {}, "a class derived from optuna.samplers.BaseSampler"),
    ],
)
def test_what_is_no_sampler_is_one_line(
    sampler: str, options: dict[str, int], message: str
) -> None:
    declared = SearchOptions(sampler=sampler, sampler_options=options)
    with pytest.raises(SearchError, match=message):
        make_sampler(declared, PLANE, seed=0)


def test_a_wrong_name_is_refused_by_the_declaration_with_the_nearest_one() -> None:
    values = {
        "name": "x",
        "cohort": {"manifest": "cohort.csv"},
        "preprocessing": {"shape": [16, 16]},
        "split": {"train": 1, "tune": 1, "search": 1},
        "search": {"sampler": "TPESample"},
    }
    with pytest.raises(DeclarationError, match=r"search.sampler: .*\(TPESampler\?\)"):
        parse_study(values)
