"""`hmopt new`: from a folder of labelled images to a declared study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hmopt.cli.conversation import Conversation, conversation
from hmopt.cli.estimate import Estimate, estimate_study
from hmopt.cli.inference import infer_study
from hmopt.cli.options import Debug, Quiet
from hmopt.cli.place import written_path
from hmopt.cli.progress import duration
from hmopt.data.split import describe_power, split_subjects
from hmopt.declaration import FILE_NAME, CohortOptions, Study
from hmopt.declaration.document import write_document
from hmopt.errors import DeclarationError
from hmopt.files import check_outputs, real_place, replacing

if TYPE_CHECKING:
    from hmopt.data.inspection import Inspection

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Where the study goes.", show_default=False)
]
Images = Annotated[Path | None, typer.Option("--images", help="Folder of images, one a subject.")]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="Folder of label maps, named as the images are.")
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
    """Look at the data, say what is there, and write FOLDER/study.toml with a comment at each key."""
    with conversation(f"hmopt new {folder} …", quiet=quiet, debug=debug) as talk:
        given = {
            "images": images,
            "labels": labels,
            "manifest": manifest,
            "label_names": label_names,
        }
        new_study(folder, {name: path for name, path in given.items() if path is not None}, talk)


def new_study(folder: Path, paths: dict[str, Path], talk: Conversation) -> None:
    """Look at the data of a cohort and write the declaration of a study of it."""
    from hmopt.data.cohort import check_images, list_images
    from hmopt.data.inspection import inspect_cohort

    destination = folder / FILE_NAME
    if destination.exists():
        raise DeclarationError(
            str(destination),
            expected="no study yet",
            got="one",
            advice="Edit it, or choose another folder.",
        )
    _check_source(paths)
    check_outputs({"FOLDER": destination}, {f"--{name}": path for name, path in paths.items()})
    declared = CohortOptions(**{name: real_place(path) for name, path in paths.items()})
    check_images(list_images(declared), talk.track)
    found = inspect_cohort(declared, talk.track)
    section = CohortOptions(**{name: written_path(path, folder) for name, path in paths.items()})
    study, remarks = infer_study(folder.resolve().name, section, found)
    split = describe_split(study, found)
    for line in (*describe(found), split, *describe_estimate(_estimate(study, found))):
        talk.say(line)
    with replacing(destination) as beside:
        beside.write_text(write_document(study, remarks), encoding="utf-8")
    talk.say(f"Declared: {destination}. Read it through, then: hmopt run {folder}")


def describe(found: "Inspection") -> list[str]:
    """Give what was found, a line for each kind of fact."""
    subjects, pairs = found.subjects, found.pairs
    lines = [f"Cases: {len(found.scans)} images of {len(subjects)} subjects"]
    for name, values, unit in (
        ("Shapes", found.shapes, "voxels"),
        ("Spacings", found.spacings_mm, "mm"),
    ):
        low, high = (
            " x ".join(f"{value:g}" for value in side)
            for side in (values.min(axis=0), values.max(axis=0))
        )
        lines.append(f"{name}: {low} {unit}" if low == high else f"{name}: {low} to {high} {unit}")
    lines.append("Structures:")
    facts: dict[str, dict[str, float]] = found.structures.to_dict("index")  # type: ignore[assignment]
    lines += [
        f"  {name}: {fact['volume_mm3'] / 1000:.3g} ml, {fact['voxels']:.0f} voxels, in {fact['images']:.0f} images"
        for name, fact in facts.items()
    ]
    lines.append(f"Pairs: {pairs['cross']} between subjects, {pairs['within']} within one")
    in_world, centred = found.placement.distance_in_world_mm, found.placement.distance_centred_mm
    lines.append(
        f"Centres of the labels: {in_world:.3g} mm apart by headers, {centred:.3g} mm with images centred"
    )
    lines += [f"Headers: {remark}" for remark in found.headers.remarks]
    lines.append(f"Placement: {found.advice}")
    return lines


def describe_split(study: Study, found: "Inspection") -> str:
    """Give how many subjects train and how many are searched, and what that can tell."""
    sides = split_subjects(list(found.subjects), study.split)
    train, tune, search = (len(sides[side]) for side in ("train", "tune", "search"))
    counts = f"Split: {train} subjects to train, {tune} to tune, {search} to search on."
    return f"{counts} {describe_power(search)}"


def describe_estimate(estimate: Estimate) -> list[str]:
    """Give how long the rest takes, in words.

    Examples
    --------
    >>> describe_estimate(Estimate(training_s=1200, search_s=100, disk_bytes=2.5e8))
    ['Time on this machine, roughly: training 20 min, search 2 min', 'Disk: 0.25 GB']
    """
    times = f"training {duration(estimate.training_s)}, search {duration(estimate.search_s)}"
    return [f"Time on this machine, roughly: {times}", f"Disk: {estimate.disk_bytes / 1e9:.2f} GB"]


def _estimate(study: Study, found: "Inspection") -> Estimate:
    slices = study.preprocessing.slices
    items = len(found.scans) * (len(slices.indices) if slices else 1)
    searched = study.split.search
    share = (searched if isinstance(searched, int) else len(searched)) / len(found.subjects)
    possible = {"cross": found.pairs["cross"] * share**2, "within": found.pairs["within"] * share}
    pairs = sum(
        min(study.pairs.search, round(possible[kind]))
        for kind in study.pairs.tasks
        if kind in possible
    )
    return estimate_study(study, items, pairs, len(found.cohort.structures))


def _check_source(paths: dict[str, Path]) -> None:
    if ("manifest" in paths) == ("images" in paths or "labels" in paths) or ("images" in paths) != (
        "labels" in paths
    ):
        raise DeclarationError(
            "hmopt new",
            expected="either --images and --labels, or --manifest",
            got=", ".join(f"--{name.replace('_', '-')}" for name in paths) or "neither",
            advice="Say where the data are.",
        )
