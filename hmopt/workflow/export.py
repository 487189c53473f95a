"""`hmopt.export`: Optuna studies of any scopes into any Optuna storage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hmopt.ledger import Measurements
from hmopt.progress import Track, silent
from hmopt.search.scopes import Criteria, Scope, expand_scope, list_scopes, parse_scope
from hmopt.search.storage import open_storage
from hmopt.search.studies import write_studies
from hmopt.study_folder import StudyFolder


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Studies that were written into a storage.

    Parameters
    ----------
    studies
        Their names in the storage.
    """

    studies: tuple[str, ...]

    def __str__(self) -> str:
        """Return a line for a person."""
        return f"Exported: {len(self.studies)} studies"


def export(
    folder: Path | str,
    storage: str,
    *scopes: str | Criteria,
    track: Track = silent,
    **criteria: str,
) -> Exported:
    """Write Optuna studies of any scopes into any storage; neither model nor torch is needed.

    What the storage holds already stays, and what it lacks is added.

    Parameters
    ----------
    folder
        A study folder that was searched, or that holds committed results.
    storage
        An Optuna storage URL, as `sqlite:///all.db` or `postgresql://user:${PASSWORD}@host/database`, where
        `${PASSWORD}` stands for an environment variable.
    *scopes
        Which scopes: `"cohort"`, or values by kind as in `"label=thalamus, subject=*"` or `{"label": "thalamus"}`; `*`
        stands for every value. Without scopes and criteria: every declared scope.
    track
        Shows progress.
    **criteria
        One more scope as keywords, as `label="*"`.

    Returns
    -------
    Exported
        The names of the studies.

    Raises
    ------
    LedgerError
        If nothing was searched or measured.
    SearchError
        If a scope is not there, or the storage cannot be opened.
    DeclarationError
        If a scope has another form.

    Examples
    --------
    Every structure of the demo, in each task:

    >>> import tempfile
    >>> import hmopt
    >>> storage = f"sqlite:///{tempfile.mkdtemp()}/all.db"
    >>> len(hmopt.export("studies/synthetic/demo", storage, "label=*, task=*").studies)
    12
    """
    asked = [parse_scope(scope) for scope in scopes]
    if criteria:
        asked.append(criteria)
    files = StudyFolder(folder)
    searched = files.searched
    measurements = files.measurements()
    chosen = _chosen_scopes(asked, files, measurements)
    opened = open_storage(files.path, storage)
    names = write_studies(measurements, chosen, searched.search, searched.name, opened, track)
    return Exported(studies=tuple(names))


def _chosen_scopes(
    asked: Sequence[Criteria], files: StudyFolder, measurements: Measurements
) -> list[Scope]:
    """Return the scopes of criteria, each once; every declared one where there are no criteria."""
    options = files.searched.search
    pairs, labels = measurements.pairs, measurements.labels
    if not asked:
        return list_scopes(options, pairs, labels)
    found: list[Scope] = []
    for criteria in asked:
        found += expand_scope(criteria, pairs, labels, options.min_paired_subjects)
    return list(dict.fromkeys(found))
