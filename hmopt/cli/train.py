"""`hmopt train`: from a declared study to a trained hypermorph."""

from pathlib import Path

from hmopt.cli.checks import check_cohort, check_declared
from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.device import find_device
from hmopt.cli.memory import keep_freed_memory
from hmopt.cli.options import Debug, Device, Folder, Quiet
from hmopt.commands import timed


def train(
    folder: Folder, device: Device = None, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Train the hypermorph of a study; an interrupted training goes on where it stopped."""
    with (
        conversation(f"hmopt train {folder}", quiet=quiet, debug=debug) as talk,
        timed(folder / "commands.csv", "hmopt train"),
    ):
        train_study(folder, device, talk)


def train_study(folder: Path, device: str | None, talk: Conversation) -> None:
    """Prepare the images where that is still to do, and train."""
    from hmopt.data.preprocessing import prepare
    from hmopt.declaration import read_study
    from hmopt.training.train import train as train_model

    keep_freed_memory()
    study = read_study(folder)
    check_declared(study)
    cohort = prepare(study, folder, talk.track)
    check_cohort(study, cohort)
    model = train_model(study, cohort, folder, track=talk.track, device=find_device(device))
    talk.say(f"Trained: {model}")
