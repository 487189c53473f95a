"""The images of a cohort, whom they are of, and what their labels mean."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.data.names import BACKGROUND, read_label_names
from hmopt.data.structures import Structures, choose_structures
from hmopt.data.volume import check_same_lattice, read_labels
from hmopt.declaration import CohortSection
from hmopt.errors import DataError
from hmopt.progress import Track, silent

REQUIRED = ("image", "label", "subject")
_RESERVED = ("name", "scan", "slice", "split", "pair", "moving", "fixed", "moving_subject", "fixed_subject", "task")
_EXTENSION = re.compile(r"(\.nii|\.mgh|\.mgz|\.img|\.hdr|\.mnc|\.nrrd)?(\.gz|\.bz2|\.zst)?$")


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


def read_cohort(section: CohortSection, track: Track = silent) -> Cohort:
    """Give the images and structures of a cohort; reads every label map once.

    Raises
    ------
    DataError
        If a file is missing or unreadable, a label map lies on another grid than its image or holds what is no label,
        or a label is not in the given table of names.

    Warns
    -----
    UserWarning
        If labels have no names: they are then called `label 1`, `label 2`, ….
    """
    images = list_images(section)
    names = find_label_names(section)
    codes: set[int] = set()
    rows = zip(images["image"], images["label"], strict=True)
    for image, label in track(rows, "Checking labels", len(images)):
        check_same_lattice(image, label)
        found = {int(code) for code in np.unique(read_labels(label).data)} - {BACKGROUND}
        _check_named(label, found, names)
        codes |= found
    if not codes:
        raise DataError("cohort", expected="labelled voxels", got="background only", advice="Correct the label maps.")
    return Cohort(images=images, structures=choose_structures(section.structures, _named(codes, names, section)))


def list_images(section: CohortSection) -> pd.DataFrame:
    """Give the table of images (see `Cohort.images`) without opening them.

    Raises
    ------
    DataError
        If there is no image, a file is not there, or the manifest lacks a column or repeats an image.
    """
    if section.manifest is not None:
        table = _from_manifest(section.manifest)
    else:
        table = _from_folders(section.images, section.labels)
    for kind in ("image", "label"):
        for path in table[kind]:
            if not path.is_file():
                raise DataError(str(path), expected=f"the {kind} file", got="no file", advice="Add it or drop the row.")
    table.index = pd.Index(_unique_names(list(table["image"])), name="name")
    return table


def find_label_names(section: CohortSection) -> dict[int, str] | None:
    """Give the names of labels by code, from the declared table or a `dataset.json` beside the folders, or None."""
    if section.label_names is not None:
        return read_label_names(section.label_names)
    beside = section.images.parent / "dataset.json" if section.images is not None else None
    return read_label_names(beside) if beside is not None and beside.is_file() else None


def image_name(path: Path) -> str:
    """Give a file's name without the endings of image formats.

    Examples
    --------
    >>> image_name(Path("sub-1.0_T1w.nii.gz"))
    'sub-1.0_T1w'
    """
    return _EXTENSION.sub("", path.name)


def _from_manifest(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(str(path), expected="a CSV manifest", got=reason, advice="Correct the file.") from error
    lacking = [column for column in REQUIRED if column not in table]
    if lacking or table.empty:
        got = f"no {', '.join(lacking)}" if lacking else "no rows"
        raise DataError(str(path), expected=f"columns {', '.join(REQUIRED)} and rows", got=got, advice="Add them.")
    reserved = [column for column in table if column in _RESERVED]
    if reserved:
        raise DataError(
            str(path), expected="columns with names of their own", got=", ".join(reserved), advice="Rename them."
        )
    for column in REQUIRED:
        if (table[column].str.strip() == "").any():
            row = int((table[column].str.strip() == "").to_numpy().argmax()) + 2
            raise DataError(f"{path}, line {row}", expected=f"a value for {column}", got="none", advice="Add it.")
    files = {kind: [path.parent / value for value in table[kind]] for kind in ("image", "label")}
    others = {str(c): _typed(table[c]) for c in table.columns if c not in REQUIRED}
    return pd.DataFrame({**files, "subject": table["subject"], **others})


def _typed(column: "pd.Series[str]") -> "pd.Series":
    given = column[column != ""]
    padded = given.str.match(r"[+-]?0\d").any()
    numbers = pd.to_numeric(column.where(column != ""), errors="coerce")
    return column if padded or given.empty or numbers[given.index].isna().any() else numbers


def _from_folders(images: Path | None, labels: Path | None) -> pd.DataFrame:
    if images is None or not images.is_dir() or labels is None or not labels.is_dir():
        folder = images if images is None or not images.is_dir() else labels
        raise DataError(str(folder), expected="a folder of images", got="none", advice="Correct the path.")
    # macOS archives of the Decathlon carry "._" files beside the images
    files = sorted(path for path in images.iterdir() if path.is_file() and not path.name.startswith("."))
    files = [path for path in files if path.name != image_name(path)]
    if not files:
        raise DataError(str(images), expected="images", got="none", advice="Give the folder that holds them.")
    subjects = [image_name(path) for path in files]
    return pd.DataFrame({"image": files, "label": [labels / path.name for path in files], "subject": subjects})


def _unique_names(paths: list[Path]) -> list[str]:
    resolved = [path.resolve() for path in paths]
    repeated = {path for path in resolved if resolved.count(path) > 1} if len(set(resolved)) < len(resolved) else set()
    if repeated:
        first = min(repeated)
        raise DataError(str(first), expected="each image once", got="several rows", advice="Drop the repeated rows.")
    parts = [(*path.parts[:-1], image_name(path)) for path in resolved]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["_".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise DataError(
        str(paths[0]), expected="names that differ", got="one image in two formats", advice="Drop one of them."
    )


def _check_named(label: Path, found: set[int], names: dict[int, str] | None) -> None:
    unknown = sorted(found - set(names)) if names is not None else []
    if unknown:
        raise DataError(
            str(label),
            expected="labels of the given table of names",
            got=f"{', '.join(map(str, unknown[:5]))}{', …' if len(unknown) > 5 else ''}, which it lacks",
            advice="Add their names to the table, or correct the label map.",
        )


def _named(codes: set[int], names: dict[int, str] | None, section: CohortSection) -> dict[int, str]:
    if names is None:
        if not section.structures:
            warnings.warn(
                "labels have no names and are called `label 1`, `label 2`, …: give a table as `label_names`.",
                stacklevel=3,
            )
        return {code: f"label {code}" for code in codes}
    # a declared structure may name a label that no image of a small cohort happens to show
    return names if section.structures else {code: names[code] for code in codes}
