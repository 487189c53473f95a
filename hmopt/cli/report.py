"""`hmopt report`: from measurements to a page."""

from pathlib import Path
from typing import Annotated

import typer

from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.options import Debug, Folder, Quiet
from hmopt.files import check_outputs

Results = Annotated[
    bool, typer.Option("--results", help="Also write FOLDER/results, small enough to be committed.")
]


def report(
    folder: Folder, results: Results = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Write FOLDER/report: index.html, optima.csv and figures. Needs neither model nor torch."""
    with conversation(f"hmopt report {folder}", quiet=quiet, debug=debug) as talk:
        report_study(folder, talk)
        if results:
            keep_results(folder, talk)


def report_study(folder: Path, talk: Conversation) -> None:
    """Write the report of a searched study, or of its committed results."""
    from hmopt.report import write_report
    from hmopt.study_folder import StudyFolder

    check_places(folder)
    StudyFolder(folder).check_together()
    page = write_report(folder, talk.track)
    talk.say(f"Report: {page}")


def check_places(folder: Path) -> None:
    """Refuse a `report` that is a file, a link to what is read, or lies where nothing can be written."""
    pages = {f"report/{name}": folder / "report" / name for name in ("index.html", "optima.csv")}
    read = {
        name: folder / name
        for name in ("search.json", "pairs.csv", "training.csv", "commands.csv", "study.toml")
    }
    kept = {
        f"results/{name}": folder / "results" / name
        for name in ("search.json", "pairs.csv", "optima.csv")
    }
    check_outputs(pages, read | kept)


def keep_results(folder: Path, talk: Conversation) -> None:
    """Write what of a study is committed."""
    from hmopt.report import write_results

    talk.say(f"Results: {write_results(folder, talk.track)}")
