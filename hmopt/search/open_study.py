"""The Optuna study of any scope of a study folder, made when it is asked for."""

from collections.abc import Mapping
from pathlib import Path

import optuna

from hmopt.errors import SearchError
from hmopt.ledger.measurements import check_measured
from hmopt.ledger.table import Part
from hmopt.search.curve import FOLDING, Curves
from hmopt.search.scopes import find_scope
from hmopt.search.studies import make_study, origin_of
from hmopt.study_folder import StudyFolder


def open_study(folder: Path | str, metric: str = "dice", **criteria: str) -> optuna.Study:
    """Give the study of a scope, from a study folder's ledger or its committed results; neither model nor torch needed.

    Only the scope's pairs, its label, the metric and folding are read.

    Parameters
    ----------
    folder
        The study folder.
    metric
        A metric that was measured.
    **criteria
        What the scope's pairs have: `label`, `task`, `subject` (in either role), or a column of the cohort, as in
        `open_study("studies/brains", label="thalamus", task="within")`; none: the whole cohort.

    Returns
    -------
    optuna.Study
        In memory, with a trial for each setting that all its pairs were measured at, and the attributes of
        `hmopt.search.studies.make_study`.

    Raises
    ------
    LedgerError
        If nothing was measured, or not this metric.
    SearchError
        If there is no such scope; near matches are named.
    """
    return study_of_scope(StudyFolder(folder), metric, criteria)


def study_of_scope(folder: StudyFolder, metric: str, criteria: Mapping[str, str]) -> optuna.Study:
    """Return the study of a scope, as `open_study` does, of a study folder that is read already."""
    searched = folder.searched
    pairs = folder.pairs
    check_measured(metric, searched.search.measured)
    scope = find_scope(dict(criteria), pairs, searched.labels, searched.search.min_paired_subjects)
    part = Part(
        pairs=pairs[scope.mask(pairs)],
        metrics=tuple(dict.fromkeys((metric, FOLDING))),
        labels=searched.labels if scope.label is None else (scope.label,),
    )
    measurements = folder.measurements_of_part(part)
    curve = Curves(measurements, metric).of(scope)
    if curve is None:
        raise SearchError(
            "scope",
            expected="a score for some pair",
            got=scope.name,
            advice="Its pairs lack the label: ask for others.",
        )
    return make_study(searched.name, curve, origin_of(measurements, searched.search))
