"""Some of what a study folder holds: the pairs, labels and metrics of one scope, and nothing else is read."""

from pathlib import Path

from hmopt.ledger.folder import LEDGER_FOLDER, has_ledger, read_searched, results_path
from hmopt.ledger.ledger import Ledger
from hmopt.ledger.measurements import Measurements
from hmopt.ledger.table import Part, read_measurements


def read_part(folder: Path, part: Part) -> Measurements:
    """Read some measurements of a study folder's model: from its ledger, or from its committed results.

    Parameters
    ----------
    folder
        The study folder.
    part
        Which pairs, labels and metrics.

    Returns
    -------
    Measurements
        At every setting at which all these were measured.

    Raises
    ------
    LedgerError
        If nothing was measured.
    """
    if not has_ledger(folder):
        return read_measurements(results_path(folder), part)
    searched = read_searched(folder)
    ledger = Ledger(folder / LEDGER_FOLDER)
    return ledger.measurements(
        searched.identity, searched.space, part.pairs, part.metrics, part.labels
    )
