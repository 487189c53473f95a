"""How much displacements differ over the confidence set of λ*: of one pair, and at the landmarks of a cohort."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np

from hmopt.analysis.optimum import ModelAnalysis
from hmopt.analysis.resampling import FEWEST_SUBJECTS
from hmopt.analysis.uncertainty import (
    SETTINGS,
    ConfidenceSet,
    UncertaintyResult,
    judge_uncertainty,
    settings_within,
    spread_of,
)
from hmopt.data.cohort import list_images
from hmopt.errors import DataError, DeclarationError, SearchError
from hmopt.interop.displacement import FileTransform
from hmopt.interop.registration import Registrar
from hmopt.interop.spread import spread_image
from hmopt.ledger.uncertainty import PairPoints, UncertaintyRecord
from hmopt.metrics.landmarks import find_landmark_errors
from hmopt.oracle import load_oracle
from hmopt.oracle.registered import RegisteringOracle
from hmopt.progress import Track
from hmopt.records import Pair
from hmopt.search.scopes import Criteria, Scope, find_scope
from hmopt.space import Setting
from hmopt.study_folder import StudyFolder
from hmopt.workflow.machine import check_number, find_device

if TYPE_CHECKING:
    from hmopt.report.origin import ScopeOptimum
    from hmopt.workflow.search import StudySearch

OPTION = "--uncertainty"
COUNT_OPTION = "--uncertainty-settings"
START_OPTION = "--start"
FEWEST_SETTINGS_OF_A_SPREAD = 2
"""Settings of which there is a spread."""
MOST = 10_000
"""Settings that may be asked for."""


def check_count(count: int | None, asked: bool) -> None:
    """Refuse a number of settings that goes with nothing, or of which there is no spread.

    Raises
    ------
    DeclarationError
        If it is one of these.
    """
    if count is None:
        return
    if not asked:
        raise DeclarationError(
            COUNT_OPTION, expected=OPTION, got="the option alone", advice=f"Add {OPTION}."
        )
    check_number(COUNT_OPTION, count, least=FEWEST_SETTINGS_OF_A_SPREAD, most=MOST)


def confidence_set(files: StudyFolder, criteria: Criteria) -> ConfidenceSet:
    """Return where the best setting of a scope lies, with 95 % confidence.

    Parameters
    ----------
    files
        A study folder that was searched.
    criteria
        Values by kind, as `{"label": "thalamus"}`; none: the cohort.

    Raises
    ------
    LedgerError
        If nothing was searched.
    SearchError
        If there is no such scope, or too few subjects for a confidence set.
    """
    files.check_together()
    options = files.searched.search
    measurements = files.measurements()
    pairs, labels = measurements.pairs, measurements.labels
    scope = find_scope(criteria, pairs, labels, options.min_paired_subjects)
    analysed = ModelAnalysis(measurements, options).of(scope)
    if analysed is None:
        raise SearchError(
            "scope",
            expected="one that was measured",
            got=scope.name,
            advice="Choose another scope.",
        )
    optimum = analysed.optimum
    found = ConfidenceSet(
        best=optimum.setting, intervals=optimum.intervals, choices=optimum.choices
    )
    return _known(found, scope)


def published_set(optimum: "ScopeOptimum") -> ConfidenceSet:
    """Return where the best setting of a scope lies that was published with a model.

    Raises
    ------
    SearchError
        If there were too few subjects for a confidence set.
    """
    intervals = {name: optimum.interval(name) for name in optimum.setting}
    found = ConfidenceSet(best=dict(optimum.setting), intervals=intervals, choices={})
    return _known(found, optimum.scope)


def _known(found: ConfidenceSet, scope: Scope) -> ConfidenceSet:
    """Return a confidence set, or refuse one that is not known."""
    if found.is_known:
        return found
    raise SearchError(
        OPTION,
        expected=f"a confidence set of the best setting, which needs {FEWEST_SUBJECTS} subjects",
        got=f"none of {scope.name}",
        advice="Choose another scope, or search more subjects.",
    )


# --- one pair


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What the displacement of a pair is compared over.

    Parameters
    ----------
    registrars
        Models.
    settings
        At which each of them registers; none: nothing is compared.
    """

    registrars: Sequence[Registrar] = ()
    settings: tuple[Setting, ...] = ()

    def spread(
        self, moving: Path, fixed: Path, like: nibabel.Nifti1Image
    ) -> nibabel.Nifti1Image | None:
        """Return the spread of the displacement at every voxel of the fixed image, in mm; None: nothing is compared.

        Parameters
        ----------
        moving, fixed
            The images.
        like
            An image on the grid of the fixed one, whose header is taken.
        """
        if not self.settings:
            return None
        return spread_image(self._transforms(moving, fixed), like)

    def _transforms(self, moving: Path, fixed: Path) -> Iterator[FileTransform]:
        for registrar in self.registrars:
            yield from registrar.transforms(moving, fixed, self.settings)


def open_compared(
    find_set: Callable[[], ConfidenceSet] | None,
    registrar: Registrar,
    count: int | None,
    open_start: Callable[[Path], Registrar],
    starts: Sequence[Path | str],
) -> Compared:
    """Return what the displacement of a pair is compared over: settings of the confidence set, and models.

    Parameters
    ----------
    find_set
        Returns the confidence set; None: nothing is compared.
    registrar
        The model.
    count
        Settings at most; None: `SETTINGS`.
    open_start
        Opens a model from another random start.
    starts
        Where these are.

    Raises
    ------
    DeclarationError
        If a model has no hyperparameters, or others than the first.
    LedgerError, SearchError
        If there is no confidence set.
    CheckpointError
        If there is no model.
    """
    if find_set is None:
        return Compared()
    space = registrar.space
    if not space.names:
        raise DeclarationError(
            OPTION,
            expected="a model with hyperparameters",
            got="a baked model with a fixed setting",
            advice="Use the model from which it was baked.",
        )
    settings = settings_within(space, find_set(), count or SETTINGS)
    registrars = [registrar]
    for given in starts:
        opened = open_start(Path(given))
        if opened.space.names != space.names:
            raise DeclarationError(
                f"{START_OPTION} {given}",
                expected=f"a model of {', '.join(space.names)}",
                got=f"one of {', '.join(opened.space.names) or 'no hyperparameters'}",
                advice="Leave it out.",
            )
        registrars.append(opened)
    return Compared(registrars=registrars, settings=tuple(settings))


# --- landmarks of a cohort


def check_landmarks(files: StudyFolder) -> None:
    """Refuse a study whose manifest names no landmarks, before anything is measured.

    Raises
    ------
    DataError
        If it names none.
    """
    cohort = files.study.cohort
    if "points" in list_images(cohort):
        return
    raise DataError(
        OPTION,
        expected="a manifest with landmarks (column points)",
        got="none",
        advice=f"Add the column, or use `hmopt register {OPTION}`, which needs no landmarks.",
    )


def measure_uncertainty(
    study_search: "StudySearch",
    files: StudyFolder,
    count: int | None,
    *,
    device: str | None,
    track: Track,
) -> UncertaintyResult | None:
    """Register the pairs with landmarks at settings of the confidence set, and compare spread and error there.

    `uncertainty.json` is written.

    Parameters
    ----------
    study_search
        The pairs of a study that was searched.
    files
        Its folder.
    count
        Settings at most; None: `SETTINGS`.
    device
        Where to compute.
    track
        Shows progress.
    """
    confident = confidence_set(files, {})
    space = study_search.study.space
    settings = settings_within(space, confident, count or SETTINGS)
    oracle = load_oracle(files.path, study_search.study, study_search.cohort, find_device(device))
    measured = [
        _points_of(oracle, pair, settings, confident.best)
        for pair in track(study_search.pairs, "Measuring uncertainty", len(study_search.pairs))
    ]
    pairs = [one for one in measured if one is not None]
    if not pairs:
        raise DataError(
            OPTION,
            expected="pairs whose images have landmarks in common",
            got="none",
            advice="Add landmarks of both images of a pair.",
        )
    record = UncertaintyRecord(
        identity=oracle.identity,
        unit="mm" if study_search.cohort.spacing_mm is not None else "voxels",
        setting=dict(confident.best),
        settings=[dict(one) for one in settings],
        pairs=pairs,
    )
    files.write_uncertainty(record)
    return judge_uncertainty(record, study_search.table, study_search.options.seed)


def _points_of(
    oracle: RegisteringOracle, pair: Pair, settings: Sequence[Setting], best: Setting
) -> PairPoints | None:
    """Return uncertainty and error at the landmarks of a pair; None where it has none."""
    cohort = oracle.cohort
    moving, fixed = cohort.landmarks_of(pair.moving), cohort.landmarks_of(pair.fixed)
    if moving is None or fixed is None:
        return None
    space = oracle.space
    grids = cohort.grid(pair.moving), cohort.grid(pair.fixed)
    apart = []
    for setting in [best, *settings]:
        displacement = oracle.displacement(space.index(setting), pair).double().cpu().numpy()
        errors = find_landmark_errors(moving, fixed, *grids, displacement)
        edges = errors.edges_mm if cohort.spacing_mm is not None else np.eye(3)
        # from where each landmark is mapped to, to where it is: what varies is where it is mapped to
        apart.append(errors.after @ edges.T)
    at_best, *others = apart
    if not len(at_best):
        return None
    return PairPoints(
        pair=pair.id,
        uncertainty=spread_of(np.stack(others)).tolist(),
        error=np.linalg.norm(at_best, axis=1).tolist(),
    )
