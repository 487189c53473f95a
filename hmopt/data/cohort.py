"""The images of a cohort, whom they are of, and what their labels mean."""

import os
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.data.folders import list_folders
from hmopt.data.formats import follow, image_name
from hmopt.data.manifest import check_files, read_manifest
from hmopt.data.names import BACKGROUND, LabelTable, read_label_table
from hmopt.data.people import find_doubts, session_entity
from hmopt.data.structures import Structures, choose_structures
from hmopt.data.volume import check_same_lattice, read_image, read_labels
from hmopt.declaration import CohortOptions
from hmopt.errors import DataError
from hmopt.progress import Track, silent

__all__ = ["Cohort", "check_images", "find_label_names", "image_name", "list_images", "read_cohort"]

_SESSION_COLUMNS = ("session", "ses", "visit", "timepoint", "time_point", "phase")


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Files and meaning of a cohort, checked but not yet prepared.

    Parameters
    ----------
    images
        One row an image, by its unique name; columns `image` and `label` (paths), `subject` (text), then any other
        columns of the manifest, as numbers where all values are numbers.
    structures
        Codes in the label maps by name of the structure.
    """

    images: pd.DataFrame
    structures: Structures


def read_cohort(section: CohortOptions, track: Track = silent) -> Cohort:
    """Return the images and structures of a cohort; reads every label map once.

    Raises
    ------
    DataError
        If a file is missing or unreadable, a label map lies on another grid than its image or holds what is no label,
        or a label is not in the given table of names.

    Warns
    -----
    UserWarning
        If labels have no names (they are then called `label 1`, `label 2`, …), or something of the files or of the
        table of names is not used, or names speak against the given subjects.
    """
    images, notes = _list(section)
    table = _find_label_table(section)
    for note in (*notes, *(table.notes if table is not None else ())):
        warnings.warn(note, stacklevel=2)
    codes: set[int] = set()
    broken: list[tuple[Path, DataError]] = []
    rows = zip(images["image"], images["label"], strict=True)
    for image, label in track(rows, "Checking labels", len(images)):
        try:
            codes |= _read_codes(image, label, table)
        except DataError as error:
            broken.append((label, error))
    _raise(broken, "label maps", len(images))
    if not codes:
        raise DataError(
            "cohort",
            expected="labelled voxels",
            got="background only",
            advice="Correct the label maps.",
        )
    names = None if table is None else table.names
    return Cohort(
        images=images,
        structures=choose_structures(section.structures, _named(codes, names, section)),
    )


def check_images(images: pd.DataFrame, track: Track = silent) -> None:
    """Read every image through to its end.

    Parameters
    ----------
    images
        As `list_images` gives them.
    track
        Shows how far it is.

    Raises
    ------
    DataError
        As `read_image`, if one cannot be used, with the names of all that cannot; or if an image has one intensity
        everywhere.
    """
    broken: list[tuple[Path, DataError]] = []
    for path in track(list(images["image"]), "Reading images", len(images)):
        try:
            _check_varied(path, read_image(path).data)
        except DataError as error:
            broken.append((path, error))
    _raise(broken, "images", len(images))


def list_images(section: CohortOptions) -> pd.DataFrame:
    """Return the table of images (see `Cohort.images`) without opening them.

    Raises
    ------
    DataError
        If there is no image, a file is not there, the manifest lacks a column or repeats an image, or one label map
        serves images of several persons or sessions.
    """
    images, _ = _list(section)
    return images


def find_label_names(section: CohortOptions) -> dict[int, str] | None:
    """Return the names of labels by code, from the declared table or a `dataset.json` beside the folders, or None."""
    table = _find_label_table(section)
    return None if table is None else table.names


def _find_label_table(section: CohortOptions) -> LabelTable | None:
    if section.label_names is not None:
        return read_label_table(section.label_names)
    beside = section.images.parent / "dataset.json" if section.images is not None else None
    return read_label_table(beside) if beside is not None and beside.is_file() else None


def _list(section: CohortOptions) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the table of images, and what a user should know about it."""
    if section.manifest is not None:
        table = read_manifest(section.manifest)
        notes = tuple(find_doubts(list(table["subject"]), list(table["image"])))
    else:
        listing = list_folders(section.images, section.labels)
        table, notes = listing.images, listing.notes
    for kind in ("image", "label"):
        check_files(list(table[kind]), kind)
    table.index = pd.Index(_unique_names(list(table["image"])), name="name")
    _check_label_maps_once(table)
    return table, notes


def _unique_names(paths: Sequence[Path]) -> list[str]:
    resolved = [follow(path) for path in paths]
    if len(set(resolved)) < len(resolved):
        same = _first_equal(resolved)
        files = " and ".join(paths[place].name for place in same)
        got = files if len({paths[place].name for place in same}) > 1 else "several rows"
        advice = "Drop the repeated rows."
        raise DataError(str(paths[same[0]]), expected="each image once", got=got, advice=advice)
    # names are those that the user gave: a link's own, not that of what it leads to
    parts = [(*Path(os.path.abspath(path)).parent.parts, image_name(path)) for path in paths]  # noqa: PTH100
    parts = [tuple(unicodedata.normalize("NFC", part) for part in one) for one in parts]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["_".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    same = _first_equal(parts)
    got = " and ".join(paths[place].name for place in same)
    raise DataError(
        str(paths[same[0]]), expected="names that differ", got=got, advice="Drop one of them."
    )


def _first_equal(values: Sequence[Any]) -> list[int]:
    """Return the first two places that hold the same value."""
    seen: dict[Any, int] = {}
    for place, value in enumerate(values):
        if value in seen:
            return [seen[value], place]
        seen[value] = place
    return []


def _check_label_maps_once(images: pd.DataFrame) -> None:
    """Refuse a label map of several persons or sessions; images of one session may share theirs."""
    column = next((name for name in images if str(name).lower() in _SESSION_COLUMNS), None)
    first: dict[Path, tuple[Path, tuple[str, str]]] = {}
    for row, (image, label, subject) in enumerate(
        images[["image", "label", "subject"]].itertuples(index=False)
    ):
        session = (
            str(images[column].iloc[row])
            if column is not None
            else session_entity(image_name(image)) or ""
        )
        scan = (subject, session)
        real = follow(label)
        earlier, of_earlier = first.setdefault(real, (image, scan))
        if scan != of_earlier:
            count = sum(follow(path) == real for path in images["label"])
            raise DataError(
                str(label),
                expected="a label map of its own for every image",
                got=f"one for {count} images ({earlier.name}, {image.name}, …)",
                advice="Correct the label of each image.",
            )


def _check_varied(path: Path, intensities: NDArray[np.float32]) -> None:
    lowest, highest = float(intensities.min()), float(intensities.max())
    if lowest == highest:
        advice = "Replace the file or take it out."
        raise DataError(
            str(path),
            expected="intensities that differ",
            got=f"{lowest:g} everywhere",
            advice=advice,
        )


def _read_codes(image: Path, label: Path, table: LabelTable | None) -> set[int]:
    """Return the codes of a label map that lies on its image's voxels."""
    check_same_lattice(image, label)
    found = {int(code) for code in np.unique(read_labels(label).data)} - {BACKGROUND}
    if table is not None:
        found -= table.ignored
        _check_named(label, found, table.names)
    return found


def _raise(broken: Sequence[tuple[Path, DataError]], kind: str, count: int) -> None:
    """Raise what is wrong with the first file, with the names of all others."""
    if not broken:
        return
    _, first = broken[0]
    others = [path.name for path, _ in broken[1:]]
    if not others:
        raise first
    shown = ", ".join(others[:20]) + (f" and {len(others) - 20} more" if len(others) > 20 else "")
    raise DataError(
        "cohort",
        expected=f"{count} {kind} that can be used",
        got=f"{len(broken)} that cannot",
        advice=f"The first is {first} The others are {shown}.",
    )


def _check_named(label: Path, found: set[int], names: dict[int, str]) -> None:
    unknown = sorted(found - set(names))
    if unknown:
        raise DataError(
            str(label),
            expected="labels of the given table of names",
            got=f"{', '.join(map(str, unknown[:5]))}{', …' if len(unknown) > 5 else ''}, which it lacks",
            advice="Add their names to the table, or correct the label map.",
        )


def _named(codes: set[int], names: dict[int, str] | None, section: CohortOptions) -> dict[int, str]:
    if names is None:
        if not section.structures:
            warnings.warn(
                "labels have no names and are called `label 1`, `label 2`, …: give a table as `label_names`.",
                stacklevel=3,
            )
        return {code: f"label {code}" for code in codes}
    # a declared structure may name a label that no image of a small cohort happens to show
    return names if section.structures else {code: names[code] for code in codes}
