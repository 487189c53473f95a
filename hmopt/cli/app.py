"""The command `hmopt`."""

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

app.command(cls=Command, epilog=f"Example: {NEW_EXAMPLE}")(with_home(commands.new))
app.command(cls=Command, epilog="Example: hmopt train studies/mine")(with_home(commands.train))
app.command(cls=Command, epilog="Example: hmopt search studies/mine")(with_home(commands.search))
app.command(cls=Command, epilog=f"Example: {TUNE_EXAMPLE}")(with_home(commands.tune_by_gradient))
app.command(cls=Command, epilog="Example: hmopt compare studies/mine --jobs 2")(
    with_home(commands.compare)
)
app.command(cls=Command, epilog="Example: hmopt report studies/mine --results")(
    with_home(commands.report)
)
app.command(cls=Command, epilog="Example: hmopt run studies/mine")(with_home(commands.run))
app.command(cls=Command, epilog=f"Example: {REGISTER_EXAMPLE}")(with_home(commands.register))
app.command(cls=Command, epilog=f"Example: {APPLY_EXAMPLE}")(with_home(commands.apply))
app.command(cls=Command, epilog="Example: hmopt tune studies/mine")(with_home(commands.tune))
app.command(cls=Command, epilog=f"Example: {PUBLISH_EXAMPLE}")(with_home(commands.publish))
app.command(cls=Command, epilog=f"Example: {BAKE_EXAMPLE}")(with_home(commands.bake))
app.command(cls=Command, epilog="Example: hmopt check studies/mine")(with_home(commands.check))
app.command(cls=Command, epilog="Example: hmopt ledger studies/mine --compact")(
    with_home(commands.ledger)
)
app.command(cls=Command, epilog=f"Example: {EXPORT_EXAMPLE}")(with_home(commands.export))
app.command(cls=Command, epilog="Example: hmopt demo demo")(with_home(commands.demo))


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
    app()
