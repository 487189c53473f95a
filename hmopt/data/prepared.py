"""A cohort after preprocessing, on disk, opened one image at a time."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hmopt.data.layout import NO_SLICE
from hmopt.data.reference import Reference
from hmopt.data.volume import read_lattice
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError
from hmopt.files import one_line, read_json, read_record, write_json

IMAGES, LABEL_MAPS, GRIDS, RECORD, TEMPLATE = (
    "images.npy",
    "labels.npy",
    "grids.npy",
    "record.json",
    "template.nii.gz",
)
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
    files
        Of the original images, by their names (those in column `scan`).
    """

    folder: Path
    images: pd.DataFrame
    labels: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    identity: str
    search_slices: tuple[int, ...] = ()
    reference: Reference = field(default_factory=Reference)
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def template(self) -> Path | None:
        """The image that all were aligned to, or None."""
        path = self.folder / TEMPLATE
        return path if path.is_file() else None

    def image(self, name: str) -> NDArray[np.float32]:
        """Give the normalized intensities of an item, of `shape`."""
        return _row(self.folder, IMAGES, self._row(name))

    def label_map(self, name: str) -> NDArray[Any]:
        """Give the label map of an item, of `shape`: uint8, or uint16 where there are more than 255 structures."""
        return _row(self.folder, LABEL_MAPS, self._row(name))

    def grid(self, name: str) -> NDArray[np.float64]:
        """Give the matrix from prepared voxel to voxel of the original file: (4, 4).

        A 2-D item's voxel is (first, second, 0, 1).
        """
        return _row(self.folder, GRIDS, self._row(name))

    def to_world(self, name: str) -> NDArray[np.float64]:
        """Return the matrix from prepared voxel to the world of the original file, in mm: (4, 4).

        Raises
        ------
        DataError
            If it is no item of the cohort, or its original file is not known or not there.
        """
        grid = self.grid(name)
        scan = str(self.images.at[name, "scan"])
        if scan not in self.files:
            raise DataError(
                scan,
                expected="a cohort with its original files",
                got="none",
                advice="Prepare it from `study.toml`.",
            )
        return np.asarray(read_lattice(self.files[scan]).affine @ grid)

    def check(self, names: Iterable[str]) -> None:
        """Refuse items that are not what was written; each is read once in a process to see that.

        Raises
        ------
        DataError
            If one was damaged.
        """
        for name in names:
            for array in (IMAGES, LABEL_MAPS, GRIDS):
                _row(self.folder, array, self._row(name))

    def _row(self, name: str) -> int:
        if name not in self.images.index:
            raise DataError(
                "image",
                expected="the name of a prepared image",
                got=repr(name),
                advice="See `PreparedCohort.images`.",
            )
        return cast(int, self.images.index.get_loc(name))


class _Record(BaseModel):
    """What `record.json` tells about the arrays beside it."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    scans: Annotated[list[str], Field(min_length=1)]
    slices: Annotated[list[int], Field(min_length=1)]
    labels: Annotated[list[str], Field(min_length=1)]
    spacing_mm: (
        Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=3)] | None
    )
    reference: dict[str, Any] | None = None
    hashes: dict[str, list[str]] = {}
    """Of every item of each array; none where an earlier version prepared them."""


def seal_arrays(folder: Path) -> None:
    """Write the hash of every item of the arrays in a folder into their record, so that damage is seen when it is read.

    Parameters
    ----------
    folder
        What `write_arrays` wrote.
    """
    record = read_json(folder / RECORD, error=DataError, what=_WHAT, advice=_advice(folder))
    hashes = {
        name: [_item_hash(item) for item in np.load(folder / name, mmap_mode="r")]
        for name in (IMAGES, LABEL_MAPS, GRIDS)
    }
    write_json(folder / RECORD, {**record, "hashes": hashes})


def _item_hash(item: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(item).data).hexdigest()[:16]


_WHAT = "prepared images as they were written"
_State = tuple[int, int, int]


def _state(path: Path) -> _State:
    """Return what tells whether a file is still the one that was opened."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _advice(folder: Path) -> str:
    return f"Remove the folder {folder}: the next command prepares it again."


def _damaged(path: Path, got: str) -> DataError:
    return DataError(str(path), expected=_WHAT, got=got, advice=_advice(path.parent))


def _read_record(folder: Path) -> _Record:
    path = folder / RECORD
    try:
        return _parsed_record(folder, _state(path))
    except FileNotFoundError as error:
        raise _damaged(path, "no file") from error


@lru_cache(maxsize=32)
def _parsed_record(folder: Path, _state: _State) -> _Record:
    return read_record(
        folder / RECORD, _Record, error=DataError, what=_WHAT, advice=_advice(folder)
    )


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return _opened(path, _state(path))
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, one_line(error)) from error


@lru_cache(maxsize=32)
def _opened(path: Path, _state: _State) -> NDArray[Any]:
    mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


_checked: set[tuple[Path, _State, int]] = set()
"""Items that were seen to be what was written, by this process."""


def _row(folder: Path, name: str, place: int) -> NDArray[Any]:
    """Return a copy of one item of an array, whose hash is checked when it is first read."""
    path = folder / name
    key = (path, _state(path), place)
    item = np.array(_mapped(path)[place])
    # a cohort that was put together without a record, as in a script, has nothing to be checked by
    if key not in _checked and (folder / RECORD).is_file():
        _check_item(path, item, _read_record(folder), place)
        _checked.add(key)
    return item


def _check_item(path: Path, item: NDArray[Any], record: _Record, place: int) -> None:
    hashes = record.hashes.get(path.name)
    if hashes is not None:
        if _item_hash(item) != hashes[place]:
            raise _damaged(path, f"item {place} changed since")
        return
    # an earlier version wrote no hashes: what can never be is still seen
    if path.name == LABEL_MAPS and item.max(initial=0) > len(record.labels):
        raise _damaged(path, f"label {item.max()} of {len(record.labels)} in item {place}")
    if path.name != LABEL_MAPS and not np.isfinite(item).all():
        raise _damaged(path, f"numbers that are not finite in item {place}")


def _check_arrays(folder: Path, record: _Record, shape: tuple[int, ...]) -> None:
    """Refuse arrays that are not of as many items of that shape as the record tells."""
    count = len(record.scans) * len(record.slices)
    kinds = {IMAGES: ("f", shape), LABEL_MAPS: ("u", shape), GRIDS: ("f", (4, 4))}
    for name, (kind, each) in kinds.items():
        array = _mapped(folder / name)
        if array.shape != (count, *each) or array.dtype.kind != kind:
            raise _damaged(
                folder / name, f"shape {array.shape} as {array.dtype} instead of {(count, *each)}"
            )
        if name in record.hashes and len(record.hashes[name]) != count:
            raise _damaged(folder / RECORD, f"{len(record.hashes[name])} hashes of {count} items")


def open_prepared(
    folder: Path,
    section: PreprocessingOptions,
    images: pd.DataFrame,
    split: Mapping[str, Sequence[str]],
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

    Raises
    ------
    DataError
        If the folder's files were damaged.
    """
    record = _read_record(folder)
    _check_arrays(folder, record, tuple(section.shape))
    scans, slices = record.scans, record.slices
    if set(scans) != set(images.index):
        raise _damaged(folder / RECORD, "images of other names")
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
        labels=tuple(record.labels),
        shape=tuple(section.shape),
        spacing_mm=None if record.spacing_mm is None else tuple(record.spacing_mm),
        identity=folder.name,
        search_slices=tuple(section.slices.search_indices) if section.slices else (),
        reference=Reference.from_record(record.reference),
        files={str(scan): Path(path) for scan, path in images["image"].items()},
    )
