"""A cohort after preprocessing, on disk, opened one image at a time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.data.layout import NO_SLICE
from hmopt.data.reference import Reference
from hmopt.declaration import PreprocessingSection
from hmopt.errors import DataError

IMAGES, LABEL_MAPS, GRIDS, RECORD, TEMPLATE = "images.npy", "labels.npy", "grids.npy", "record.json", "template.nii.gz"
UNUSED = "unused"
OWN_COLUMNS = ("subject", "scan", "slice", "split")
"""Columns of `PreparedCohort.images` before those of the manifest."""


@dataclass(frozen=True, kw_only=True)
class PreparedCohort:
    """Images and label maps on their prepared grids, in the order of `images`.

    Parameters
    ----------
    folder
        Where the arrays are.
    images
        One row an item, by its name: the image's, or `{image}_slice-{index}`. Columns `subject`, `scan` (name of the
        image), `slice` (-1: none), `split` (`train`, `tune`, `search`, or `unused`), then those of the manifest.
    labels
        Names of the structures: k + 1 in a label map is `labels[k]`.
    shape
        Voxels of the prepared grid, 2 or 3 numbers.
    spacing_mm
        Their distances, as many; None: unknown.
    identity
        Hash of the files' contents, the merging of labels and the preprocessing.
    search_slices
        Slices on which λ is searched; empty: all.
    reference
        What the images are laid out by.
    """

    folder: Path
    images: pd.DataFrame
    labels: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    identity: str
    search_slices: tuple[int, ...] = ()
    reference: Reference = field(default_factory=Reference)

    @property
    def template(self) -> Path | None:
        """The image that all were aligned to, or None."""
        path = self.folder / TEMPLATE
        return path if path.is_file() else None

    def image(self, name: str) -> NDArray[np.float32]:
        """Give the normalized intensities of an item, of `shape`."""
        return np.array(_mapped(self.folder / IMAGES)[self._row(name)])

    def label_map(self, name: str) -> NDArray[Any]:
        """Give the label map of an item, of `shape`: uint8, or uint16 where there are more than 255 structures."""
        return np.array(_mapped(self.folder / LABEL_MAPS)[self._row(name)])

    def grid(self, name: str) -> NDArray[np.float64]:
        """Give the matrix from prepared voxel to voxel of the original file: (4, 4).

        A 2-D item's voxel is (first, second, 0, 1).
        """
        return np.array(_mapped(self.folder / GRIDS)[self._row(name)])

    def _row(self, name: str) -> int:
        if name not in self.images.index:
            raise DataError(
                "image", expected="the name of a prepared image", got=repr(name), advice="See `PreparedCohort.images`."
            )
        return cast(int, self.images.index.get_loc(name))


@lru_cache(maxsize=32)
def _mapped(path: Path) -> NDArray[Any]:
    # a folder's arrays never change under their content's key, so that an open map stays right
    mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def open_prepared(
    folder: Path, section: PreprocessingSection, images: pd.DataFrame, split: Mapping[str, Sequence[str]]
) -> PreparedCohort:
    """Give a prepared cohort whose arrays lie in a folder, with the present split and columns.

    Parameters
    ----------
    folder
        What `write_arrays` wrote, named by its identity.
    section
        The declared preprocessing.
    images
        As `list_images` gives them.
    split
        Subjects of each side.
    """
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    scans, slices = record["scans"], record["slices"]
    items = [(scan, index) for scan in scans for index in slices]
    names = [scan if index == NO_SLICE else f"{scan}_slice-{index}" for scan, index in items]
    side_of = {subject: side for side, subjects in split.items() for subject in subjects}
    subjects = images.loc[[scan for scan, _ in items], "subject"]
    table = pd.DataFrame(
        {
            "subject": subjects.to_numpy(),
            "scan": [scan for scan, _ in items],
            "slice": [index for _, index in items],
            "split": [side_of.get(subject, UNUSED) for subject in subjects],
        },
        index=pd.Index(names, name="name"),
    )
    return PreparedCohort(
        folder=folder,
        images=table.join(images.drop(columns=["image", "label", "subject"]), on="scan"),
        labels=tuple(record["labels"]),
        shape=tuple(section.shape),
        spacing_mm=None if record["spacing_mm"] is None else tuple(record["spacing_mm"]),
        identity=folder.name,
        search_slices=tuple(section.slices.search_indices) if section.slices else (),
        reference=Reference.from_record(record.get("reference")),
    )
