"""`hmopt compare`: the searched model beside separately trained networks and beside hypermorphs of other seeds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.device import find_device
from hmopt.cli.memory import keep_freed_memory
from hmopt.cli.options import Debug, Device, Folder, Quiet
from hmopt.cli.progress import duration
from hmopt.cli.search import Search
from hmopt.commands import timed

if TYPE_CHECKING:
    from hmopt.ledger import Baseline, Measurements
    from hmopt.ledger.baselines import Role
    from hmopt.oracle.baselines import Training
    from hmopt.oracle.networked import NetworkOracle
    from hmopt.protocol import Oracle
    from hmopt.space import Index

Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", min=1, help="Trainings at a time, each on its share of the processor's cores."
    ),
]


def compare(
    folder: Folder,
    jobs: Jobs = 1,
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train what the model stands for, one network for each setting, and measure both; what is done is kept."""
    with (
        conversation(f"hmopt compare {folder}", quiet=quiet, debug=debug) as talk,
        timed(folder / "commands.csv", "hmopt compare"),
    ):
        compare_study(folder, jobs, device, talk)


def compare_study(folder: Path, jobs: int, device: str | None, talk: Conversation) -> None:
    """Take a searched study to the measurements of everything that its model is compared with."""
    keep_freed_memory()
    comparing = Comparing(folder, find_device(device), talk)
    trainings = sorted(comparing.trainings(), key=lambda training: training.steps, reverse=True)
    talk.say(comparing.announcement(trainings))
    comparing.train(trainings, jobs)
    baselines = [*comparing.measure_hypermorphs(), *comparing.measure_separate()]
    comparing.keep(baselines)
    talk.say(f"Compared: {len(baselines)} baselines on {len(comparing.search.pairs)} pairs")


class Comparing:
    """The comparison of one study folder: who is to be trained, at which settings who is measured.

    Parameters
    ----------
    folder
        A study folder that was searched.
    device
        Where to train and compute.
    talk
        Shows progress.

    Raises
    ------
    LedgerError
        If the model has not been searched, or on other pairs than are declared.
    """

    def __init__(self, folder: Path, device: str, talk: Conversation) -> None:
        from hmopt.declaration.compare import CompareOptions
        from hmopt.oracle import BaselineOracles, load_oracle
        from hmopt.study_folder import StudyFolder

        self.folder, self.device, self.talk, self.search = (
            folder,
            device,
            talk,
            Search(folder, talk),
        )
        study, cohort = self.search.study, self.search.cohort
        self.section, self.seed, self.space = study.compare, study.training.seed, study.space
        self.steps, self.hypermorph_steps = self.section.budgets(study.training.steps)
        self.full_steps, _ = CompareOptions().budgets(study.training.steps)
        self.model = load_oracle(folder, study, cohort, "full", device).identity
        check_searched(folder, self.model, [pair.id for pair in self.search.pairs])
        measurements = StudyFolder(folder).measurements()
        self.grid = self.section.grid(self.space)
        self.optimum = best_setting(measurements, self.search.section.metric)
        self.default = self.space.index(self.space.default)
        self.settings = sorted({*self.grid, self.optimum, self.default})
        self.oracles = BaselineOracles(folder, study, cohort, talk.track, device)

    def budgets(self) -> dict[int, int]:
        """Give how many hypermorphs there are of each number of steps."""
        return {
            self.steps: self.section.seeds,
            self.hypermorph_steps: self.section.hypermorph_seeds,
        }

    def separate_settings(self) -> dict[int, list["Index"]]:
        """Give the settings of separate networks by seed."""
        everywhere, known = self.section.seeds, {self.optimum, self.default}
        return {
            self.seed + k: sorted(
                {
                    *(self.grid if k < everywhere else ()),
                    *(known if k < self.section.optimum_seeds else ()),
                }
            )
            for k in range(max(everywhere, self.section.optimum_seeds))
        }

    def full_seeds(self) -> range:
        """Give the seeds of separate networks that get half the model's steps, where that is another budget."""
        return range(
            self.seed, self.seed + self.section.half_budget_seeds * (self.full_steps != self.steps)
        )

    def trainings(self) -> Iterator["Training"]:
        """Give the trainings that are still to be done."""
        from hmopt.oracle.baselines import HypermorphTraining, NetworkTraining

        for steps, count in self.budgets().items():
            for seed in range(self.seed, self.seed + count):
                if not self.oracles.hypermorph_path(steps, seed).exists():
                    yield HypermorphTraining(steps=steps, seed=seed)
        for seed, settings in self.separate_settings().items():
            for index in self.oracles.separate(self.steps, seed).missing(settings):
                yield NetworkTraining(steps=self.steps, seed=seed, setting=index)
        for seed in self.full_seeds():
            for index in self.oracles.separate(self.full_steps, seed).missing([self.optimum]):
                yield NetworkTraining(steps=self.full_steps, seed=seed, setting=index)

    def announcement(self, trainings: "Sequence[Training]") -> str:
        """Say what is going to be trained, and how long that will take if steps are as fast as the model's were."""
        from hmopt.model_file import check_header
        from hmopt.networks import read_header
        from hmopt.oracle.baselines import HypermorphTraining
        from hmopt.study_folder import StudyFolder

        hypermorphs = sum(isinstance(training, HypermorphTraining) for training in trainings)
        path = StudyFolder(self.folder).model_file()
        header = read_header(path)
        check_header(path, header, needed=["minutes", "steps", "device"])
        minutes = (
            sum(training.steps for training in trainings) * header["minutes"] / header["steps"]
        )
        return (
            f"To train: {len(trainings) - hypermorphs} networks for one setting each ({self._network_steps()}) and "
            f"{hypermorphs} hypermorphs ({' or '.join(map(str, self.budgets()))} steps): about "
            f"{duration(60 * minutes)}, at the speed of the model's training on {header['device']}"
        )

    def _network_steps(self) -> str:
        return f"{self.steps} steps" + (
            f"; {self.full_steps} where confirmed" if self.full_seeds() else ""
        )

    def train(self, trainings: "Sequence[Training]", jobs: int) -> None:
        """Do trainings, so many at a time."""
        done = (
            map(self.oracles.train, trainings) if jobs == 1 else self._train_apart(trainings, jobs)
        )
        for _ in self.talk.track(done, "Comparing", len(trainings)):
            pass

    def _train_apart(self, trainings: "Sequence[Training]", jobs: int) -> Iterator[object]:
        """Train in processes of their own, which share the processor's cores between them."""
        import os

        from hmopt.cli.processes import in_processes

        run = partial(train_one, self.folder, self.device, max(1, (os.cpu_count() or 1) // jobs))
        return in_processes(run, trainings, jobs)

    def measure_hypermorphs(self) -> Iterator["Baseline"]:
        """Measure every hypermorph, and the ensemble of those of a budget, at all settings."""
        for steps, count in self.budgets().items():
            seeds = range(self.seed, self.seed + count)
            members = {seed: self.oracles.hypermorph(steps, seed) for seed in seeds}
            for team in teams(seeds, {count}):
                files = [self.oracles.hypermorph_path(steps, seed) for seed in team]
                yield self._measured(
                    "hypermorph",
                    steps,
                    {seed: members[seed] for seed in team},
                    self.settings,
                    files,
                )

    def measure_separate(self) -> Iterator["Baseline"]:
        """Measure the separate networks of each seed, and the ensembles of seeds where they share settings."""
        settings = self.separate_settings()
        members = {seed: self.oracles.separate(self.steps, seed) for seed in settings}
        for team in teams(list(settings), {self.section.seeds, self.section.optimum_seeds}):
            shared = sorted(set.intersection(*(set(settings[seed]) for seed in team)))
            files = [members[seed].path(index) for seed in team for index in shared]
            yield self._measured(
                "separate", self.steps, {seed: members[seed] for seed in team}, shared, files
            )
        for seed in self.full_seeds():
            oracle = self.oracles.separate(self.full_steps, seed)
            yield self._measured(
                "separate",
                self.full_steps,
                {seed: oracle},
                [self.optimum],
                [oracle.path(self.optimum)],
            )

    def keep(self, baselines: Sequence["Baseline"]) -> None:
        """Write who was measured beside the ledger."""
        from hmopt.ledger import Comparison
        from hmopt.networks import (
            architecture,
            build_hypermorph,
            hypernetwork_operations,
            registration_operations,
        )
        from hmopt.study_folder import StudyFolder

        shape = self.search.cohort.shape
        hypermorph = build_hypermorph(architecture(self.search.study, shape))
        comparison = Comparison(
            model=self.model,
            steps=self.steps,
            hypermorph_steps=self.hypermorph_steps,
            grid=tuple(self.grid),
            optimum=self.optimum,
            default=self.default,
            baselines=tuple(baselines),
            pair_operations=registration_operations(hypermorph.registration, shape),
            setting_operations=hypernetwork_operations(hypermorph.hypernetwork),
        )
        StudyFolder(self.folder).write_comparison(comparison)

    def _measured(
        self,
        role: "Role",
        steps: int,
        members: "Mapping[int, NetworkOracle]",
        settings: "Sequence[Index]",
        files: Sequence[Path],
    ) -> "Baseline":
        """Measure one oracle, or the ensemble of several, and tell who it was and what is behind it."""
        from hmopt.ledger import Baseline
        from hmopt.oracle import EnsembleOracle

        oracles = list(members.values())
        oracle: Oracle = oracles[0] if len(oracles) == 1 else EnsembleOracle(oracles)
        self.search.fill(oracle, settings, self.search.section.deciding)
        headers = [trained_header(role, path) for path in files]
        return Baseline(
            role=role,
            steps=steps,
            seeds=tuple(members),
            identity=oracle.identity,
            networks=len(files),
            minutes=round(sum(header["minutes"] for header in headers), 2),
            learning_rate=headers[0]["training"]["learning_rate"],
        )


def train_one(folder: Path, device: str, threads: int, training: "Training") -> None:
    """Do one training of a comparison, in a process that does nothing else."""
    import torch

    from hmopt.data.preprocessing import prepare
    from hmopt.declaration import read_study
    from hmopt.oracle import BaselineOracles

    keep_freed_memory()
    torch.set_num_threads(threads)
    study = read_study(folder)
    BaselineOracles(folder, study, prepare(study, folder), device=device).train(training)


def teams(seeds: Sequence[int], sizes: Iterable[int]) -> list[tuple[int, ...]]:
    """Give every seed alone, and the first ones together in each size above one.

    Examples
    --------
    >>> teams([7, 8, 9], {3, 2, 1})
    [(7,), (8,), (9,), (7, 8), (7, 8, 9)]
    """
    return [
        *((seed,) for seed in seeds),
        *(tuple(seeds[:size]) for size in sorted(sizes) if size > 1),
    ]


def trained_header(role: "Role", path: Path) -> dict[str, Any]:
    """Give what a kept network or hypermorph says of its training."""
    from hmopt.networks import HYPERMORPH_FORMAT, NETWORK_FORMAT, read_header

    return read_header(path, NETWORK_FORMAT if role == "separate" else HYPERMORPH_FORMAT)


def check_searched(folder: Path, identity: str, pairs: Sequence[str]) -> None:
    """Refuse a folder whose last search was of another model or of other pairs.

    Raises
    ------
    LedgerError
        If it was, or if there was none.
    """
    from hmopt.errors import LedgerError
    from hmopt.study_folder import StudyFolder

    files = StudyFolder(folder)
    searched = files.searched
    known = list(files.pairs["pair"]) if files.pairs_file.is_file() else []
    if searched.identity != identity or known != list(pairs):
        raise LedgerError(
            str(files.search_file),
            expected="a search of this model on the declared pairs",
            got="one of others",
            advice="Run `hmopt search` again.",
        )


def best_setting(measurements: "Measurements", metric: str) -> "Index":
    """Give the best setting of the whole cohort.

    Raises
    ------
    LedgerError
        If no setting has a score.
    """
    from hmopt.errors import LedgerError
    from hmopt.search.curve import find_curves
    from hmopt.search.scopes import Scope

    for curve in find_curves(measurements, [Scope(criteria=())], metric):
        return curve.settings[curve.best()]
    raise LedgerError(
        metric, expected="a score of the cohort", got="none", advice="Run `hmopt search` again."
    )
