"""`hmopt demo`: everything, on a cohort whose answer is known."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.options import Debug, Device, Quiet
from hmopt.cli.run import run_study
from hmopt.declaration import FILE_NAME
from hmopt.files import replacing

Destination = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where the study goes.")]


def demo(folder: Destination = Path("demo"), device: Device = None, quiet: Quiet = False, debug: Debug = False) -> None:
    """Make a synthetic cohort, train, search and report: all that hmopt does, in about three minutes."""
    with conversation(f"hmopt demo {folder}", quiet=quiet, debug=debug) as talk:
        make_demo(folder, talk)
        run_study(folder, device, talk)


def make_demo(folder: Path, talk: Conversation) -> None:
    """Write the synthetic cohort and its declaration, where they are not there already."""
    from hmopt.data.synthetic import make_cohort

    if (folder / FILE_NAME).is_file():
        return
    make_cohort(folder / "cohort", track=talk.track)
    with replacing(folder / FILE_NAME) as beside:
        beside.write_text((files("hmopt.cli") / "demo_study.toml").read_text(encoding="utf-8"), encoding="utf-8")
