"""Pairs are spent adaptively: in one order, as far as it takes, and nothing twice."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from scipy.stats import wilcoxon

from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.ledger import Ledger, Measurements, Recorded
from hmopt.ledger.measurements import PAIR_COLUMNS
from hmopt.records import Block, Pair
from hmopt.search.objective import KNOWN, SAMPLER, Objective, optimize_scopes
from hmopt.search.spending import FEWEST_PAIRS, MEASURED_PAIRS, make_spending, pair_order
from hmopt.search.studies import store_studies
from hmopt.space import Hyperparameter, Index, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="weight", step=0.05, default=0.2),))
LABELS = ("thalamus", "cortex")
BEST = {"thalamus": 0.6, "cortex": 0.5}
METRICS = ("dice", "folding", "similarity")


def pairs_of(subjects: int, count: int) -> list[Pair]:
    names = [f"{number:02d}" for number in range(subjects)]
    ordered = [(moving, fixed) for moving in names for fixed in names if moving != fixed]
    chosen = np.random.default_rng(0).permutation(len(ordered))[:count]
    sides = [ordered[place] for place in chosen]
    return [
        Pair(moving=moving, fixed=fixed, moving_subject=moving, fixed_subject=fixed)
        for moving, fixed in sides
    ]


def table_of(pairs: Sequence[Pair]) -> pd.DataFrame:
    rows = [(p.id, p.moving, p.fixed, p.moving_subject, p.fixed_subject, p.task) for p in pairs]
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


class Noisy:
    """Dice with differences between pairs and noise; each label has its best weight."""

    labels = LABELS
    identity = "noisy"

    def __init__(self, folding: float = 0.0) -> None:
        self.space = SPACE
        self.folding = folding
        self.asked: list[tuple[Index, str]] = []
        self.batches: list[int] = []

    def score(self, index: Index, pair: str, label: str) -> float:
        weight = index[0] / 20
        generator = np.random.default_rng([index[0], *pair.encode(), len(label)])
        of_pair = np.random.default_rng([*pair.encode()]).normal(0, 0.05)
        response = 0.8 - 0.3 * (weight - BEST[label]) ** 2
        return float(response + of_pair + generator.normal(0, 0.005))

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        assert set(metrics) <= set(METRICS)
        for index in settings:
            self.batches.append(len(pairs))
            self.asked += [(index, pair.id) for pair in pairs]
            ids = tuple(pair.id for pair in pairs)
            dice = [[self.score(index, pair, label) for label in LABELS] for pair in ids]
            every: dict[str, Any] = {
                "dice": np.array(dice),
                "folding": np.full(len(ids), self.folding),
                "similarity": np.ones(len(ids)),
            }
            yield Block(
                index=index,
                pairs=ids,
                labels=LABELS,
                values={name: every[name] for name in metrics},
            )


class Search:
    """What `hmopt search` does with a sampler, without images."""

    def __init__(self, folder: Path, oracle: Noisy, count: int = 40) -> None:
        self.oracle = oracle
        self.pairs = pairs_of(12, count)
        self.table = table_of(self.pairs)
        self.ledger = Ledger(folder / "ledger")
        self.storage = InMemoryStorage()

    def run(self, spending: str, trials: int = 10, **more: Any) -> Measurements:
        values = {"scopes": [["cohort"], ["label"]], **more}
        self.options = SearchOptions.model_validate(
            {
                "sampler": "TPESampler",
                "spending": spending,
                "trials": trials,
                "reported": ["similarity"],
                **values,
            }
        )
        recorded = Recorded(self.oracle, self.ledger)
        default = SPACE.index(SPACE.default)
        recorded.fill([default], self.pairs, self.options.measured)
        settings = optimize_scopes(
            recorded, self.measurements(), self.options, "spent", self.storage
        )
        recorded.fill(settings, self.pairs, self.options.measured)
        measurements = self.measurements()
        store_studies(measurements, self.options, "spent", self.storage)
        return measurements

    def measurements(self) -> Measurements:
        return self.ledger.measurements("noisy", SPACE, self.table, METRICS, LABELS)

    def study(self, scope: str) -> optuna.Study:
        (name,) = [
            name
            for name in optuna.get_all_study_names(self.storage)
            if name.startswith(f"spent: {scope},")
        ]
        return optuna.load_study(study_name=name, storage=self.storage)


@pytest.fixture(params=["wilcoxon", "halving"])
def spending(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_first_pairs_are_of_as_many_subjects_as_possible() -> None:
    table = table_of(pairs_of(12, 60))
    order = pair_order(table, seed=3)
    assert sorted(order) == sorted(table["pair"])
    first = table.set_index("pair").loc[order[:5]]
    subjects = {*first["moving_subject"], *first["fixed_subject"]}
    assert len(subjects) >= 9
    assert order == pair_order(table.sample(frac=1, random_state=1), seed=3)
    assert order != pair_order(table, seed=4)


def test_trials_that_are_worse_are_pruned_with_the_mean_of_what_was_measured(
    spending: str, tmp_path: Path
) -> None:
    search = Search(tmp_path, Noisy())
    search.run(spending, scopes=[["cohort"]])
    study = search.study("cohort")
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert len(pruned) >= 3
    order = pair_order(search.table, search.options.seed)
    for trial in pruned:
        count = trial.user_attrs[MEASURED_PAIRS]
        assert FEWEST_PAIRS <= count < len(search.pairs)
        (index,) = SPACE.index(trial.params)
        scores = [
            np.mean([search.oracle.score((index,), pair, label) for label in LABELS])
            for pair in order[:count]
        ]
        assert trial.value == pytest.approx(np.mean(scores), abs=1e-6)
    best = study.best_trial
    assert best.state == TrialState.COMPLETE
    assert best.value is not None
    assert best.value > max(trial.value or 0.0 for trial in pruned) - 0.05


def test_a_trial_is_pruned_by_the_test_that_is_declared(tmp_path: Path) -> None:
    search = Search(tmp_path, Noisy())
    search.run("wilcoxon", scopes=[["cohort"]])
    trials = search.study("cohort").trials
    complete: list[optuna.trial.FrozenTrial] = []
    for trial in trials:
        if SAMPLER not in trial.user_attrs and KNOWN not in trial.user_attrs:
            continue  # exported afterwards
        if trial.state == TrialState.PRUNED:
            best = max(complete, key=lambda one: one.value or 0.0)
            steps = sorted(set(trial.intermediate_values) & set(best.intermediate_values))
            differences = [
                trial.intermediate_values[step] - best.intermediate_values[step] for step in steps
            ]
            assert wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue < 0.1
        else:
            complete.append(trial)


def test_nothing_is_measured_twice_and_a_rerun_measures_nothing(
    spending: str, tmp_path: Path
) -> None:
    oracle = Noisy()
    search = Search(tmp_path, oracle)
    first = search.run(spending)
    assert len(oracle.asked) == len(set(oracle.asked))
    before = len(oracle.asked)
    states = [trial.state for trial in search.study("cohort").trials]
    again = search.run(spending)
    assert len(oracle.asked) == before
    assert [trial.state for trial in search.study("cohort").trials] == states
    assert again.settings == first.settings


def test_an_interrupted_search_goes_on_where_it_was(spending: str, tmp_path: Path) -> None:
    class Interrupted(Noisy):
        left = 100

        def measure(self, *arguments: Any) -> Iterator[Block]:
            for block in super().measure(*arguments):
                self.left -= len(block.pairs)
                if self.left < 0:
                    raise KeyboardInterrupt
                yield block

    oracle = Interrupted()
    search = Search(tmp_path, oracle)
    with pytest.raises(KeyboardInterrupt):
        search.run(spending)
    oracle.left = 10**6
    kept = set(oracle.asked[:-40])
    oracle.asked = []
    search.run(spending)
    assert not kept & set(oracle.asked)
    ended = [
        trial
        for trial in search.study("cohort").trials
        if trial.user_attrs.get(SAMPLER) and trial.state != TrialState.FAIL
    ]
    assert len(ended) == 10


def test_the_best_of_every_scope_and_the_default_are_measured_on_all_pairs(
    spending: str, tmp_path: Path
) -> None:
    search = Search(tmp_path, Noisy())
    measurements = search.run(spending)
    assert SPACE.index(SPACE.default) in measurements.settings
    for scope in ("cohort", "label=thalamus", "label=cortex"):
        best = search.study(scope).best_trial
        assert SPACE.index(best.params) in measurements.settings
    for values in measurements.values.values():
        assert np.isfinite(values).all()


def test_partial_settings_are_counted_and_no_part_of_what_is_analysed(
    spending: str, tmp_path: Path
) -> None:
    oracle = Noisy()
    search = Search(tmp_path, oracle)
    measurements = search.run(spending)
    ids = [pair.id for pair in search.pairs]
    coverage = search.ledger.coverage("noisy", SPACE, ids, METRICS, LABELS)
    assert coverage.evaluations == len(set(oracle.asked))
    assert coverage.settings == len({index for index, _ in oracle.asked})
    assert coverage.partial == coverage.settings - len(measurements.settings) > 0
    assert coverage.failed == 0


def test_pairs_are_handed_over_as_many_at_once_as_there_are_processes(tmp_path: Path) -> None:
    oracle = Noisy()
    Search(tmp_path, oracle).run("wilcoxon", scopes=[["cohort"]], jobs=4)
    assert set(oracle.batches[1:]) <= {8, 4, 40}
    assert 8 in oracle.batches


def test_rungs_have_three_times_the_pairs_of_those_before(tmp_path: Path) -> None:
    oracle = Noisy()
    search = Search(tmp_path, oracle, count=54)
    search.run("halving", scopes=[["cohort"]])
    counts = [
        trial.user_attrs[MEASURED_PAIRS]
        for trial in search.study("cohort").trials
        if MEASURED_PAIRS in trial.user_attrs
    ]
    assert set(counts) <= {6, 18, 54}
    assert counts.count(6) >= 3


def test_trials_are_pruned_although_none_obeys_the_folding_limit(tmp_path: Path) -> None:
    search = Search(tmp_path, Noisy(folding=0.5))
    search.run("wilcoxon", scopes=[["cohort"]])
    assert search.study("cohort").get_trials(states=(TrialState.PRUNED,))


def test_a_later_scope_begins_with_what_earlier_ones_completed(tmp_path: Path) -> None:
    search = Search(tmp_path, Noisy())
    search.run("wilcoxon")
    known = [trial for trial in search.study("label=cortex").trials if KNOWN in trial.user_attrs]
    assert SPACE.index(known[0].params) == SPACE.index(SPACE.default)
    of_cohort = {
        SPACE.index(trial.params)
        for trial in search.study("cohort").get_trials(states=(TrialState.COMPLETE,))
    }
    assert {SPACE.index(trial.params) for trial in known} <= of_cohort


def test_arguments_that_a_pruner_does_not_take_are_refused_before_anything_is_measured() -> None:
    oracle = Noisy()
    pairs = pairs_of(6, 10)
    objective = Objective(oracle, pairs)
    for spending, wrong in (("wilcoxon", {"p_threshold": 2.0}), ("halving", {"patience": 3})):
        options = SearchOptions.model_validate(
            {"spending": spending, "sampler": "TPESampler", "spending_options": wrong}
        )
        with pytest.raises(SearchError, match=r"search\.spending_options: expected arguments of"):
            make_spending(objective, table_of(pairs), options)
    assert not oracle.asked


def test_fewer_pairs_than_a_test_needs_are_all_measured(spending: str, tmp_path: Path) -> None:
    search = Search(tmp_path, Noisy(), count=3)
    search.run(spending, scopes=[["cohort"]])
    assert not search.study("cohort").get_trials(states=(TrialState.PRUNED,))
