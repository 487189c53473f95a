"""`hmopt new`: from labelled images to a declared study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from numpy.typing import NDArray

import hmopt
from hmopt.cli.conversation import conversation
from hmopt.cli.options import Debug, Quiet

if TYPE_CHECKING:
    from hmopt.workflow.new import NewStudy

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Where the study goes.", show_default=False)
]
Images = Annotated[Path | None, typer.Option("--images", help="Folder of images, one a subject.")]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="Folder of label maps, with the names of the images."),
]
Manifest = Annotated[
    Path | None, typer.Option("--manifest", help="CSV: image, label, subject and any others.")
]
LabelNames = Annotated[
    Path | None,
    typer.Option(
        "--label-names", help="dseg.tsv, dataset.json, or a colour table of FreeSurfer or ITK-SNAP."
    ),
]


def new(
    folder: Folder,
    images: Images = None,
    labels: Labels = None,
    manifest: Manifest = None,
    label_names: LabelNames = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Inspect the data, print what was found, and write FOLDER/study.toml with a comment at each key."""
    with conversation(f"hmopt new {folder} …", quiet=quiet, debug=debug) as talk:
        made = hmopt.new(
            folder,
            images=images,
            labels=labels,
            manifest=manifest,
            label_names=label_names,
            track=talk.track,
        )
        for line in describe(made):
            talk.say(line)
        talk.say(made)


def describe(made: "NewStudy") -> list[str]:
    """Return what was found in the data, and what the study will take, a line for each kind of fact."""
    from hmopt.data.split import describe_power
    from hmopt.workflow.estimate import duration

    found, estimate = made.found, made.estimate
    lines = [
        f"Cases: {len(found.scans)} images of {len(found.subjects)} subjects",
        f"Shapes: {_range(found.shapes)} voxels",
        f"Spacings: {_range(found.spacings_mm)} mm",
        "Structures:",
    ]
    for name, facts in found.structures.iterrows():
        volume_ml = facts["volume_mm3"] / 1000
        lines.append(
            f"  {name}: {volume_ml:.3g} ml, {facts['voxels']:.0f} voxels, in {facts['images']:.0f} images"
        )
    pairs = found.pairs
    lines.append(f"Pairs: {pairs['cross']} between subjects, {pairs['within']} within one")
    in_world = found.placement.distance_in_world_mm
    centred = found.placement.distance_centred_mm
    lines.append(
        f"Centres of the labels: {in_world:.3g} mm apart by headers, {centred:.3g} mm with images centred"
    )
    lines += [f"Headers: {remark}" for remark in found.headers.remarks]
    lines.append(f"Placement: {found.advice}")

    subjects = made.subjects
    split = f"{subjects['train']} subjects to train, {subjects['tune']} to tune, {subjects['search']} to search on"
    lines.append(f"Split: {split}. {describe_power(subjects['search'])}")
    times = f"training {duration(estimate.training_s)}, search {duration(estimate.search_s)}"
    lines.append(f"Time on this machine, roughly: {times}")
    lines.append(f"Disk: {estimate.disk_bytes / 1e9:.2f} GB")
    return lines


def _range(values: NDArray[Any]) -> str:
    """Return the smallest and the largest of each column, as `80 x 96 to 80 x 100`; one where they are equal."""
    low = _product(values.min(axis=0))
    high = _product(values.max(axis=0))
    return low if low == high else f"{low} to {high}"


def _product(values: NDArray[Any]) -> str:
    parts = [f"{value:g}" for value in values]
    return " x ".join(parts)
