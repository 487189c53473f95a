"""The oracle of an engine: a Python function, a command, or a program with an adaptor.

Pairs are registered in processes of the engine's own, several at a time, and measured here as they
come. A pair that fails is one value less: its values are NaN and the ledger keeps the reason, unless
nothing has succeeded yet, when the search stops and nothing is kept.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.catalogue.metrics import WALL_TIME
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.errors import FailedPairsError
from hmopt.files import content_hash
from hmopt.interop.engines.failure import EngineFailure
from hmopt.interop.engines.grid import Grid
from hmopt.interop.engines.processes import EngineProcesses
from hmopt.interop.engines.source import EngineSource, Kind, Registered
from hmopt.interop.model import Image
from hmopt.ledger.recorded import failed_block
from hmopt.metrics import Originals, measure
from hmopt.oracle.registered import RegisteringOracle
from hmopt.progress import BETWEEN_LOOKS_S
from hmopt.records import Block, Pair
from hmopt.space import Index, Setting, Space, assigned_text
from hmopt.stopping import stopping_between_steps

FIRST_FAILURES = 10
"""Registrations that may fail before one succeeds, until the default setting is tried and a search
stops."""
KEPT_BYTES = 2**28
"""Displacements that stay in memory, those found last: pictures are drawn of some."""
_PAIRS_A_PROCESS = 8
"""Pairs that several workers leave together, for each process of an engine."""
_AHEAD = 2
"""Pairs that are handed out for each process: one that it works at, and the next."""


class EngineModel:
    """An engine as a model: what it returns is checked, and an error of it becomes one line.

    Parameters
    ----------
    processes
        Register two prepared images: `moved(x) = moving(x + displacement(x))`.
    space
        The hyperparameters that the engine takes.
    version
        Stands for what the engine computes: measurements of another version are not reused.
    """

    def __init__(self, processes: EngineProcesses, space: Space, version: str) -> None:
        self.processes = processes
        self.space = space
        self.version = version

    def submit(self, moving: Image, fixed: Image, setting: Setting) -> "Future[Registered]":
        """Begin to register two prepared images, as soon as a process is free."""
        return self.processes.submit(moving, fixed, setting)

    def displacement(
        self, moving: Image, fixed: Image, setting: Setting, pair: str | None = None
    ) -> NDArray[np.float32]:
        """Return the displacement (d, *shape), in voxels.

        Parameters
        ----------
        moving, fixed
            Prepared images, (*shape).
        setting
            A value for every hyperparameter.
        pair
            What a message calls the two images.

        Raises
        ------
        FailedPairsError
            If the engine fails, or returns something else than a displacement.
        """
        try:
            return self.processes.register(moving, fixed, setting).displacement
        except EngineFailure as failure:
            advice = "Correct the engine, or leave the setting or the pair out."
            raise failed(failure, setting, pair, advice) from failure


def failed(
    failure: EngineFailure, setting: Setting, pair: str | None, advice: str
) -> FailedPairsError:
    """Return the failure of an engine as an error of one line."""
    on_pair = "" if pair is None else f" on pair {pair}"
    where = f"the engine{on_pair} at {assigned_text(setting)}"
    return FailedPairsError(where, expected=failure.expected, got=failure.got, advice=advice)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The registration of a pair at a setting.

    They are numbered in the order that they are begun in; several may run at once.
    """

    number: int
    index: Index
    pair: Pair
    images: Originals


class EngineOracle(RegisteringOracle):
    """Measures settings on pairs of a cohort with the displacements of an engine.

    Parameters
    ----------
    model
        The engine.
    cohort
        Holds the images of pairs.
    device
        Where metrics are computed.
    batch
        Pairs at a time, of `register`.
    """

    def __init__(
        self,
        model: EngineModel,
        cohort: PreparedCohort,
        device: torch.device | str = "cpu",
        batch: int | None = None,
    ) -> None:
        super().__init__(cohort, device, batch)
        self._model = model
        self._identity = content_hash("engine", model.version, cohort.measured_identity)
        self.is_tried = False
        self._failures = 0
        self._kept: OrderedDict[tuple[Index, str], NDArray[np.float32]] = OrderedDict()

    @property
    def space(self) -> Space:
        """The hyperparameters that the engine takes."""
        return self._model.space

    @property
    def identity(self) -> str:
        """Hash of the engine's version and the prepared cohort."""
        return self._identity

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Register a batch of pairs, one after the other.

        Raises
        ------
        FailedPairsError
            If the engine fails, or returns something else than a displacement.
        """
        setting = self.space.setting(index)
        displacements = []
        for row, pair in enumerate(pairs):
            found = self._kept.get((index, pair.id))
            if found is None:
                moving, fixed = _arrays(images, row)
                found = self._model.displacement(moving, fixed, setting, pair.id)
                self._keep(index, pair, found)
            displacements.append(found)
        stacked = torch.from_numpy(np.stack(displacements))
        return stacked.to(self.device)

    def _keep(self, index: Index, pair: Pair, displacement: NDArray[np.float32]) -> None:
        self._kept[index, pair.id] = displacement
        while len(self._kept) * displacement.nbytes > KEPT_BYTES:
            self._kept.popitem(last=False)

    @property
    def pairs_at_once(self) -> int:
        """So many that most of the time all processes are busy, though some wait for the last of them."""
        return _PAIRS_A_PROCESS * max(1, self._model.processes.jobs)

    @property
    def settings_together(self) -> int:
        """One: an engine takes far longer than reading its images."""
        return 1

    def _blocks(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Yield a block for every pair and setting, as each is registered and measured.

        Raises
        ------
        FailedPairsError
            If every registration fails.
        """
        wanted = tuple(dict.fromkeys([*metrics, WALL_TIME]))
        held: list[Block] = []
        first: tuple[_Task, EngineFailure] | None = None
        for task, outcome in self._registered(settings, pairs):
            if isinstance(outcome, Registered):
                self.is_tried = True
                yield from held
                held = []
                yield self._measured(task, outcome, wanted)
                continue
            self._failures += 1
            if first is None or task.number < first[0].number:
                first = task, outcome
            reasons = {task.pair.id: str(outcome)}
            block = failed_block(task.index, reasons, self.labels, wanted)
            if self.is_tried:
                yield block
                continue
            held.append(block)
            if self._failures >= FIRST_FAILURES:
                self._try_default(task, first)
                yield from held
                held = []
        if held and first is not None:
            self._try_default(first[0], first)
            yield from held

    def _try_default(self, task: _Task, first: tuple[_Task, EngineFailure]) -> None:
        """Stop the search if the default setting fails, too, where nothing has succeeded yet."""
        default = self.space.setting(self.space.index(self.space.default))
        moving, fixed = _arrays(task.images, 0)
        try:
            self._model.processes.register(moving, fixed, default)
        except EngineFailure as failure:
            self._model.processes.end()
            first_task, first_failure = first
            setting = self.space.setting(first_task.index)
            advice = (
                f"Nothing has succeeded yet ({self._failures} failed), and the search stops: "
                "correct the engine."
            )
            raise failed(first_failure, setting, first_task.pair.id, advice) from failure
        self.is_tried = True

    def _registered(
        self, settings: Sequence[Index], pairs: Sequence[Pair]
    ) -> Iterator[tuple[_Task, Registered | EngineFailure]]:
        """Yield registrations as they end, setting by setting; end the rest with the iteration.

        At Ctrl-C or SIGTERM those that have ended are still yielded, also where it comes while one is
        measured or written. A second Ctrl-C does not wait for that.
        """
        tasks = self._tasks(settings, pairs)
        running: dict[Future[Registered], _Task] = {}
        ahead = _AHEAD * max(1, self._model.processes.jobs)
        is_done = False
        try:
            with stopping_between_steps() as stop:
                while not stop.is_asked:
                    for task in itertools.islice(tasks, ahead - len(running)):
                        moving, fixed = _arrays(task.images, 0)
                        setting = self.space.setting(task.index)
                        running[self._model.submit(moving, fixed, setting)] = task
                    if not running:
                        break
                    done, _ = wait(running, BETWEEN_LOOKS_S, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield running.pop(future), _outcome(future)
                yield from _ended(running)
            stop.check()
            is_done = True
        finally:
            if not is_done:
                for future in running:
                    future.cancel()
                self._model.processes.end()

    def _tasks(self, settings: Sequence[Index], pairs: Sequence[Pair]) -> Iterator[_Task]:
        wanted = itertools.product(settings, pairs)
        for number, (index, pair) in enumerate(wanted):
            images = self._images.load([pair])
            yield _Task(number=number, index=index, pair=pair, images=images)

    @torch.inference_mode()
    def _measured(self, task: _Task, found: Registered, metrics: Sequence[str]) -> Block:
        self._keep(task.index, task.pair, found.displacement)
        displacement = torch.from_numpy(found.displacement[None].copy()).to(self.device)
        seconds = torch.tensor([found.wall_time_s], dtype=torch.float64)
        further = self._further(task, metrics)
        values = measure(metrics, task.images, displacement, seconds, None, None, *further)
        return Block(index=task.index, pairs=(task.pair.id,), labels=self.labels, values=values)

    def _further(self, task: _Task, metrics: Sequence[str]) -> tuple[Tensor | None, Tensor | None]:
        """Register what metrics ask for besides the pair; where the engine fails, nothing is known of it."""
        try:
            return self.further_displacements(task.index, [task.pair], task.images, metrics)
        except FailedPairsError:
            return None, None


def _ended(
    running: Mapping["Future[Registered]", _Task],
) -> Iterator[tuple[_Task, Registered | EngineFailure]]:
    """Yield those registrations that have ended."""
    for future, task in list(running.items()):
        if future.done() and not future.cancelled():
            yield task, _outcome(future)


def _outcome(future: "Future[Registered]") -> Registered | EngineFailure:
    """Return what was found, or why it failed; another error, as of an import, is raised."""
    try:
        return future.result()
    except EngineFailure as failure:
        return failure


def _arrays(images: Originals, row: int) -> tuple[Image, Image]:
    """Return the moving and the fixed image of a pair, (*shape)."""
    moving = images.moving[row, 0].cpu().numpy()
    fixed = images.fixed[row, 0].cpu().numpy()
    return moving, fixed


def engine_source(folder: Path, study: Study) -> EngineSource:
    """Return what a study declares of its engine.

    Parameters
    ----------
    folder
        The study folder, which files of an engine are relative to.
    study
        The declaration, with one of `model.callable`, `model.command` and `model.engine`.
    """
    declared = study.model
    shape = tuple(study.preprocessing.shape)
    kinds: tuple[Kind, ...] = ("callable", "command", "engine")
    kind = next(kind for kind in kinds if getattr(declared, kind) is not None)
    return EngineSource(
        kind=kind,
        name=str(getattr(declared, kind)),
        folder=folder.resolve(),
        grid=Grid(shape=shape, spacing_mm=(1.0,) * len(shape)),
        defaults={one.name: one.default for one in study.space.hyperparameters},
        options=declared.options,
        outputs=tuple(declared.outputs),
        threads=declared.threads,
    )


def load_engine(
    folder: Path, study: Study, spacing_mm: tuple[float, ...] | None, jobs: int
) -> EngineModel:
    """Return the engine that a study declares, running in processes of its own.

    Parameters
    ----------
    folder
        The study folder.
    study
        The declaration.
    spacing_mm
        Of the prepared grid; None where it is unknown: programs are told 1 mm.
    jobs
        Number of processes; 0: none.

    Raises
    ------
    DeclarationError
        If there is no such function, program or package.
    """
    declared = engine_source(folder, study)
    declared.check()
    source = declared
    if spacing_mm is not None:
        grid = Grid(shape=declared.grid.shape, spacing_mm=tuple(spacing_mm))
        source = replace(declared, grid=grid)
    processes = EngineProcesses(source, jobs, study.model.time_limit_s)
    defined_in = processes.start()
    version = source.version(study.model.version, defined_in)
    return EngineModel(processes, study.space, version)
