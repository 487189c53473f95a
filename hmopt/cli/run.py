"""`hmopt run`: whatever of a study is still to do."""

from pathlib import Path

from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.options import Debug, Device, Folder, Quiet
from hmopt.cli.report import report_study
from hmopt.cli.search import search_study
from hmopt.cli.train import train_study
from hmopt.commands import timed


def run(folder: Folder, device: Device = None, quiet: Quiet = False, debug: Debug = False) -> None:
    """Train, search and report; what is done already is kept."""
    with (
        conversation(f"hmopt run {folder}", quiet=quiet, debug=debug) as talk,
        timed(folder / "commands.csv", "hmopt run"),
    ):
        run_study(folder, device, talk)


def run_study(folder: Path, device: str | None, talk: Conversation) -> None:
    """Take a declared study to its report."""
    train_study(folder, device, talk)
    search_study(folder, device, talk)
    report_study(folder, talk)
