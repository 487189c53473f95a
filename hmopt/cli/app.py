"""The command `hmopt`."""

import os
from typing import Annotated

import typer

import hmopt
from hmopt.cli import commands
from hmopt.cli.arguments import with_home
from hmopt.cli.usage import Command, Commands

app = typer.Typer(
    name="hmopt",
    cls=Commands,
    help="Search hyperparameters of deformable image registration with one amortized model for all values of λ.",
    epilog="Example: hmopt demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

NEW_EXAMPLE = "hmopt new studies/mine --images imagesTr --labels labelsTr"
TUNE_EXAMPLE = "hmopt tune-by-gradient studies/mine --for cohort --for subject"
REGISTER_EXAMPLE = (
    "hmopt register studies/mine moving.nii.gz fixed.nii.gz --moved moved.nii.gz "
    "--scope label=thalamus"
)
APPLY_EXAMPLE = (
    "hmopt apply moved_displacement.nii.gz dseg.nii.gz --labels --to fixed.nii.gz "
    "--output moved_dseg.nii.gz"
)
PUBLISH_EXAMPLE = "hmopt publish studies/mine --to published/mine --data-license cc-by-4.0"
BAKE_EXAMPLE = "hmopt bake studies/mine --label thalamus --format onnx --output thalamus.onnx"
EXPORT_EXAMPLE = (
    "hmopt export studies/mine --storage sqlite:///all.db --scope 'label=thalamus,subject=*'"
)

SPIN_COUNT = "1000"
"""Iterations that an idle thread of OpenMP spins before it sleeps (`GOMP_SPINCOUNT` of GNU OpenMP).

By default idle threads spin for milliseconds and occupy cores that other processes need: two searches at once on two
cores then take 13 times as long as one. One search alone is as fast with this count."""

COMMANDS = (
    (commands.new, NEW_EXAMPLE),
    (commands.train, "hmopt train studies/mine"),
    (commands.search, "hmopt search studies/mine"),
    (commands.tune_by_gradient, TUNE_EXAMPLE),
    (commands.compare, "hmopt compare studies/mine --jobs 2"),
    (commands.report, "hmopt report studies/mine --results"),
    (commands.run, "hmopt run studies/mine"),
    (commands.register, REGISTER_EXAMPLE),
    (commands.apply, APPLY_EXAMPLE),
    (commands.tune, "hmopt tune studies/mine"),
    (commands.publish, PUBLISH_EXAMPLE),
    (commands.bake, BAKE_EXAMPLE),
    (commands.check, "hmopt check studies/mine"),
    (commands.ledger, "hmopt ledger studies/mine --compact"),
    (commands.export, EXPORT_EXAMPLE),
    (commands.demo, "hmopt demo demo"),
)
"""Each with the example below its help, in the order of the help."""

for command, example in COMMANDS:
    app.command(cls=Command, epilog=f"Example: {example}")(with_home(command))


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(hmopt.__version__)
        raise typer.Exit


@app.callback()
def _version(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read once, when torch is imported
    app()
