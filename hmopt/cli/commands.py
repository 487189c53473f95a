"""The commands that take a study folder from its declaration to its report."""

from pathlib import Path
from typing import Annotated

import typer

import hmopt
from hmopt.cli.conversation import conversation
from hmopt.cli.options import Debug, Device, Folder, Quiet

Dense = Annotated[
    bool,
    typer.Option(
        "--dense",
        help="Also measure the optimized metric at every value of the one hyperparameter.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", min=1, help="Trainings at a time, each on its share of the processor's cores."
    ),
]
Pictures = Annotated[
    bool,
    typer.Option(
        "--pictures",
        help="With --results: keep pictures of pairs, which show images of the cohort.",
    ),
]
Results = Annotated[
    bool, typer.Option("--results", help="Also write FOLDER/results, small enough to be committed.")
]
Destination = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where the study goes.")]
Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="HMOPT_STORAGE",
        help="An Optuna storage URL, as sqlite:///all.db or postgresql://user:password@host/database.",
        show_default=False,
    ),
]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="KIND=VALUE,…",
        help="A scope: cohort, or values by kind (label, task, subject, a column), * for every value. Can be "
        "repeated. Default: every declared scope.",
        show_default=False,
    ),
]


def train(
    folder: Folder, device: Device = None, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Train the hypermorph of a study. Rerun to resume an interrupted training."""
    with conversation(f"hmopt train {folder}", quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.train(folder, track=talk.track, device=device))


def search(
    folder: Folder,
    device: Device = None,
    dense: Dense = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure the settings that the declared scopes need, and export an Optuna study for each scope."""
    with conversation(f"hmopt search {folder}", quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.search(folder, dense=dense, track=talk.track, device=device))


def compare(
    folder: Folder,
    jobs: Jobs = 1,
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train baselines, networks for a single λ and hypermorphs of other seeds, and measure them. Rerun to resume."""
    with conversation(f"hmopt compare {folder}", quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.compare(folder, jobs=jobs, track=talk.track, say=talk.say, device=device))


def report(
    folder: Folder,
    results: Results = False,
    pictures: Pictures = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write FOLDER/report: index.html, optima.csv and figures. Needs neither model nor torch."""
    with conversation(f"hmopt report {folder}", quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.report(folder, results=results, pictures=pictures, track=talk.track))


def run(folder: Folder, device: Device = None, quiet: Quiet = False, debug: Debug = False) -> None:
    """Train, search and report. Rerun to resume: finished work is reused."""
    with conversation(f"hmopt run {folder}", quiet=quiet, debug=debug) as talk:
        hmopt.run(folder, track=talk.track, say=talk.say, device=device)


def demo(
    folder: Destination = Path("demo"),
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a synthetic cohort, train, search and report, in about three minutes."""
    with conversation(f"hmopt demo {folder}", quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.demo(folder, track=talk.track, say=talk.say, device=device))


def export(
    folder: Folder,
    storage: Storage,
    scope: Scopes = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write Optuna studies of any scopes into any storage. Needs neither model nor torch."""
    again = f"hmopt export {folder} with the same options"
    with conversation(again, quiet=quiet, debug=debug) as talk:
        talk.say(hmopt.export(folder, storage, *(scope or ()), track=talk.track))
