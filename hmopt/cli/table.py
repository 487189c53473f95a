"""Tables on stdout: with rules on a terminal, in plain columns elsewhere."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def lines_of(
    header: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None
) -> list[str]:
    """Give the lines of a table; columns of numbers are aligned to the right.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        Cells as text.
    console
        Where it is to stand; left out: stdout. What is no terminal cuts no line.

    Examples
    --------
    >>> lines_of(("metric", "rows"), [("dice@1", "44,352"), ("folding@1", "3,168")], Console(force_terminal=False))
    ['metric       rows', 'dice@1     44,352', 'folding@1   3,168']
    """
    console = console or Console()
    plain = not console.is_terminal
    table = Table(
        box=None if plain else box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2 if plain else 1, 0, 0)
    )
    for place, name in enumerate(header):
        numbers = all(row[place][:1].isdigit() or not row[place] for row in rows)
        table.add_column(name, justify="right" if numbers and name else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    wide = Console(width=10_000) if plain else console
    with wide.capture() as capture:
        wide.print(table, markup=False, highlight=False)
    return [line.rstrip() for line in capture.get().splitlines()]
