"""`hmopt.compare`: baselines of a searched model, namely separate networks and hypermorphs of other seeds.

What is trained, for a model of 6000 steps and `[compare]` as it is by default:

============  =====  ==============================================  =====================
role          steps  settings                                        seeds
============  =====  ==============================================  =====================
separate       3000  the grid (nine values of λ)                     `seeds`
separate       3000  λ* of the cohort and the default                `optimum_seeds`
hypermorph     3000  all                                             `seeds`
hypermorph     6000  all; the first is the searched model itself     `hypermorph_seeds`
============  =====  ==============================================  =====================

Each seed is measured alone, and the first ones together as ensembles, which average their velocities.

Where `compare.learning_rate` is a list, trainings take turns. First the separate networks of the first seed are trained
at every rate, at every setting of theirs. Then each setting has the rate with the best Dice on pairs to tune on, and
the further seeds are trained at it. A rate at which training diverges is out of the race at that setting; if this
happens to a further seed, the next best rate takes its place for all seeds, and a third turn follows.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from hmopt.data.preprocessing import prepare
from hmopt.declaration import CompareOptions
from hmopt.errors import LedgerError
from hmopt.files import content_hash, staying
from hmopt.ledger import AtRate, Baseline, Comparison, Measurements, RateTrial
from hmopt.ledger.baselines import Role
from hmopt.model_file import check_header
from hmopt.networks import (
    HYPERMORPH_FORMAT,
    NETWORK_FORMAT,
    architecture,
    build_hypermorph,
    hypernetwork_operations,
    read_header,
    registration_operations,
)
from hmopt.oracle import BaselineOracles, EnsembleOracle, load_oracle, refine
from hmopt.oracle.baselines import HypermorphTraining, NetworkTraining, Training
from hmopt.oracle.registered import NetworkOracle
from hmopt.progress import Track, duration, silent
from hmopt.search.curve import find_curves
from hmopt.search.scopes import WHOLE_COHORT
from hmopt.space import Index
from hmopt.study_folder import StudyFolder
from hmopt.training.state import minutes_of_model
from hmopt.workflow.checks import check_trained_here
from hmopt.workflow.machine import (
    check_number,
    find_device,
    in_processes,
    keep_freed_memory,
    most_processes,
)
from hmopt.workflow.search import StudySearch


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The outcome of a comparison.

    Parameters
    ----------
    comparison
        The baselines, and the settings at which they were trained.
    pairs
        Number of pairs that each was measured on.
    """

    comparison: Comparison
    pairs: int

    def __str__(self) -> str:
        """Return a line for a person."""
        return f"Compared: {len(self.comparison.baselines)} baselines on {self.pairs} pairs"


def _ignore(_line: str) -> None:
    """Take a remark and do nothing."""


def compare(
    folder: Path | str,
    *,
    jobs: int = 1,
    track: Track = silent,
    say: Callable[[str], None] = _ignore,
    device: str | None = None,
) -> Compared:
    """Train the baselines of a searched model, and measure them on the searched pairs.

    Finished trainings and measurements are reused, so that an interrupted comparison is resumed. A
    training of a separate network that diverged is not tried again.

    Parameters
    ----------
    folder
        The study folder, trained and searched.
    jobs
        Trainings at a time, each on its share of the processor's cores.
    track
        Shows progress.
    say
        Is told, before the first training, what will be trained and how long that takes.
    device
        Where to compute: `cpu`, `cuda`, `cuda:1`, `mps`; None: the fastest one that is available.

    Returns
    -------
    Compared
        The baselines.

    Raises
    ------
    DeclarationError
        If the model was not trained in this folder.
    LedgerError
        If the model has not been searched, or on other pairs than are declared.
    CheckpointError
        If there is no trained model, a file of the comparison is of another declaration or cohort,
        or that of a network does not tell the tune Dice by which its learning rate is chosen.
    DataError
        If a hypermorph diverges, or separate networks of a setting at every declared learning rate.

    Examples
    --------
    After `hmopt.search`:

    >>> import hmopt
    >>> compared = hmopt.compare("studies/mine", jobs=2)  # doctest: +SKIP
    >>> print(compared)  # doctest: +SKIP
    Compared: 17 baselines on 200 pairs
    >>> compared.comparison.baselines[0].name  # doctest: +SKIP
    'hypermorph-3000-steps-seed-0'
    """
    files = StudyFolder(folder)
    check_number("--jobs", jobs, least=1, most=most_processes())
    check_trained_here(files.study)
    with files.command("hmopt compare"):
        keep_freed_memory()
        work = StudyComparison(files, find_device(device), track)
        say(work.announce())
        trainings = work.next_trainings()
        while trainings:
            work.train(trainings, jobs)
            # now that learning rates were tried, further seeds can follow
            trainings = work.next_trainings()
        comparison = work.measure()
        files.write_comparison(comparison)
        return Compared(comparison=comparison, pairs=len(work.search.pairs))


@dataclass(frozen=True, kw_only=True)
class BaselinePlan:
    """What a comparison trains and measures, decided from the declaration and the optimum.

    Parameters
    ----------
    options
        `[compare]`.
    model_steps
        Optimizer steps of the searched model.
    first_seed
        The model's own seed; the others follow it.
    grid
        Settings of the separate networks, sorted.
    optimum, default
        The best setting of the cohort, and the one of a user who does not search.
    """

    options: CompareOptions
    model_steps: int
    first_seed: int
    grid: tuple[Index, ...]
    optimum: Index
    default: Index

    @property
    def steps(self) -> int:
        """Steps of a separate network, and of the hypermorphs at an equal budget."""
        return self.options.budgets(self.model_steps)[0]

    @property
    def hypermorph_steps(self) -> int:
        """The larger budget of a hypermorph."""
        return self.options.budgets(self.model_steps)[1]

    @property
    def half_of_model_steps(self) -> int:
        """Half of the model's steps: the budget that `steps` has where none is declared."""
        return CompareOptions().budgets(self.model_steps)[0]

    @property
    def has_choice(self) -> bool:
        """Whether learning rates of separate networks are chosen among several."""
        return len(self.options.learning_rates) > 1

    @property
    def all_settings(self) -> list[Index]:
        """The settings at which hypermorphs are measured."""
        settings = {*self.grid, self.optimum, self.default}
        return sorted(settings)

    def seeds(self, count: int) -> list[int]:
        """Return that many seeds, the model's own first."""
        end = self.first_seed + count
        return list(range(self.first_seed, end))

    def hypermorph_seeds(self) -> dict[int, list[int]]:
        """Return the seeds of hypermorphs by their number of steps."""
        return {
            self.steps: self.seeds(self.options.seeds),
            self.hypermorph_steps: self.seeds(self.options.hypermorph_seeds),
        }

    def separate_settings(self) -> dict[int, list[Index]]:
        """Return the settings of separate networks by seed: the first seeds have the grid, others only two."""
        with_grid = self.seeds(self.options.seeds)
        with_optimum = self.seeds(self.options.optimum_seeds)
        settings = {}
        for seed in sorted({*with_grid, *with_optimum}):
            of_seed = set(self.grid) if seed in with_grid else set()
            if seed in with_optimum:
                of_seed |= {self.optimum, self.default}
            settings[seed] = sorted(of_seed)
        return settings

    def separate_networks(self) -> dict[int, dict[int, list[Index]]]:
        """Return the settings of all separate networks, by steps and seed."""
        networks = {self.steps: self.separate_settings()}
        at_optimum = {seed: [self.optimum] for seed in self.half_budget_seeds()}
        if at_optimum:
            networks[self.half_of_model_steps] = at_optimum
        return networks

    def half_budget_seeds(self) -> list[int]:
        """Return the seeds of separate networks with half the model's steps; none where all have as many or more."""
        if self.half_of_model_steps <= self.steps:
            return []
        return self.seeds(self.options.half_budget_seeds)

    def missing(self, oracles: BaselineOracles) -> Iterator[Training]:
        """Yield the trainings that are not finished, but for those whose learning rate is still to be chosen.

        Raises
        ------
        CheckpointError, DataError
            If the learning rate of a setting cannot be chosen, or there is a model of another declaration or cohort.
        """
        for steps, seeds in self.hypermorph_seeds().items():
            for seed in seeds:
                if not oracles.has_hypermorph(steps, seed):
                    yield HypermorphTraining(steps=steps, seed=seed)
        for steps, seed, index in self._each_network():
            rates = oracles.untried_rates(steps, index)
            if rates and seed != self.first_seed:
                continue
            if not rates:
                rates = [oracles.best_rate(steps, index)]
            for rate in rates:
                if oracles.separate(steps, seed, rate).missing([index]):
                    yield NetworkTraining(steps=steps, seed=seed, setting=index, learning_rate=rate)

    def depending(self, oracles: BaselineOracles) -> Iterator[NetworkTraining]:
        """Yield a training for each network of a further seed whose learning rate is still to be chosen.

        At whichever rate, it is missing at most once: where networks of all rates are there, it is
        left out.
        """
        for steps, seed, index in self._each_network():
            if seed == self.first_seed or not oracles.untried_rates(steps, index):
                continue
            for rate in oracles.rates_left(steps, index):
                if oracles.separate(steps, seed, rate).missing([index]):
                    yield NetworkTraining(steps=steps, seed=seed, setting=index, learning_rate=rate)
                    break

    def _each_network(self) -> Iterator[tuple[int, int, Index]]:
        """Yield steps, seed and setting of each separate network."""
        for steps, seeds in self.separate_networks().items():
            for seed, settings in seeds.items():
                for index in settings:
                    yield steps, seed, index


class StudyComparison:
    """The comparison of one study folder.

    Parameters
    ----------
    files
        A study folder that was searched.
    device
        Where to train and compute.
    track
        Shows progress.

    Raises
    ------
    LedgerError
        If the model has not been searched, or on other pairs than are declared.
    """

    def __init__(self, files: StudyFolder, device: str, track: Track) -> None:
        self._files = files
        self._device = device
        self._track = track
        self.search = StudySearch(files, track)
        study, cohort = self.search.study, self.search.cohort
        self._model = load_oracle(files.path, study, cohort, device).identity
        check_searched(files, self._model, [pair.id for pair in self.search.pairs])
        self.plan = BaselinePlan(
            options=study.compare,
            model_steps=study.training.steps,
            first_seed=study.training.seed,
            grid=tuple(study.compare.grid(study.space)),
            optimum=best_setting(files.measurements(), study.search.metric),
            default=study.space.index(study.space.default),
        )
        self.oracles = BaselineOracles(files.path, study, cohort, track, device)

    def next_trainings(self) -> list[Training]:
        """Return what can be trained now, the longest first, so that several processes end at about the same time."""
        missing = self.plan.missing(self.oracles)
        return sorted(missing, key=lambda training: training.steps, reverse=True)

    def announce(self) -> str:
        """Return what is going to be trained, and how long that takes at the speed of the model's training.

        Where learning rates are still to be chosen it is an upper limit: a training that diverges
        ends early, and a network may be there already at the rate that is chosen. Only where a
        further seed diverges at that rate, more is trained.
        """
        plan = self.plan
        now = list(plan.missing(self.oracles))
        later = list(plan.depending(self.oracles))

        path = self._files.model_file()
        header = read_header(path)
        check_header(path, header, needed=["steps", "device"])
        total_steps = sum(training.steps for training in [*now, *later])
        minutes = minutes_of_model(path, header)
        seconds = 60 * total_steps * minutes / header["steps"]
        time = f"{'at most ' if later else ''}about {duration(seconds)}"
        if not minutes:
            time = "unknown time"

        hypermorphs = sum(isinstance(training, HypermorphTraining) for training in now)
        networks = len(now) + len(later) - hypermorphs
        network_steps = f"{plan.steps} steps"
        if plan.half_budget_seeds():
            network_steps += f"; {plan.half_of_model_steps} for confirmation"
        network_steps += self._trials_text(now)
        hypermorph_steps = " or ".join(str(steps) for steps in plan.hypermorph_seeds())
        at_most = "at most " if later else ""
        return (
            f"Trainings: {at_most}{networks} separate networks ({network_steps}) and {hypermorphs} hypermorphs "
            f"({hypermorph_steps} steps): {time}, at the speed of the model's training on {header['device']}"
        )

    def _trials_text(self, trainings: Sequence[Training]) -> str:
        """Return how many trainings are there to choose learning rates; empty where there are none."""
        plan = self.plan
        trials = 0
        for training in trainings:
            if isinstance(training, NetworkTraining):
                untried = self.oracles.untried_rates(training.steps, training.setting)
                trials += training.learning_rate in untried
        if not trials:
            return ""
        names = [f"{rate:g}" for rate in plan.options.learning_rates if rate is not None]
        return f"; {trials} of them to choose among the learning rates {', '.join(names)}"

    def train(self, trainings: Sequence[Training], jobs: int) -> None:
        """Do trainings, `jobs` at a time."""
        done: Iterable[object]
        if jobs == 1:
            done = map(self.oracles.train, trainings)
        else:
            threads = max(1, (os.cpu_count() or 1) // jobs)
            run = partial(train_one, self._files.path, self._device, threads)
            done = in_processes(run, trainings, jobs)
        for _ in self._track(done, "Training baselines", len(trainings)):
            pass

    def measure(self) -> Comparison:
        """Measure every baseline, and return the comparison."""
        baselines = [*self._measure_hypermorphs(), *self._measure_separate()]
        shape = self.search.cohort.shape
        hypermorph = build_hypermorph(
            architecture(self.search.study, shape), self.search.study.network
        )
        plan = self.plan
        return Comparison(
            model=self._model,
            steps=plan.steps,
            hypermorph_steps=plan.hypermorph_steps,
            grid=plan.grid,
            optimum=plan.optimum,
            default=plan.default,
            baselines=tuple(baselines),
            pair_operations=registration_operations(hypermorph.registration, shape),
            setting_operations=hypernetwork_operations(hypermorph.hypernetwork),
            rate_trials=tuple(self._rate_trials()),
        )

    def _measure_hypermorphs(self) -> Iterator[Baseline]:
        """Measure every hypermorph, and the ensemble of those of equal steps, at all settings."""
        settings = self.plan.all_settings
        for steps, seeds in self.plan.hypermorph_seeds().items():
            oracles = {seed: self.oracles.hypermorph(steps, seed) for seed in seeds}
            paths = {seed: self.oracles.hypermorph_path(steps, seed) for seed in seeds}
            all_together = {len(seeds)}
            for members in ensembles_of(seeds, all_together):
                identity = self._measure([oracles[seed] for seed in members], settings)
                trained = [_read_trained(paths[seed], HYPERMORPH_FORMAT) for seed in members]
                yield _baseline("hypermorph", steps, members, identity, trained)

    def _measure_separate(self) -> Iterator[Baseline]:
        """Measure the separate networks of each seed, and ensembles of seeds at the settings that they share."""
        plan = self.plan
        settings = plan.separate_settings()
        sizes = {plan.options.seeds, plan.options.optimum_seeds}
        for members in ensembles_of(list(settings), sizes):
            shared = set(settings[members[0]])
            for seed in members[1:]:
                shared &= set(settings[seed])
            yield self._measure_networks(plan.steps, members, sorted(shared))
        for seed in plan.half_budget_seeds():
            yield self._measure_networks(plan.half_of_model_steps, (seed,), [plan.optimum])

    def _measure_networks(
        self, steps: int, members: Sequence[int], settings: Sequence[Index]
    ) -> Baseline:
        """Measure the separate networks of one seed, or the ensemble of several, each setting at its learning rate.

        Parameters
        ----------
        steps
            Of each training.
        members
            Seeds.
        settings
            Where to measure.
        """
        by_rate: dict[float | None, list[Index]] = {}
        for index in settings:
            rate = self.oracles.best_rate(steps, index)
            by_rate.setdefault(rate, []).append(index)

        parts = []
        trained = []
        for rate, indices in by_rate.items():
            oracles = [self.oracles.separate(steps, seed, rate) for seed in members]
            identity = self._measure(oracles, indices)
            paths = [oracle.path(index) for oracle in oracles for index in indices]
            trained_at_rate = [_read_trained(path, NETWORK_FORMAT) for path in paths]
            trained += trained_at_rate
            part = AtRate(
                learning_rate=trained_at_rate[0].learning_rate,
                identity=identity,
                settings=tuple(indices),
            )
            parts.append(part)
        if not self.plan.has_choice:
            return _baseline("separate", steps, members, parts[0].identity, trained)
        parts.sort(key=lambda part: part.learning_rate)
        identity = content_hash("at-rates", [[part.identity, part.settings] for part in parts])
        return replace(
            _baseline("separate", steps, members, identity, trained), at_rates=tuple(parts)
        )

    def _rate_trials(self) -> Iterator[RateTrial]:
        """Yield what learning rates were chosen among, by steps and setting."""
        for steps, seeds in self.plan.separate_networks().items():
            of_first_seed = seeds[self.plan.first_seed]
            for index in of_first_seed:
                yield from self.oracles.rate_trials(steps, index)

    def _measure(self, oracles: Sequence[NetworkOracle], settings: Sequence[Index]) -> str:
        """Measure one oracle, or the ensemble of several, at some settings, and return its identity."""
        together = oracles[0] if len(oracles) == 1 else EnsembleOracle(oracles)
        # as the model that they are compared with
        oracle = refine(together, self.search.study.refine)
        self.search.fill(oracle, settings, self.search.options.deciding)
        return oracle.identity


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What the file of a trained model, and those beside it, tell of its training."""

    minutes: float
    learning_rate: float


def _read_trained(path: Path, form: str) -> _Trained:
    header = read_header(path, form)
    rate = header["training"]["learning_rate"]
    return _Trained(minutes=minutes_of_model(path, header), learning_rate=rate)


def _baseline(
    role: Role,
    steps: int,
    seeds: Sequence[int],
    identity: str,
    trained: Sequence[_Trained],
) -> Baseline:
    """Return the record of what was measured.

    Parameters
    ----------
    role, steps, seeds, identity
        As of `Baseline`.
    trained
        The trainings behind it.
    """
    minutes = sum(one.minutes for one in trained)
    rates = {one.learning_rate for one in trained}
    return Baseline(
        role=role,
        steps=steps,
        seeds=tuple(seeds),
        identity=identity,
        networks=len(trained),
        minutes=round(minutes, 2),
        learning_rate=rates.pop() if len(rates) == 1 else None,
    )


def train_one(folder: Path, device: str, threads: int, training: Training) -> None:
    """Do one training of a comparison, in a process that does nothing else."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    files = StudyFolder(folder)
    with staying(folder):
        cohort = prepare(files.study, folder)
        BaselineOracles(folder, files.study, cohort, device=device).train(training)


def ensembles_of(seeds: Sequence[int], sizes: Iterable[int]) -> list[tuple[int, ...]]:
    """Return every seed alone, and the first ones together in each size above one.

    Examples
    --------
    >>> ensembles_of([7, 8, 9], {3, 2, 1})
    [(7,), (8,), (9,), (7, 8), (7, 8, 9)]
    """
    ensembles: list[tuple[int, ...]] = [(seed,) for seed in seeds]
    for size in sorted(sizes):
        if size > 1:
            first_ones = tuple(seeds[:size])
            ensembles.append(first_ones)
    return ensembles


def check_searched(files: StudyFolder, identity: str, pairs: Sequence[str]) -> None:
    """Refuse a folder whose last search was of another model or of other pairs.

    Raises
    ------
    LedgerError
        If it was, or if there was none.
    """
    searched = files.searched
    known = list(files.pairs["pair"]) if files.pairs_file.is_file() else []
    if searched.identity != identity or known != list(pairs):
        raise LedgerError(
            str(files.search_file),
            expected="a search of this model on the declared pairs",
            got="a search of another model or of other pairs",
            advice="Run `hmopt search` again.",
        )


def best_setting(measurements: Measurements, metric: str) -> Index:
    """Return the best setting of the whole cohort.

    Raises
    ------
    LedgerError
        If no setting has a score.
    """
    for curve in find_curves(measurements, [WHOLE_COHORT], metric):
        return curve.settings[curve.best()]
    raise LedgerError(
        metric, expected="a score of the cohort", got="none", advice="Run `hmopt search` again."
    )
