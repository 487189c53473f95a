"""The command `hmopt`."""

from typing import Annotated

import typer

import hmopt
from hmopt.cli.compare import compare
from hmopt.cli.demo import demo
from hmopt.cli.export import export
from hmopt.cli.ledger import ledger
from hmopt.cli.new import new
from hmopt.cli.register import register
from hmopt.cli.report import report
from hmopt.cli.run import run
from hmopt.cli.search import search
from hmopt.cli.train import train

app = typer.Typer(
    name="hmopt",
    help="One trained network, every regularization: which λ to use for which structure, subject and cohort.",
    epilog="Example: hmopt demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.command(epilog="Example: hmopt new studies/mine --images imagesTr --labels labelsTr")(new)
app.command(epilog="Example: hmopt train studies/mine")(train)
app.command(epilog="Example: hmopt search studies/mine")(search)
app.command(epilog="Example: hmopt compare studies/mine")(compare)
app.command(epilog="Example: hmopt report studies/mine --results")(report)
app.command(epilog="Example: hmopt run studies/mine")(run)
app.command(
    epilog="Example: hmopt register studies/mine moving.nii.gz fixed.nii.gz --moved moved.nii.gz --label thalamus"
)(register)
app.command(epilog="Example: hmopt ledger studies/mine --compact")(ledger)
app.command(
    epilog="Example: hmopt export studies/mine --storage sqlite:///all.db --scope 'label=thalamus,subject=*'"
)(export)
app.command(epilog="Example: hmopt demo demo")(demo)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(hmopt.__version__)
        raise typer.Exit


@app.callback()
def _version(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app()
