"""`hmopt demo`: everything, on a cohort whose answer is known."""

import csv
import os
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.options import Debug, Device, Quiet
from hmopt.cli.run import run_study
from hmopt.commands import timed
from hmopt.declaration import FILE_NAME
from hmopt.errors import DeclarationError
from hmopt.files import check_outputs, replacing

Destination = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where the study goes.")]


def demo(
    folder: Destination = Path("demo"),
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a synthetic cohort, train, search and report: all that hmopt does, in about three minutes."""
    with (
        conversation(f"hmopt demo {folder}", quiet=quiet, debug=debug) as talk,
        timed(folder / "commands.csv", "hmopt demo"),
    ):
        make_demo(folder, talk)
        run_study(folder, device, talk)
        for line in compare_with_truth(folder / "report" / "optima.csv"):
            talk.say(line)


def make_demo(folder: Path, talk: Conversation) -> None:
    """Write the synthetic cohort and its declaration, where they are not there already."""
    from hmopt.data.synthetic import make_cohort

    if (folder / FILE_NAME).is_file():
        return
    check_outputs({"FOLDER": folder / FILE_NAME}, {})
    cohort, beside = folder / "cohort", folder / f".cohort-{os.getpid()}"
    if cohort.exists():
        raise DeclarationError(
            "FOLDER",
            expected="a folder without a cohort",
            got=cohort,
            advice="Choose another folder, or move it away.",
        )
    try:
        make_cohort(beside, track=talk.track)
        beside.rename(cohort)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    with replacing(folder / FILE_NAME) as beside:
        beside.write_text(
            (files("hmopt.cli") / "demo_study.toml").read_text(encoding="utf-8"), encoding="utf-8"
        )


def compare_with_truth(optima: Path) -> list[str]:
    """Give the best λ of each structure, in the order in which the cohort was made to have them."""
    from hmopt.data.synthetic import TRUE_ORDER

    with optima.open(newline="", encoding="utf-8") as file:
        found = {
            row["value"]: float(row["regularization"])
            for row in csv.DictReader(file)
            if row["scope"] == "label"
        }
    groups = [", ".join(f"{name} {found[name]:g}" for name in group) for group in TRUE_ORDER]
    made = " to ".join(", ".join(group) for group in TRUE_ORDER)
    return [f"Made so that λ* rises from {made}", f"Found: {'; '.join(groups)}"]
