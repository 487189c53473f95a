"""`hmopt export`: studies of any scopes into any Optuna storage."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hmopt.cli.choice import parse_pairs
from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.options import Debug, Folder, Quiet

if TYPE_CHECKING:
    from hmopt.ledger import Measurements, Searched
    from hmopt.search.scopes import Scope

COHORT = "cohort"

Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="HMOPT_STORAGE",
        help="Where to: an Optuna storage URL, as sqlite:///all.db or postgresql://user:password@host/database.",
        show_default=False,
    ),
]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="KIND=VALUE,…",
        help="Which: cohort, or values by kind (label, task, subject, a column), * for every value; can be repeated. "
        "Left out: every declared scope.",
        show_default=False,
    ),
]


def export(
    folder: Folder,
    storage: Storage,
    scope: Scopes = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write Optuna studies of any scopes into any storage. Needs neither model nor torch."""
    with conversation(
        f"hmopt export {folder} with the same options", quiet=quiet, debug=debug
    ) as talk:
        export_studies(folder, storage, scope or [], talk)


def export_studies(folder: Path, url: str, asked: Sequence[str], talk: Conversation) -> None:
    """Write the studies of the scopes that were asked for, or of all declared ones."""
    from hmopt.search.storage import open_storage
    from hmopt.search.studies import write_studies
    from hmopt.study_folder import StudyFolder

    criteria = [parse_scope(text) for text in asked]
    files = StudyFolder(folder)
    searched, measurements = files.searched, files.measurements()
    scopes = chosen_scopes(criteria, searched, measurements)
    storage = open_storage(folder, url)
    names = write_studies(measurements, scopes, searched.search, searched.name, storage, talk.track)
    talk.say(f"Exported: {len(names)} studies")


def parse_scope(text: str) -> dict[str, str]:
    """Give the criteria that a `--scope` says; none: the cohort.

    Raises
    ------
    DeclarationError
        If it has another form.

    Examples
    --------
    >>> parse_scope("label=thalamus, subject=*")
    {'label': 'thalamus', 'subject': '*'}
    >>> parse_scope("cohort")
    {}
    """
    return (
        {}
        if text.strip() == COHORT
        else parse_pairs("--scope", [part.strip() for part in text.split(",")])
    )


def chosen_scopes(
    asked: "Sequence[dict[str, str]]", searched: "Searched", measurements: "Measurements"
) -> "list[Scope]":
    """Give the scopes of criteria, each once; every declared one where there are no criteria."""
    from hmopt.search.scopes import expand_scope, list_scopes

    section, pairs, labels = searched.search, measurements.pairs, measurements.labels
    if not asked:
        return list_scopes(section, pairs, labels)
    found = [
        expand_scope(criteria, pairs, labels, section.min_paired_subjects) for criteria in asked
    ]
    return list(dict.fromkeys(scope for scopes in found for scope in scopes))
