"""`hmopt.search`: from a trained model to measurements and Optuna studies."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic

import numpy as np

from hmopt.analysis.composed import FieldGain
from hmopt.analysis.cross_validation import kinds_of
from hmopt.analysis.gap import GapResult
from hmopt.analysis.uncertainty import UncertaintyResult
from hmopt.data.preprocessing import prepare
from hmopt.errors import DeclarationError, FailedPairsError
from hmopt.files import file_hash, naming
from hmopt.ledger import Measurements, Recorded, Searched
from hmopt.ledger.searched import Spent, declared_sections
from hmopt.locks import alone, lock_beside
from hmopt.oracle import (
    RegisteredPairs,
    RegisteringOracle,
    UnregisteredOracle,
    load_checkpoints,
    load_oracle,
    source_of,
    write_examples,
)
from hmopt.progress import Track, duration, silent
from hmopt.protocol import Oracle
from hmopt.records import Checkpoint, MapKind, Pair
from hmopt.report.origin import optima_of_origin, write_optima
from hmopt.search.curve import Curve, find_curves
from hmopt.search.lattice import settings_of_one_regularization
from hmopt.search.objective import optimize_scopes
from hmopt.search.plan import coarse_settings, confirming_settings, dense_settings
from hmopt.search.sampler import make_sampler
from hmopt.search.storage import open_declared
from hmopt.search.studies import shared_scopes, store_studies
from hmopt.space import Index
from hmopt.study_folder import StudyFolder
from hmopt.workflow.checks import check_cohort, check_manifest
from hmopt.workflow.composed import check_composable, fill_fields, measure_fields, parse_kinds
from hmopt.workflow.executor import Executor, ExecutorDispatcher, OracleOrigin, Stage
from hmopt.workflow.gap import MOST_ITERATIONS, check_refinable, fill_gap, measure_gap
from hmopt.workflow.machine import (
    MOST_PAIRS,
    check_number,
    find_device,
    installed_versions,
    keep_freed_memory,
    most_processes,
)
from hmopt.workflow.uncertainty import check_count, check_landmarks, measure_uncertainty
from hmopt.workflow.workers import helped

WIDEST_MAPS = 1000
"""Voxels of the Gaussian of structure maps at most: more than any image has."""
DRAWING_S = 120.0
"""Seconds after which no further pictures of pairs are begun: slow registrations would take longer than the search."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """The measurements of a search.

    Parameters
    ----------
    measurements
        Every metric of the trained model, at each measured setting, for each pair and label.
    studies
        Names of the Optuna studies that were written.
    composed
        What one field with a setting for each structure gains, by kind of maps, where that was asked for.
    gap
        The amortization gap, where that was asked for.
    uncertainty
        Uncertainty of displacements and error at landmarks, where that was asked for.
    """

    measurements: Measurements
    studies: tuple[str, ...]
    composed: tuple[FieldGain, ...] = ()
    gap: GapResult | None = None
    uncertainty: UncertaintyResult | None = None

    def __str__(self) -> str:
        """Return a line for a person, and one for each further thing that was measured."""
        pairs = len(self.measurements.pairs)
        settings = len(self.measurements.settings)
        failed = int(self.measurements.failed.sum())
        end = f"; {failed} of them failed (see hmopt ledger)" if failed else ""
        measured = f"Measured: {pairs} pairs at {settings} settings{end}"
        further = [str(one) for one in self.composed]
        if self.gap is not None:
            further.append(str(self.gap))
        if self.uncertainty is not None:
            further.append(str(self.uncertainty))
        return "\n".join([measured, *further])


def search(
    folder: Path | str,
    *,
    dense: bool = False,
    retry_failed: bool = False,
    per_structure: bool = False,
    maps: Sequence[str] = (),
    map_width: float | None = None,
    gap: bool = False,
    gap_pairs: int | None = None,
    gap_iterations: int | None = None,
    workers: int = 1,
    executor: Executor | None = None,
    uncertainty: bool = False,
    uncertainty_settings: int | None = None,
    track: Track = silent,
    device: str | None = None,
) -> Swept:
    """Measure the settings that the declared scopes need, and export an Optuna study for each scope.

    What the ledger holds already is not measured again, so that an interrupted search is resumed. Searches of one
    study folder that run at the same time, on one machine or several, divide the work.

    Parameters
    ----------
    folder
        The study folder, with a trained model.
    dense
        Also measure the optimized metric at every value of the one hyperparameter.
    retry_failed
        Also register again the pairs that an engine failed on.
    per_structure
        Also measure fields in which each structure has its own setting, and compare them with one setting for all and
        with a field for each structure, on held-out subjects.
    maps
        What tells where structures are: `frequency` (of the training subjects), `fixed`, `moving` (label maps of these
        images); several are compared. None: `frequency` where there are training subjects, otherwise `moving`.
    map_width
        Standard deviation of the Gaussian that smooths maps, in voxels of the prepared grid; None: 2.
    gap
        Also register some pairs with refinement, by some iterations and until it converges, and tell how far the model
        is from these, and whether its best settings carry over.
    gap_pairs
        Of each task, at most; None: 60.
    gap_iterations
        Iterations of refinement to measure besides convergence; None: those of `[refine]`, or 25.
    workers
        Processes that measure on this machine, this one included; threads of torch are divided among them.
    executor
        Has workers measure that see the study folder under the same path: any executor of `concurrent.futures`, or one
        like it, as `distributed.Client(...).get_executor()`. It is left open. None: the sweep is measured here.
    uncertainty
        Also register pairs with landmarks at settings of the confidence set of the best one for all, and tell whether
        landmarks err where displacements differ over it.
    uncertainty_settings
        How many settings, at most; None: 9.
    track
        Shows progress: that of all workers together.
    device
        Where to compute: `cpu`, `cuda`, `cuda:1`, `mps`; None: the fastest one that is available, to each worker.

    Returns
    -------
    Swept
        The measurements of the model, and the names of the studies.

    Raises
    ------
    CheckpointError
        If there is no trained model, one of another declaration or cohort, or, with `gap`, one whose registrations
        cannot be refined.
    DeclarationError, DataError
        If the declaration or the cohort cannot be used, or options do not go together.
    SearchError
        If a scope is of no kind that the cohort has, `dense` is asked for with several hyperparameters,
        `per_structure` with fewer than two structures, or an executor fails again and again. What was measured is kept.

    Examples
    --------
    After `hmopt.train`:

    >>> import hmopt
    >>> swept = hmopt.search("studies/mine", device="cpu")  # doctest: +SKIP
    >>> len(swept.measurements.settings)  # doctest: +SKIP
    16
    """
    files = StudyFolder(folder)
    kinds = parse_kinds(maps)
    _check_maps(per_structure, kinds, map_width)
    _check_gap(gap, gap_pairs, gap_iterations)
    check_number("--workers", workers, least=1, most=most_processes())
    check_count(uncertainty_settings, uncertainty)
    further = {"--per-structure": per_structure, "--gap": gap, "--uncertainty": uncertainty}
    _check_executor(executor, workers, further)
    command = "hmopt search"
    if dense:
        command += " --dense"
    if per_structure:
        command += " --per-structure"
        check_composable(files)
    if gap:
        command += " --gap"
        check_refinable(files, gap_iterations)
    if uncertainty:
        command += " --uncertainty"
        check_landmarks(files)
    with files.command(command):
        with _helpers(files, workers, device, dense=dense):
            if dense:
                _measure_densely(files, track, device, executor)
            swept = search_study(files, track, device, retry_failed=retry_failed, executor=executor)
        if not (per_structure or gap or uncertainty):
            return swept
        study_search = StudySearch(files, track)
        if per_structure:
            with helped(files, workers, device, partial(_help_fields, kinds, map_width)):
                composed = measure_fields(study_search, files, kinds, map_width, device=device)
            swept = replace(swept, composed=composed)
        if gap:
            with helped(files, workers, device, partial(_help_gap, gap_pairs, gap_iterations)):
                found = measure_gap(study_search, files, gap_pairs, gap_iterations, device=device)
            swept = replace(swept, gap=found)
        if uncertainty:
            of_points = measure_uncertainty(
                study_search, files, uncertainty_settings, device=device, track=track
            )
            swept = replace(swept, uncertainty=of_points)
        return swept


def _check_gap(gap: bool, pairs: int | None, iterations: int | None) -> None:
    """Refuse options of the gap that go with nothing, and numbers out of range."""
    for option, number in (("--gap-pairs", pairs), ("--gap-iterations", iterations)):
        if number is None:
            continue
        if not gap:
            raise DeclarationError(
                option, expected="--gap", got="the option alone", advice="Add --gap."
            )
    check_number("--gap-pairs", pairs, least=1, most=MOST_PAIRS)
    check_number("--gap-iterations", iterations, least=1, most=MOST_ITERATIONS - 1)


def _check_maps(per_structure: bool, kinds: Sequence[MapKind], width: float | None) -> None:
    """Refuse options of maps that go with nothing, and a width that is none."""
    if not per_structure and (kinds or width is not None):
        raise DeclarationError(
            "--maps, --map-width",
            expected="--per-structure with them",
            got="one of them without it",
            advice="Add --per-structure.",
        )
    if width is not None and not 0 <= width <= WIDEST_MAPS:
        raise DeclarationError(
            "--map-width",
            expected=f"0 to {WIDEST_MAPS:,} voxels",
            got=width,
            advice="Correct it.",
        )


def _check_executor(executor: Executor | None, workers: int, further: Mapping[str, bool]) -> None:
    """Refuse what does not go with an executor: workers of this machine, and what comes after the sweep."""
    if executor is None:
        return
    if workers > 1:
        raise DeclarationError(
            "--workers",
            expected="1 with an executor, which has workers of its own",
            got=workers,
            advice="Leave one of them out.",
        )
    for option, is_asked in further.items():
        if is_asked:
            raise DeclarationError(
                "--executor",
                expected="a search alone, as an executor measures the sweep and nothing else",
                got=f"{option} with it",
                advice=f"Search with the executor first, then with {option} without it.",
            )


def search_study(
    files: StudyFolder,
    track: Track,
    device: str | None,
    *,
    retry_failed: bool = False,
    executor: Executor | None = None,
) -> Swept:
    """Search as `search` does, as a part of a longer command."""
    measured = _measure_all(files, track, device, retry_failed=retry_failed, executor=executor)
    study_search, model = measured.search, measured.model
    # other processes that search the folder write the same
    with alone(lock_beside(files.search_file), "records what was searched", track):
        study_search.write_record(model, measured.earlier, measured.unregistered)
        studies = study_search.write_studies(measured.measurements)
        study_search.write_examples(model, measured.measurements)
    return Swept(measurements=measured.measurements, studies=tuple(studies))


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """All that a search measures, before it is written down.

    Parameters
    ----------
    search
        The study.
    model
        The oracle that was searched.
    measurements
        Its measurements.
    earlier
        Identities of the model at checkpoints before the end of its training.
    unregistered
        Identity of the pairs as they are.
    """

    search: "StudySearch"
    model: RegisteringOracle
    measurements: Measurements
    earlier: Mapping[Checkpoint, str]
    unregistered: str


def _measure_all(
    files: StudyFolder,
    track: Track,
    device: str | None,
    *,
    retry_failed: bool = False,
    executor: Executor | None = None,
) -> _Measured:
    """Measure all that a search asks for, together with other processes that do so."""
    keep_freed_memory()
    source_of(files.path, files.study).check()
    found = find_device(device)
    study_search = StudySearch(files, track)
    study, cohort = study_search.study, study_search.cohort
    model = load_oracle(files.path, study, cohort, found)
    earlier = load_checkpoints(files.path, study, cohort, found)
    unregistered = UnregisteredOracle(cohort, found)
    if executor is not None:
        stages: list[tuple[Stage, RegisteringOracle]] = [
            ("full", model),
            ("unregistered", unregistered),
            *earlier.items(),
        ]
        for stage, oracle in stages:
            study_search.measure_elsewhere(oracle, stage, executor, device)
    if retry_failed:
        study_search.retry_failed(model)

    measurements = study_search.sweep(model)
    measurements = study_search.measure_origin(model, measurements)
    for oracle in earlier.values():
        # only where λ* was during training is asked of these models
        study_search.fill(oracle, measurements.settings, study_search.options.deciding)
    study_search.fill(unregistered, [()], study_search.options.measured)
    return _Measured(
        search=study_search,
        model=model,
        measurements=measurements,
        earlier={checkpoint: oracle.identity for checkpoint, oracle in earlier.items()},
        unregistered=unregistered.identity,
    )


def _helpers(
    files: StudyFolder, workers: int, device: str | None, *, dense: bool
) -> AbstractContextManager[None]:
    """Have further processes measure the sweep beside this one."""
    return helped(files, workers, device, partial(_help, dense))


def _help(dense: bool, files: StudyFolder, device: str, _share: float) -> None:
    """Measure what another process searches, in a process that does nothing else."""
    if dense:
        _measure_densely(files, silent, device)
    _measure_all(files, silent, device)


def _help_fields(
    kinds: Sequence[MapKind],
    map_width: float | None,
    files: StudyFolder,
    device: str,
    share: float,
) -> None:
    fill_fields(StudySearch(files, silent), files, kinds, map_width, device=device, share=share)


def _help_gap(
    pairs: int | None, iterations: int | None, files: StudyFolder, device: str, _share: float
) -> None:
    study_search = StudySearch(files, silent)
    fill_gap(study_search, files, files.measurements(), pairs, iterations, device=device)


def _measure_densely(
    files: StudyFolder, track: Track, device: str | None, executor: Executor | None = None
) -> None:
    """Measure what decides λ* at every lattice point; the plan of a search is judged by it."""
    keep_freed_memory()
    settings = dense_settings(files.study.space)
    study_search = StudySearch(files, track)
    found = find_device(device)
    model = load_oracle(files.path, study_search.study, study_search.cohort, found)
    if executor is not None:
        study_search.measure_elsewhere(model, "full", executor, device)
    study_search.fill(model, settings, study_search.options.deciding)


class StudySearch:
    """The pairs of a study that are searched, and the ledger that their measurements go to.

    Parameters
    ----------
    files
        The study folder.
    track
        Shows progress.

    Raises
    ------
    DeclarationError, DataError
        If the declaration or the cohort cannot be used.
    """

    def __init__(self, files: StudyFolder, track: Track) -> None:
        self._files = files
        self._track = track
        self.study = files.study
        self.options = self.study.search
        check_manifest(self.study)
        self.cohort = prepare(self.study, files.path, track)
        self.pairs, self.table = check_cohort(self.study, self.cohort)
        # what the ledger holds already is not measured again, and must still be of these images
        names: dict[str, None] = {}
        for pair in self.pairs:
            names[pair.moving] = None
            names[pair.fixed] = None
        self.cohort.check(names)
        self._ledger = files.ledger
        self._dispatchers: dict[str, ExecutorDispatcher] = {}
        # of the sweep, as far as it is
        self._swept: set[Index] = set()

    def measure_elsewhere(
        self, oracle: RegisteringOracle, stage: Stage, executor: Executor, device: str | None
    ) -> None:
        """Have the workers of an executor measure an oracle from now on.

        Parameters
        ----------
        oracle
            The oracle.
        stage
            Which one of the study folder it is.
        executor
            Has workers that see the study folder.
        device
            Where they compute; None: on the fastest one that each has.
        """
        origin = OracleOrigin(
            folder=self._files.path.resolve(),
            stage=stage,
            cohort=self.cohort.identity,
            identity=oracle.identity,
            device=device,
        )
        self._dispatchers[oracle.identity] = ExecutorDispatcher(executor, origin, oracle)

    def recorded(self, oracle: Oracle) -> Recorded:
        """Return an oracle in front of the study's ledger."""
        return Recorded(oracle, self._ledger, self._dispatchers.get(oracle.identity))

    def fill(
        self,
        oracle: Oracle,
        settings: Sequence[Index],
        metrics: Sequence[str],
        pairs: Sequence[Pair] | None = None,
    ) -> None:
        """Measure an oracle at some settings on all pairs or some, but for what the ledger holds already."""
        recorded = self.recorded(oracle)
        recorded.fill(settings, self.pairs if pairs is None else pairs, metrics, self._track)

    def retry_failed(self, oracle: Oracle) -> None:
        """Register again the pairs that an oracle failed on, at the settings where it did."""
        recorded = self.recorded(oracle)
        for setting, reasons in recorded.forget_failures().items():
            pairs = [pair for pair in self.pairs if pair.id in reasons]
            recorded.fill([setting], pairs, self.options.measured, self._track)

    def sweep(self, oracle: Oracle) -> Measurements:
        """Measure the settings that the plan or a sampler asks for; return all measurements."""
        if self.options.sampler == "plan":
            return self._sweep_by_plan(oracle)
        return self._sweep_by_sampler(oracle)

    def _sweep_by_sampler(self, oracle: Oracle) -> Measurements:
        """Let an Optuna sampler drive the study of each scope, then measure its settings on all pairs.

        Where pairs are spent adaptively, only the best settings of each scope, the default, and those
        with one regularization for all regions, are measured on all pairs.
        """
        # a wrong sampler or storage is refused before anything is measured
        make_sampler(self.options, oracle.space, self.options.seed)
        storage = open_declared(self._files.path, self.options.storage)
        default = oracle.space.index(oracle.space.default)
        of_one = settings_of_one_regularization(oracle.space, self.options.coarse)
        self._fill_sweep(oracle, [default, *of_one])
        with self._naming_database():
            settings = optimize_scopes(
                self.recorded(oracle),
                self._measurements(oracle),
                self.options,
                self.study.name,
                storage,
                self._track,
            )
        self._fill_sweep(oracle, settings)
        return self._measurements(oracle)

    def _sweep_by_plan(self, oracle: Oracle) -> Measurements:
        """Measure the coarse lattice, then settings near the optima of all scopes."""
        self._fill_sweep(oracle, coarse_settings(oracle.space, self.options))
        while True:
            measurements = self._measurements(oracle)
            settings = confirming_settings(measurements, self.options)
            if not settings:
                return measurements
            self._fill_sweep(oracle, settings)

    def _fill_sweep(self, oracle: Oracle, settings: Sequence[Index]) -> None:
        """Measure settings of the sweep on all pairs."""
        self._swept.update(settings)
        self.fill(oracle, settings, self.options.measured)

    def measure_origin(self, oracle: Oracle, measurements: Measurements) -> Measurements:
        """Measure the best settings that a model of elsewhere has on its own cohort, so that they can be judged here.

        They are kept in `model-optima.json`, for reports where the other folder is not at hand.
        """
        optima = optima_of_origin(self.study, self._files.path, self._track)
        path = self._files.origin_file
        if optima is None:
            path.unlink(missing_ok=True)
            return measurements
        write_optima(path, optima)
        indices = set()
        for setting in optima.settings().values():
            with suppress(DeclarationError):  # of another space by now
                indices.add(oracle.space.index(setting))
        self._fill_sweep(oracle, sorted(indices))
        return self._measurements(oracle)

    def write_record(
        self,
        oracle: RegisteringOracle,
        earlier: Mapping[Checkpoint, str],
        identity_unregistered: str,
    ) -> None:
        """Write what was searched: `search.json` and `pairs.csv`.

        Parameters
        ----------
        oracle
            The model that was searched.
        earlier
            Identities of the model at checkpoints before the end of its training.
        identity_unregistered
            Identity of the pairs as they are.
        """
        log = self._files.training_file
        facts = oracle.facts
        other_model = self._files.other_model_file
        searched = Searched(
            name=self.study.name,
            identity=oracle.identity,
            identity_quarter=earlier.get("quarter"),
            identity_half=earlier.get("half"),
            identity_three_quarters=earlier.get("three-quarters"),
            identity_unregistered=identity_unregistered,
            identity_unrefined=oracle.unrefined_identity,
            identity_file=oracle.file_identity,
            labels=self.cohort.labels,
            spacing_mm=self.cohort.spacing_mm,
            space=self.study.space,
            loss=facts.loss or {},
            loss_scale=facts.loss_scale,
            steps=facts.steps,
            search=self.options,
            declared=declared_sections(self.study),
            log_hash=file_hash(log) if log.is_file() else None,
            model_hash=None if other_model is None else file_hash(other_model),
            spent=self._spent(oracle),
            versions=installed_versions(self.study.model.engine),
            settings=tuple(sorted(self._swept)),
        )
        self._files.write_search(searched, self.table)

    def _spent(self, oracle: RegisteringOracle) -> Spent:
        """Return how many pairs were measured at how many settings, and how many a full grid would measure."""
        ids = [pair.id for pair in self.pairs]
        found = self._ledger.coverage(
            oracle.identity, oracle.space, ids, self.options.deciding, self.cohort.labels
        )
        grid = oracle.space.count(self.options.coarse)
        return Spent(
            evaluations=found.evaluations,
            grid=grid * len(ids),
            settings=found.settings,
            partial=found.partial,
            failed=found.failed,
        )

    def write_studies(self, measurements: Measurements) -> list[str]:
        """Export the Optuna studies of cohort, groups and labels; return their names."""
        options = self.options
        storage = open_declared(self._files.path, options.storage)
        with self._naming_database():
            return store_studies(measurements, options, self.study.name, storage, self._track)

    def _naming_database(self) -> AbstractContextManager[None]:
        """Have an error of writing studies name the folder's own file, where that is written."""
        if self.options.storage is not None:
            return nullcontext()
        return naming(self._files.studies_file)

    def write_examples(self, oracle: RegisteringOracle, measurements: Measurements) -> None:
        """Draw a typical and the worst pair of every scope at its best setting, but for scopes of one subject.

        Pictures that are there stay. Where registrations are slow, another search draws more of them.
        """
        scopes = shared_scopes(measurements, self.options)
        curves = list(find_curves(measurements, scopes, self.options.metric))
        families = list(dict.fromkeys(kinds_of(curve) for curve in curves))

        def place(curve: Curve) -> tuple[int, Index]:
            return families.index(kinds_of(curve)), curve.settings[curve.best()]

        # as declared; in a family those of one best setting follow each other and share registered pairs
        curves.sort(key=place)
        registered = RegisteredPairs(oracle)
        began = monotonic()
        tracked = self._track(curves, "Drawing examples", len(curves))
        for drawn, curve in enumerate(tracked):
            taken = monotonic() - began
            if taken > DRAWING_S:
                warnings.warn(
                    f"Pictures of {drawn} of {len(curves)} scopes were drawn in {duration(taken)}. Run the search "
                    "again to draw more; what was measured is kept.",
                    stacklevel=2,
                )
                break
            self._write_example(registered, measurements, curve)

    def _write_example(
        self, registered: RegisteredPairs, measurements: Measurements, curve: Curve
    ) -> None:
        metric, scope = self.options.metric, curve.scope
        best = curve.settings[curve.best()]
        row = measurements.settings.index(best)
        of_all_pairs = measurements.score(metric, scope.label)[row]
        scores = np.where(scope.mask(measurements.pairs), of_all_pairs, np.nan)
        try:
            write_examples(
                self._files.path,
                scope.name,
                registered,
                best,
                self.pairs,
                scores,
                metric,
                scope.label,
            )
        except FailedPairsError as error:  # of an engine that succeeded before
            warnings.warn(f"No example of {scope.name} was drawn: {error}", stacklevel=2)

    def _measurements(self, oracle: Oracle) -> Measurements:
        """Return what the sweep has measured; the ledger may hold other settings, too."""
        measured = self._ledger.measurements(
            oracle.identity, oracle.space, self.table, self.options.measured, self.cohort.labels
        )
        return measured.at(sorted(self._swept))
