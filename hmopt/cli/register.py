"""`hmopt register`: two images from anywhere, with a trained model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hmopt.cli.choice import given_setting, parse_pairs, searched_setting
from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.device import find_device
from hmopt.cli.options import Debug, Device, Folder, Quiet
from hmopt.errors import DeclarationError, HmoptError
from hmopt.files import check_outputs
from hmopt.space import Setting, Space

if TYPE_CHECKING:
    from hmopt.interop.registration import Placement


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was asked for: values, or the scope whose best setting to take."""

    values: dict[str, str]
    criteria: dict[str, str]
    within_folding_limit: bool = False

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        if self.values and self.criteria:
            raise DeclarationError(
                "--regularization, --set",
                expected="either values or a scope (--label, --subject, --group)",
                got="both",
                advice="Leave one out.",
            )
        if self.values and self.within_folding_limit:
            raise DeclarationError(
                "--within-folding-limit",
                expected="a setting to be looked up",
                got="values",
                advice="Leave one out.",
            )


Image = Annotated[Path, typer.Argument(help="Anything that nibabel reads.", show_default=False)]
Moved = Annotated[
    Path, typer.Option("--moved", help="Where the moved image goes, as NIfTI.", show_default=False)
]
Displacement = Annotated[
    Path | None,
    typer.Option(
        "--displacement",
        help="Where the whole transformation goes. Left out: beside the moved image.",
    ),
]
Regularization = Annotated[
    float | None, typer.Option("--regularization", help="λ. Left out: the best one of the scope.")
]
Values = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another hyperparameter.")
]
Label = Annotated[
    str | None, typer.Option("--label", help="Take the best setting for this structure.")
]
Subject = Annotated[
    str | None, typer.Option("--subject", help="Take the best setting for this searched subject.")
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="COLUMN=VALUE", help="Take the best for a group: task=within."),
]
PlacementOption = Annotated[
    str | None,
    typer.Option(
        "--placement",
        metavar="header|centre|affine",
        help="How the images are laid on the model's grid. Left out: as those it was trained on.",
    ),
]
PLACEMENTS = ("header", "centre", "affine")

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
    with conversation(
        f"hmopt register {folder} {moving} {fixed} --moved {moved}", quiet=quiet, debug=debug
    ) as talk:
        given = parse_pairs("--set", values or [])
        given |= {} if regularization is None else {"regularization": str(regularization)}
        named = {"label": label, "subject": subject}
        criteria = {kind: value for kind, value in named.items() if value is not None}
        criteria |= parse_pairs("--group", group or [])
        beside = displacement or displacement_path(moved)
        choice = Choice(values=given, criteria=criteria, within_folding_limit=within_folding_limit)
        register_files(folder, (moving, fixed), (moved, beside), choice, device, talk, placement)


def displacement_path(moved: Path) -> Path:
    """Give the name of the displacement beside a moved image.

    Examples
    --------
    >>> displacement_path(Path("out/moved.nii.gz")).as_posix()
    'out/moved_displacement.nii.gz'
    """
    return moved.with_name(
        f"{moved.name.removesuffix('.gz').removesuffix('.nii')}_displacement.nii.gz"
    )


def register_files(
    folder: Path,
    files: tuple[Path, Path],
    destinations: tuple[Path, Path],
    choice: Choice,
    device: str | None,
    talk: Conversation,
    placement: str | None = None,
) -> None:
    """Register a moving to a fixed file and write the moved image and the displacement."""
    from hmopt.interop.displacement import check_name, save_image
    from hmopt.oracle import open_registrar

    for path in destinations:
        check_name(path)
    outputs = {"--moved": destinations[0], "--displacement": destinations[1]}
    check_outputs(
        outputs, {"MOVING": files[0], "FIXED": files[1]} | _images_of_study(folder, outputs)
    )
    registrar = open_registrar(folder, find_device(device), _placement(placement))
    setting = _setting(folder, registrar.space, choice, talk)
    found = registrar.register(*files, setting)
    for remark in found.remarks:
        typer.echo(f"warning: {remark}", err=True)
    save_image(found.moved, destinations[0])
    save_image(found.displacement, destinations[1])
    talk.say(f"Moved image: {destinations[0]}\nDisplacement: {destinations[1]}")


def _placement(given: str | None) -> "Placement | None":
    if given is None or given in PLACEMENTS:
        return cast("Placement | None", given)
    raise DeclarationError(
        "--placement", expected=" or ".join(PLACEMENTS), got=repr(given), advice="Choose one."
    )


def _images_of_study(folder: Path, outputs: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files that the study was made from, where an output is there already and could be one of them."""
    from hmopt.data.cohort import list_images
    from hmopt.declaration import read_study

    if not any(path.exists() for path in outputs.values()):
        return {}
    files = list((folder / "prepared").glob("*/template.nii.gz"))
    try:
        cohort = read_study(folder).cohort
        folders = [one for one in (cohort.images, cohort.labels) if one is not None]
        files += [path for one in folders if one.is_dir() for path in one.iterdir()]
        if cohort.manifest is not None:
            images = list_images(cohort)
            files += [*images["image"], *images["label"]]
    except HmoptError:
        pass  # a model is enough to register with: the cohort may be elsewhere
    return {f"{path} of the study": path for path in files}


def _setting(folder: Path, space: Space, choice: Choice, talk: Conversation) -> Setting:
    if choice.values:
        setting, advice = given_setting(space, choice.values), None
    else:
        found = searched_setting(folder, choice.criteria)
        setting = found.chosen(within_folding_limit=choice.within_folding_limit)
        advice = None if choice.within_folding_limit else found.advice()
    talk.say("Setting: " + ", ".join(f"{name} {value:g}" for name, value in setting.items()))
    if advice is not None:
        talk.say(advice)
    return setting
