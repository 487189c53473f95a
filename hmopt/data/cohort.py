"""The images of a cohort, the subjects that they are of, and what their labels mean."""

import os
import unicodedata
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.data.folders import list_folders
from hmopt.data.formats import find_copies, follow, image_name
from hmopt.data.manifest import check_files, check_names, read_manifest
from hmopt.data.names import BACKGROUND, LabelTable, read_label_table
from hmopt.data.people import find_doubts, session_entity
from hmopt.data.structures import (
    WHOLE_IMAGE,
    WHOLE_IMAGE_CODE,
    Structures,
    choose_structures,
)
from hmopt.data.volume import check_same_lattice, check_varied, read_image, read_labels
from hmopt.declaration import CohortOptions
from hmopt.errors import DataError
from hmopt.progress import Track, silent

_SESSION_COLUMNS = ("session", "ses", "visit", "timepoint", "time_point", "phase")
_MOST_CODES_SHOWN = 5
_MOST_FILES_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a manifest, or two folders, and a table of label names say; no image was opened.

    Parameters
    ----------
    images
        As of `Cohort`.
    notes
        What a user should know about the images, one sentence each.
    label_table
        What labels are called; None where there is no table.
    """

    images: pd.DataFrame
    notes: tuple[str, ...]
    label_table: LabelTable | None

    @property
    def has_labels(self) -> bool:
        """Whether there are label maps; without them each image stands in place of its own."""
        return not self.images["label"].equals(self.images["image"])

    @property
    def label_names(self) -> dict[int, str] | None:
        """Names of labels by code."""
        if self.label_table is None:
            return None
        return self.label_table.names


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Files and structures of a cohort, checked but not yet prepared.

    Parameters
    ----------
    images
        One row an image, by its unique name; columns `image` and `label` (paths; without label
        maps that of the image), `subject` (text), then any other columns of the manifest, as numbers
        where all values are numbers; among them `points` (paths or None), if images have points.
    structures
        Codes in the label maps by name of the structure.
    """

    images: pd.DataFrame
    structures: Structures


def list_cohort(options: CohortOptions) -> Listing:
    """Return the images and names of labels of a cohort, without opening an image.

    Raises
    ------
    DataError
        As `list_images`, or if the table of label names cannot be read.
    """
    images, notes = _list_images(options)
    label_table = _find_label_table(options)
    return Listing(images=images, notes=notes, label_table=label_table)


def list_images(options: CohortOptions) -> pd.DataFrame:
    """Return the table of images (see `Cohort.images`) without opening them.

    Raises
    ------
    DataError
        If there is no image, a file is not there, the manifest lacks a column or repeats an
        image, or one label map serves images of several subjects or sessions.
    """
    images, _ = _list_images(options)
    return images


def read_structures(listing: Listing, options: CohortOptions, track: Track = silent) -> Cohort:
    """Read every label map of a cohort once, and return which structures there are.

    Parameters
    ----------
    listing
        As of `list_cohort`.
    options
        The declared structures.
    track
        Shows how far it is.

    Raises
    ------
    DataError
        If a file is unreadable, a label map lies on another grid than its image or holds what is
        no label, or a label is not in the given table of names.

    Warns
    -----
    UserWarning
        If labels have no names (they are then called `label 1`, `label 2`, …), something of the
        files or of the table of names is not used, or names contradict the given subjects.
    """
    images = listing.images
    table = listing.label_table
    if not listing.has_labels:
        return _without_labels(listing, options)
    table_notes = () if table is None else table.notes
    for note in (*listing.notes, *table_notes):
        warnings.warn(note, stacklevel=3)
    codes: set[int] = set()
    errors: dict[Path, DataError] = {}
    files = images[["image", "label"]].itertuples(index=False, name=None)
    for image, label in track(files, "Checking labels", len(images)):
        try:
            codes |= _read_codes(image, label, table)
        except DataError as error:
            errors[label] = error
    _raise_first(errors, "label maps", len(images))
    if not codes:
        raise DataError(
            "cohort",
            expected="labelled voxels",
            got="background only",
            advice="Correct the label maps.",
        )
    names = _names_of(codes, listing.label_names, options)
    return Cohort(images=images, structures=choose_structures(options.structures, names))


def _without_labels(listing: Listing, options: CohortOptions) -> Cohort:
    """Return a cohort without label maps: the whole of each image is one structure."""
    for note in listing.notes:
        warnings.warn(note, stacklevel=4)
    if options.structures:
        raise DataError(
            "cohort.structures",
            expected="none, because the manifest has no column label",
            got=", ".join(options.structures),
            advice="Add label maps to the manifest, or leave structures out.",
        )
    return Cohort(images=listing.images, structures={WHOLE_IMAGE: (WHOLE_IMAGE_CODE,)})


def check_images(images: pd.DataFrame, track: Track = silent) -> None:
    """Read every image to its end.

    Parameters
    ----------
    images
        As of `list_images`.
    track
        Shows how far it is.

    Raises
    ------
    DataError
        As `read_image`, if one cannot be used, with the names of all that cannot; or if an image
        has one intensity everywhere.
    """
    errors: dict[Path, DataError] = {}
    for path in track(list(images["image"]), "Reading images", len(images)):
        try:
            check_varied(path, read_image(path))
        except DataError as error:
            errors[path] = error
    _raise_first(errors, "images", len(images))


def _list_images(options: CohortOptions) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the table of images, and what a user should know about it."""
    if options.manifest is not None:
        images = read_manifest(options.manifest)
        notes = tuple(find_doubts(list(images["subject"]), list(images["image"])))
    else:
        images, notes = list_folders(options.images, options.labels)
    for kind in ("image", "label"):
        check_files(list(images[kind]), kind)
    if "points" in images:
        check_files(list(images["points"].dropna()), "points")
    names = _unique_names(list(images["image"]))
    images.index = pd.Index(names, name="name")
    check_names(images, str(options.manifest or options.images))
    _check_own_label_maps(images)
    return images, notes


def _find_label_table(options: CohortOptions) -> LabelTable | None:
    """Read the declared table of label names, or the `dataset.json` beside the folders, or none."""
    if options.label_names is not None:
        return read_label_table(options.label_names)
    if options.images is None:
        return None
    beside = options.images.parent / "dataset.json"
    if not beside.exists() and not beside.is_symlink():
        return None
    return read_label_table(beside)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest names that tell images apart: file names, else with names of folders.

    `a/brain.nii` and `b/brain.nii` become `a_brain` and `b_brain`.
    """
    files = [follow(path) for path in paths]
    if len(set(files)) < len(files):
        first, second = _first_equal(files)
        same_name = paths[first].name == paths[second].name
        raise DataError(
            str(paths[first]),
            expected="each image once",
            got="several rows" if same_name else f"{paths[first].name} and {paths[second].name}",
            advice="Drop the repeated rows.",
        )
    parts = []
    for path in paths:
        # names are those that the user gave: a link's own, not that of what it leads to
        folder = Path(os.path.abspath(path)).parent  # noqa: PTH100
        place = str(folder / image_name(path))
        composed = Path(unicodedata.normalize("NFC", place))
        parts.append(composed.parts)
    deepest = max(len(names) for names in parts)
    for depth in range(1, deepest + 1):
        joined = ["_".join(names[-depth:]) for names in parts]
        if len(set(joined)) == len(joined):
            return joined
    first, second = _first_equal(parts)
    raise DataError(
        str(paths[first]),
        expected="names that differ",
        got=f"{paths[first].name} and {paths[second].name}",
        advice="Drop one of them.",
    )


def _first_equal(values: Sequence[Hashable]) -> tuple[int, int]:
    """Return the places of the first value that occurs again, and of its second occurrence."""
    repeated = pd.Series(list(values), dtype=object).duplicated()
    second = int(repeated.to_numpy().argmax())
    first = values.index(values[second])
    return first, second


def _check_own_label_maps(images: pd.DataFrame) -> None:
    """Refuse a label map of several subjects or sessions, or one that is its image.

    Images of one session may share one. Without label maps every image stands in place of its own.
    """
    is_image = images["label"] == images["image"]
    if is_image.any() and not is_image.all():
        raise DataError(
            str(images["label"][is_image].iloc[0]),
            expected="another file as label map than the image",
            got="the same",
            advice="Correct the label of the image.",
        )
    scans = pd.DataFrame(
        {
            "label": [follow(path) for path in images["label"]],
            "subject": images["subject"].to_numpy(),
            "session": _sessions(images),
        }
    )
    distinct = scans.drop_duplicates()
    conflicts = distinct.index[distinct["label"].duplicated()]
    if conflicts.empty:
        return
    conflict = conflicts[0]
    same_label = scans["label"] == scans["label"][conflict]
    first = int(same_label.to_numpy().argmax())
    names = f"{images['image'].iloc[first].name}, {images['image'].iloc[conflict].name}"
    raise DataError(
        str(images["label"].iloc[conflict]),
        expected="a label map of its own for every image",
        got=f"one for {same_label.sum()} images ({names}, …)",
        advice="Correct the label of each image.",
    )


def notes_on_copies(images: pd.DataFrame) -> list[str]:
    """Return which images, and which label maps of different subjects, are the same byte for byte.

    Parameters
    ----------
    images
        As of `list_images`.
    """
    notes = []
    copies = find_copies(list(images["image"]))
    if copies:
        what = "one scan could be trained on and searched. Drop one of them."
        notes.append(f"{_first_of(copies, 'image')}: {what}")
    if (images["label"] == images["image"]).all():
        return notes
    subjects = dict(zip(images["label"], images["subject"], strict=True))
    copies = find_copies(list(subjects))
    of_two = [(one, other) for one, other in copies if subjects[one] != subjects[other]]
    if of_two:
        notes.append(f"{_first_of(of_two, 'label map')}, of two subjects. Correct one of them.")
    return notes


def _first_of(copies: Sequence[tuple[Path, Path]], what: str) -> str:
    """Return the first pair of files with the same bytes, and how many there are, as a sentence without its end."""
    first, second = copies[0]
    count = f" (one of {len(copies)} such pairs)" if len(copies) > 1 else ""
    return f"{first} and {second} are the same {what}{count}"


def _sessions(images: pd.DataFrame) -> list[str]:
    """Return the session of every image, from a column of the manifest or else from its name."""
    for column in images:
        if str(column).lower() in _SESSION_COLUMNS:
            return images[column].map(str).tolist()
    return [session_entity(image_name(path)) or "" for path in images["image"]]


def _read_codes(image: Path, label: Path, table: LabelTable | None) -> set[int]:
    """Return the codes of a label map, which must lie on its image's voxels."""
    check_same_lattice(image, label)
    labels = read_labels(label)
    codes = set(np.unique(labels.data).tolist())
    codes.discard(BACKGROUND)
    if table is not None:
        codes -= table.ignored
        _check_named(label, codes, table.names)
    return codes


def _check_named(label: Path, codes: set[int], names: dict[int, str]) -> None:
    unknown = sorted(codes - set(names))
    if not unknown:
        return
    shown = ", ".join(str(code) for code in unknown[:_MOST_CODES_SHOWN])
    more = ", …" if len(unknown) > _MOST_CODES_SHOWN else ""
    raise DataError(
        str(label),
        expected="labels of the given table of names",
        got=f"{shown}{more}, which it lacks",
        advice="Add their names to the table, or correct the label map.",
    )


def _raise_first(errors: dict[Path, DataError], kind: str, count: int) -> None:
    """Raise what is wrong with the first file, with the names of all others."""
    if not errors:
        return
    first = next(iter(errors.values()))
    others = [path.name for path in errors][1:]
    if not others:
        raise first
    shown = ", ".join(others[:_MOST_FILES_SHOWN])
    hidden = len(others) - _MOST_FILES_SHOWN
    more = f" and {hidden} more" if hidden > 0 else ""
    raise DataError(
        "cohort",
        expected=f"{count} {kind} that can be used",
        got=f"{len(errors)} that cannot",
        advice=f"The first is {first} The others are {shown}{more}.",
    )


def _names_of(
    codes: set[int], names: dict[int, str] | None, options: CohortOptions
) -> dict[int, str]:
    """Return the names from which structures are chosen, by code."""
    if names is None:
        if not options.structures:
            warnings.warn(
                "labels have no names and are called `label 1`, `label 2`, …: "
                "give a table as `label_names`.",
                stacklevel=4,
            )
        return {code: f"label {code}" for code in codes}
    if options.structures:
        # a declared structure may name a label that no image of a small cohort happens to show
        return names
    return {code: names[code] for code in codes}
