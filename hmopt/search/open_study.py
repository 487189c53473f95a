"""The Optuna study of any scope of a study folder, made when it is asked for."""

from pathlib import Path

import optuna

from hmopt.errors import SearchError
from hmopt.ledger.folder import read_folder, read_searched
from hmopt.search.curve import find_curves
from hmopt.search.scopes import find_scope
from hmopt.search.studies import make_study, origin_of


def open_study(folder: Path | str, metric: str = "dice", **criteria: str) -> optuna.Study:
    """Give the study of a scope, from a study folder's ledger or its committed results; neither model nor torch needed.

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
        In memory, with a trial for each measured setting and the attributes of `hmopt.search.studies.make_study`.

    Raises
    ------
    LedgerError
        If nothing was measured, or not this metric.
    SearchError
        If there is no such scope; near matches are named.
    """
    searched, measurements = read_searched(Path(folder)), read_folder(Path(folder))
    minimum = searched.search.minimum_partners
    scope = find_scope(criteria, measurements.pairs, measurements.labels, minimum)
    curve = next(find_curves(measurements, [scope], metric), None)
    if curve is None:
        raise SearchError(
            "scope",
            expected="a score for some pair",
            got=scope.name,
            advice="Its pairs lack the label: ask for others.",
        )
    return make_study(searched.name, curve, origin_of(measurements, searched.search))
