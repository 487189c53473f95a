"""`hmopt ledger`: what was measured, and what of it is still of use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

import hmopt
from hmopt.cli.conversation import conversation
from hmopt.cli.options import Debug, Folder, Quiet

if TYPE_CHECKING:
    from hmopt.workflow.ledger import LedgerContent

COUNTS = ("settings", "pairs", "labels", "rows")
HEADER = ("model", "identity", "metric", *COUNTS, "shards", "size", "")
WIDE = 10_000
"""Columns of what is no terminal: no line is cut."""

Compact = Annotated[
    bool, typer.Option("--compact", help="First merge the shards of each model into one.")
]


def ledger(
    folder: Folder, compact: Compact = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """List the measurements of a study: of which models, which metrics, how many, and which are stale."""
    with conversation(f"hmopt ledger {folder}", quiet=quiet, debug=debug) as talk:
        content = hmopt.inspect_ledger(folder, compact=compact)
        if content.before is not None:
            talk.say(f"Before: {content.total_before}")
            talk.say(f"Now:    {content.total}")
        for line in lines_of(HEADER, table_rows(content)):
            talk.say(line)
        talk.say(content)


def table_rows(content: "LedgerContent") -> list[list[str]]:
    """Return the rows of the table: one for each metric of each model; shards and size stand in a model's first."""
    import humanize

    rows = []
    for holding in content.holdings:
        files = [str(holding.shards), humanize.naturalsize(holding.size)]
        for kept in holding.metrics:
            row = [content.name(holding.identity), holding.identity, kept.metric]
            row += [f"{getattr(kept, name):,}" for name in COUNTS]
            row += files
            row.append(content.stale(holding.identity, kept.metric))
            rows.append(row)
            files = ["", ""]
    return rows


def lines_of(
    header: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None
) -> list[str]:
    """Return the lines of a table: with rules on a terminal, in plain columns elsewhere.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        Cells as text; columns of numbers are aligned to the right.
    console
        Where it is to stand; None: stdout.

    Examples
    --------
    >>> lines_of(("metric", "rows"), [("dice@1", "44,352"), ("folding@1", "3,168")], Console(force_terminal=False))
    ['metric       rows', 'dice@1     44,352', 'folding@1   3,168']
    """
    console = console or Console()
    if console.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        console = Console(width=WIDE)
    for place, name in enumerate(header):
        cells = [row[place] for row in rows]
        numbers = all(cell[:1].isdigit() or not cell for cell in cells)
        table.add_column(name, justify="right" if numbers and name else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    with console.capture() as capture:
        console.print(table, markup=False, highlight=False)
    return [line.rstrip() for line in capture.get().splitlines()]
