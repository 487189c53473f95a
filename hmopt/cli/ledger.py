"""`hmopt ledger`: what was measured, and what of it is still of use."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.options import Debug, Folder, Quiet
from hmopt.cli.table import lines_of

if TYPE_CHECKING:
    from hmopt.ledger.ledger import Holding

HEADER = (
    "model",
    "identity",
    "metric",
    "settings",
    "pairs",
    "labels",
    "rows",
    "shards",
    "size",
    "",
)

Compact = Annotated[
    bool, typer.Option("--compact", help="Bring the shards of each model together into one.")
]


def ledger(
    folder: Folder, compact: Compact = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Say what is in the ledger of a study: of which models, which metrics, how much, and what is stale."""
    with conversation(f"hmopt ledger {folder}", quiet=quiet, debug=debug) as talk:
        show_ledger(folder, compact, talk)


def show_ledger(folder: Path, compact: bool, talk: Conversation) -> None:
    """Print the table of what a ledger holds, after bringing its shards together where that was asked for."""
    from hmopt.errors import LedgerError
    from hmopt.study_folder import StudyFolder

    kept = StudyFolder(folder).ledger
    holdings = kept.holdings()
    if not holdings:
        raise LedgerError(
            str(folder), expected="measurements", got="none", advice="Run `hmopt search` first."
        )
    if compact:
        kept.compact()
        before, holdings = holdings, kept.holdings()
        talk.say(f"Before: {total(before)}")
        talk.say(f"Now:    {total(holdings)}")
    models = model_names(folder)
    rows = [row for holding in holdings for row in table_rows(holding, models)]
    for line in lines_of(HEADER, rows):
        talk.say(line)
    talk.say(stale_line(holdings, models))


def model_names(folder: Path) -> dict[str, str]:
    """Give what the identities of a searched folder's models stand for, and of what they were compared with.

    Empty where it was not searched.
    """
    from hmopt.errors import LedgerError
    from hmopt.ledger.searched import MODELS
    from hmopt.study_folder import StudyFolder

    files = StudyFolder(folder)
    try:
        searched = files.searched
    except LedgerError:
        return {}
    comparison = files.comparison
    compared = (
        {} if comparison is None else {one.identity: one.name for one in comparison.baselines}
    )
    names = {searched.identity_of(model): model for model in MODELS}
    return compared | {identity: name for identity, name in names.items() if identity is not None}


def table_rows(holding: "Holding", models: Mapping[str, str]) -> list[list[str]]:
    """Give the rows of one model: one for each metric; shards and size stand in the first."""
    rows = []
    for place, kept in enumerate(holding.metrics):
        counts = [f"{count:,}" for count in (kept.settings, kept.pairs, kept.labels, kept.rows)]
        files = [str(holding.shards), size_text(holding.size)] if place == 0 else ["", ""]
        name = models.get(holding.identity, "other")
        rows.append(
            [
                name,
                holding.identity,
                kept.metric,
                *counts,
                *files,
                stale(holding.identity, kept.metric, models),
            ]
        )
    return rows


def stale(identity: str, metric: str, models: Mapping[str, str]) -> str:
    """Give why measurements are of no more use, or nothing where they are."""
    from hmopt.catalogue import METRICS

    name = metric.split("@")[0]
    if name not in METRICS:
        return "unknown metric: no plugin that adds it"
    if METRICS[name].key != metric:
        return "stale: metric of another version"
    return "stale: no such model here" if models and identity not in models else ""


def stale_line(holdings: "Sequence[Holding]", models: Mapping[str, str]) -> str:
    """Give how much is stale."""
    every = [(holding.identity, kept) for holding in holdings for kept in holding.metrics]
    old = sum(
        kept.rows
        for identity, kept in every
        if stale(identity, kept.metric, models).startswith("stale")
    )
    return f"Stale: {old:,} of {sum(kept.rows for _, kept in every):,} rows"


def total(holdings: "Sequence[Holding]") -> str:
    """Give how much there is in all."""
    rows = sum(kept.rows for holding in holdings for kept in holding.metrics)
    size = sum(holding.size for holding in holdings)
    return f"{rows:,} rows in {sum(holding.shards for holding in holdings):,} shards, {size_text(size)}"


def size_text(size: float) -> str:
    """Give a number of bytes as people say it.

    Examples
    --------
    >>> size_text(900), size_text(18_500), size_text(3.2e9)
    ('900 B', '18.5 kB', '3.2 GB')
    """
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
