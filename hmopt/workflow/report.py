"""`hmopt.report`: from measurements to a page."""

from dataclasses import dataclass
from pathlib import Path

from hmopt.files import check_outputs
from hmopt.progress import Track, silent
from hmopt.report import write_results
from hmopt.report.beside import check_beside
from hmopt.report.changes import Changes
from hmopt.report.write import renew_report
from hmopt.study_folder import StudyFolder


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A written report.

    Parameters
    ----------
    page
        `report/index.html`, one file that needs no other; beside it are `optima.csv`, `summary.md`,
        `references.bib` and `figures/`.
    results
        The folder `results/`; None where it was not asked for.
    changes
        How the report differs from the one that was there; None where there was none.
    """

    page: Path
    results: Path | None = None
    changes: Changes | None = None

    def __str__(self) -> str:
        """Return a few lines for a person."""
        lines = [f"Report: {self.page}"]
        if self.results is not None:
            lines.append(f"Results: {self.results}")
        if self.changes:
            lines.append(str(self.changes))
        return "\n".join(lines)


def report(
    folder: Path | str, *, results: bool = False, pictures: bool = False, track: Track = silent
) -> Reported:
    """Write the report of a searched study, or of its committed results; neither model nor torch is needed.

    Parameters
    ----------
    folder
        The study folder.
    results
        Also write `results/`, small enough to be committed.
    pictures
        Keep the pictures of pairs with the results; they show images of the cohort.
    track
        Shows progress.

    Returns
    -------
    Reported
        The page, the folder of results, and what changed since the last report.

    Raises
    ------
    LedgerError
        If nothing was searched or measured, or the model is not the one that was searched.
    DeclarationError
        If `study.toml` declares something else than what was searched.
    HmoptError
        If the report cannot be written where it belongs.

    Examples
    --------
    From a searched study, or from a clone that has its committed results:

    >>> import hmopt
    >>> hmopt.report("studies/brains").page.as_posix()  # doctest: +SKIP
    'studies/brains/report/index.html'
    """
    files = StudyFolder(folder)
    check_report_places(files)
    files.check_together()
    check_beside(files)
    with files.in_use():
        written = renew_report(files, track)
        committed = None
        if results:
            analysed = written.analysed
            committed = write_results(files, track, pictures=pictures, analysed=analysed)
    return Reported(page=written.page, results=committed, changes=written.changes)


def check_report_places(files: StudyFolder) -> None:
    """Refuse a `report` that is a file, a link to what is read, or lies where nothing can be written.

    Raises
    ------
    HmoptError
        If it is.
    """
    report = files.report
    outputs = [report.page_file, report.optima_file, report.summary_text_file]
    outputs += [report.references_file, report.record_file]
    inputs = [
        files.search_file,
        files.pairs_file,
        files.training_file,
        files.commands_file,
        files.declaration_file,
        files.results.search_file,
        files.results.pairs_file,
        files.results.optima_file,
    ]
    check_outputs(_by_name(files.path, outputs), _by_name(files.path, inputs))


def _by_name(folder: Path, paths: list[Path]) -> dict[str, Path]:
    named = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        named[name] = path
    return named
