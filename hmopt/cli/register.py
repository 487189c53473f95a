"""`hmopt register`: two images from anywhere, with a trained model."""

from pathlib import Path
from typing import Annotated

import typer

import hmopt
from hmopt.cli.conversation import conversation
from hmopt.cli.options import Debug, Device, Folder, Quiet

Image = Annotated[Path, typer.Argument(help="Anything that nibabel reads.", show_default=False)]
Moved = Annotated[
    Path, typer.Option("--moved", help="Where the moved image goes, as NIfTI.", show_default=False)
]
Displacement = Annotated[
    Path | None,
    typer.Option(
        "--displacement",
        help="Where the whole transformation goes. Default: beside the moved image.",
    ),
]
Regularization = Annotated[
    float | None,
    typer.Option("--regularization", help="λ. Default: the best one of the scope."),
]
Values = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another hyperparameter.")
]
ScopeOption = Annotated[
    str | None,
    typer.Option(
        "--scope",
        metavar="KIND=VALUE,…",
        help="Take the best setting of a scope: cohort, or values by kind (label, task, subject, a column). "
        "Default: cohort.",
    ),
]
Label = Annotated[str | None, typer.Option("--label", help="Short for --scope label=….")]
Subject = Annotated[str | None, typer.Option("--subject", help="Short for --scope subject=….")]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group", metavar="COLUMN=VALUE", help="One more part of the scope: task=within."
    ),
]
PlacementOption = Annotated[
    str | None,
    typer.Option(
        "--placement",
        metavar="header|centre|affine",
        help="How the images are laid on the model's grid. Default: as in training.",
    ),
]
WithinLimit = Annotated[
    bool,
    typer.Option(
        "--within-folding-limit",
        help="Take the best setting of those that obey search.folding_limit.",
    ),
]


def register(
    folder: Folder,
    moving: Image,
    fixed: Image,
    moved: Moved,
    displacement: Displacement = None,
    regularization: Regularization = None,
    values: Values = None,
    scope: ScopeOption = None,
    label: Label = None,
    subject: Subject = None,
    group: Groups = None,
    placement: PlacementOption = None,
    within_folding_limit: WithinLimit = False,
    device: Device = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Register a moving to a fixed image; the result lies on the fixed image's grid, the transformation beside it.

    Without a value or a scope, the best setting of the whole cohort is taken.
    """
    again = f"hmopt register {folder} {moving} {fixed} --moved {moved}"
    with conversation(again, quiet=quiet, debug=debug) as talk:
        registered = hmopt.register(
            folder,
            moving,
            fixed,
            moved=moved,
            displacement=displacement,
            setting=_setting(regularization, values),
            scope=_criteria(scope, label, subject, group),
            within_folding_limit=within_folding_limit,
            placement=placement,
            device=device,
        )
        for remark in registered.remarks:
            typer.echo(f"warning: {remark}", err=True)
        talk.say(registered)


def _setting(regularization: float | None, values: list[str] | None) -> dict[str, float | str]:
    """Return the values that were given, by hyperparameter."""
    from hmopt.search.scopes import parse_pairs

    setting: dict[str, float | str] = {}
    setting.update(parse_pairs("--set", values or []))
    if regularization is not None:
        setting["regularization"] = regularization
    return setting


def _criteria(
    scope: str | None, label: str | None, subject: str | None, group: list[str] | None
) -> dict[str, str]:
    """Return the criteria of the scope that was asked for."""
    from hmopt.search.scopes import parse_pairs, parse_scope

    criteria = {} if scope is None else parse_scope(scope)
    if label is not None:
        criteria["label"] = label
    if subject is not None:
        criteria["subject"] = subject
    criteria.update(parse_pairs("--group", group or []))
    return criteria
