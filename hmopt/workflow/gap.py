"""The amortization gap: the same pairs registered by the model alone, refined, and converged."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hmopt.analysis.gap import GapResult, gap_metrics, gap_settings, judge_gap
from hmopt.data.pairs import draw_evenly
from hmopt.declaration import RefineOptions, Study
from hmopt.declaration.model import features_of
from hmopt.errors import CheckpointError, DeclarationError
from hmopt.interop.own_model import OwnModel
from hmopt.interop.refined_model import refined_model
from hmopt.ledger import Measurements
from hmopt.ledger.gap import GapRecord, Stage
from hmopt.locks import alone, lock_beside
from hmopt.oracle import refine, source_of
from hmopt.study_folder import StudyFolder
from hmopt.workflow.checks import WITHOUT_MODEL
from hmopt.workflow.machine import find_device

if TYPE_CHECKING:
    from hmopt.workflow.search import StudySearch

OPTION = "--gap"
PAIRS = 60
"""Pairs of each task that are registered in all stages, where no other number is asked for."""
ITERATIONS = 25
"""Iterations of the stage between the model alone and convergence, where none are declared."""
MOST_ITERATIONS = 200
"""Iterations of the last stage at most: nearly all pairs stop before."""


def iterations_between(study: Study, asked: int | None) -> int:
    """Return the iterations of the stage between: those asked for, those declared, or `ITERATIONS`.

    Raises
    ------
    DeclarationError
        If they are not fewer than those of the last stage.
    """
    iterations = asked or study.refine.iterations or ITERATIONS
    if iterations >= MOST_ITERATIONS:
        raise DeclarationError(
            "--gap-iterations",
            expected=f"fewer than the {MOST_ITERATIONS} that stand for convergence",
            got=iterations,
            advice="Give fewer.",
        )
    return iterations


def check_refinable(files: StudyFolder, iterations: int | None = None) -> None:
    """Refuse a study whose registrations cannot be refined, before anything is measured.

    Parameters
    ----------
    files
        The study folder.
    iterations
        Those asked for, as of `iterations_between`.

    Raises
    ------
    CheckpointError
        If there is no model that hmopt trained, or its loss is not known or changes with a hyperparameter.
    DeclarationError
        If there are too many iterations, or registrations are refined under another loss than that of training.
    """
    study = files.study
    iterations = iterations_between(study, iterations)
    expected = "a model that hmopt trained, whose velocities can be refined"
    advice = f"Leave {OPTION} out."
    if study.model.source in WITHOUT_MODEL:
        got = WITHOUT_MODEL[study.model.source]
        raise CheckpointError(OPTION, expected=expected, got=got, advice=advice)
    model = source_of(files.path, study).load("cpu")
    if not isinstance(model, OwnModel):
        raise CheckpointError(OPTION, expected=expected, got=model.title, advice=advice)
    refined_model(model, RefineOptions(iterations=iterations))  # which needs to know the loss
    features = study.refine.features
    if features is not None and features != features_of(model.header["loss"]):
        raise DeclarationError(
            OPTION,
            expected="refinement under the loss of training",
            got=f"refine.features = {features}",
            advice=f"Leave {OPTION} or refine.features out.",
        )
    further = study.refine.full_resolution_iterations
    if further:
        raise DeclarationError(
            OPTION,
            expected="refinement on the grid of the predicted velocity",
            got=f"refine.full_resolution_iterations = {further}",
            advice=f"Leave {OPTION} or refine.full_resolution_iterations out.",
        )


def choose_pairs(table: pd.DataFrame, count: int, seed: int) -> list[int]:
    """Choose pairs of each task, so that subjects occur about equally often.

    Parameters
    ----------
    table
        The pairs that were searched, with the columns of `Measurements.pairs`.
    count
        Of each task at most.
    seed
        Decides between pairs that are equally good. A larger number of the same seed adds pairs.

    Returns
    -------
    list of int
        Rows of the table, rising.

    Examples
    --------
    >>> rows = [("a", "b", "cross"), ("b", "a", "cross"), ("a", "c", "cross"), ("a", "a", "within")]
    >>> table = pd.DataFrame(rows, columns=["moving_subject", "fixed_subject", "task"])
    >>> choose_pairs(table, count=2, seed=0)[-1]
    3
    """
    subjects = pd.Index(sorted({*table["moving_subject"], *table["fixed_subject"]}))
    moving = subjects.get_indexer(table["moving_subject"])
    fixed = subjects.get_indexer(table["fixed_subject"])
    chosen: list[int] = []
    for _, rows in sorted(table.groupby("task").indices.items()):
        generator = np.random.default_rng(seed)
        drawn = draw_evenly(moving[rows], fixed[rows], count, generator)
        chosen += np.asarray(rows)[drawn].tolist()
    return sorted(chosen)


def measure_gap(
    study_search: "StudySearch",
    files: StudyFolder,
    pairs: int | None,
    iterations: int | None,
    *,
    device: str | None,
) -> GapResult | None:
    """Register some of the searched pairs in three stages of refinement, and compare these.

    What the ledger holds already is not measured again. `gap.json` is written.

    Parameters
    ----------
    study_search
        The pairs of a study that was searched.
    files
        Its folder.
    pairs
        Pairs of each task at most; None: `PAIRS`.
    iterations
        Of the stage between the model alone and convergence; None: as `iterations_between` says.
    device
        Where to compute.
    """
    measurements = files.measurements()
    record = fill_gap(study_search, files, measurements, pairs, iterations, device=device)
    # other processes that measure the folder write the same
    with alone(lock_beside(files.search_file), "writes down the gap"):
        files.write_gap(record)
    options = study_search.options
    return judge_gap(measurements, record, files.gap_measurements(record), options)


def fill_gap(
    study_search: "StudySearch",
    files: StudyFolder,
    measurements: Measurements,
    pairs: int | None,
    iterations: int | None,
    *,
    device: str | None,
) -> GapRecord:
    """Register some of the searched pairs in three stages of refinement, together with other processes that do so.

    The ledger holds the measurements afterwards; nothing else is written.

    Parameters
    ----------
    study_search, files, pairs, iterations, device
        As for `measure_gap`.
    measurements
        Of the model.
    """
    study, cohort, options = study_search.study, study_search.cohort, study_search.options
    settings = gap_settings(measurements, options)
    metrics = gap_metrics(options)
    rows = choose_pairs(study_search.table, pairs or PAIRS, options.seed)
    chosen = [study_search.pairs[row] for row in rows]

    model = source_of(files.path, study).oracle(cohort, find_device(device))
    stages = []
    for count in (0, iterations_between(study, iterations), MOST_ITERATIONS):
        oracle = refine(model, RefineOptions(iterations=count))
        study_search.fill(oracle, settings, metrics, chosen)
        stages.append(Stage(iterations=count, identity=oracle.identity))
    return GapRecord(
        pairs=tuple(pair.id for pair in chosen),
        settings=tuple(settings),
        metrics=metrics,
        stages=tuple(stages),
    )
