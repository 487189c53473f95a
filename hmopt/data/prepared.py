"""A cohort after preprocessing, on disk, opened one image at a time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, PositiveFloat

from hmopt.data.grid import NO_SLICE
from hmopt.data.landmarks import Landmarks
from hmopt.data.reference import Reference
from hmopt.data.volume import read_lattice
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError
from hmopt.files import content_hash, one_line, read_json, read_record, write_json
from hmopt.schemas import Name, Record, ReferenceEntry

IMAGES = "images.npy"
LABEL_MAPS = "labels.npy"
GRIDS = "grids.npy"
ARRAYS = (IMAGES, LABEL_MAPS, GRIDS)
RECORD = "record.json"
TEMPLATE = "template.nii.gz"
UNUSED = "unused"
_FILE_COLUMNS = ("image", "label", "subject", "points")
OWN_COLUMNS = ("subject", "scan", "slice", "split")
"""Columns of `PreparedCohort.images` before those of the manifest."""


def manifest_columns(images: pd.DataFrame) -> list[str]:
    """Return the columns of a manifest by which pairs and scopes are told apart.

    Parameters
    ----------
    images
        As of `Cohort`.
    """
    return [str(column) for column in images if column not in _FILE_COLUMNS]


S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PreparedCohort:
    """Images and label maps on their prepared grids, in the order of `images`.

    Parameters
    ----------
    folder
        Where the arrays are.
    images
        One row an item, by its name: the image's, or `{image}_slice-{index}`. Columns `subject`,
        `scan` (name of the image), `slice` (-1: none), `split` (`train`, `tune`, `search`, or
        `unused`), then those of the manifest.
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
        Axes and lattice that the images share.
    files
        Of the original images, by their names (those in column `scan`).
    codes
        By structure: its codes in the label maps as they are on disk; empty where an earlier
        version prepared them.
    same
        Columns of the manifest in which both images of a pair agree.
    has_labels
        Whether there are label maps; without them the one structure is the whole image.
    landmarks
        Of the original images that have some, by their names.
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
    codes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    same: tuple[str, ...] = ()
    has_labels: bool = True
    landmarks: Mapping[str, Landmarks] = field(default_factory=dict)

    @property
    def measured_identity(self) -> str:
        """Hash of what decides measurements: of the prepared cohort, and of its landmarks if it has some."""
        if not self.landmarks:
            return self.identity
        identities = {name: landmarks.identity for name, landmarks in self.landmarks.items()}
        return content_hash(self.identity, identities)

    def landmarks_of(self, name: str) -> Landmarks | None:
        """Return the landmarks of an item's original image; None where it has none."""
        return self.landmarks.get(str(self.images.at[name, "scan"]))

    @property
    def template(self) -> Path | None:
        """The image that all were aligned to, or None."""
        path = self.folder / TEMPLATE
        if not path.is_file():
            return None
        return path

    def image(self, name: str) -> NDArray[np.float32]:
        """Return the normalized intensities of an item, of `shape`; other items are not read."""
        row = self._row(name)
        return _row(self.folder, IMAGES, row)

    def label_map(self, name: str) -> NDArray[Any]:
        """Return the label map of an item, of `shape`: uint8, or uint16 beyond 255 structures."""
        row = self._row(name)
        return _row(self.folder, LABEL_MAPS, row)

    def grid(self, name: str) -> NDArray[np.float64]:
        """Return the (4, 4) matrix from prepared voxel to voxel of the original file.

        A 2-D item's voxel is (first, second, 0, 1).
        """
        row = self._row(name)
        return _row(self.folder, GRIDS, row)

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
        """Check that items are what was written; each is read once in a process for that.

        Raises
        ------
        DataError
            If one was damaged.
        """
        for name in names:
            for array in ARRAYS:
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


class _Record(Record):
    """What `record.json` says about the arrays beside it."""

    model_config = ConfigDict(extra="ignore")

    scans: Annotated[list[Name], Field(min_length=1)]
    slices: Annotated[list[Annotated[int, Field(ge=-1)]], Field(min_length=1)]
    labels: Annotated[list[Name], Field(min_length=1)]
    spacing_mm: Annotated[list[PositiveFloat], Field(min_length=2, max_length=3)] | None
    reference: ReferenceEntry | None = None
    codes: dict[str, list[Annotated[int, Field(ge=0)]]] = {}
    hashes: dict[str, list[str]] = {}
    """Of every item of each array; none where an earlier version prepared them."""


def prefetch(make: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield `make(item)` for each item, in order; the next is made in a thread meanwhile.

    Parameters
    ----------
    make
        Called for one item at a time.
    items
        Its arguments.

    Examples
    --------
    >>> list(prefetch(lambda number: number**2, [1, 2, 3]))
    [1, 4, 9]
    """
    with ThreadPoolExecutor(1) as executor:
        current = None
        for item in items:
            following = executor.submit(make, item)
            if current is not None:
                yield current.result()
            current = following
        if current is not None:
            yield current.result()


def seal_arrays(folder: Path) -> None:
    """Add the hash of every item of the arrays to their record, so that damage is found on reading.

    Parameters
    ----------
    folder
        What `write_arrays` wrote.
    """
    record = read_json(folder / RECORD, error=DataError, what=_WHAT, advice=_advice(folder))
    hashes = {}
    for name in ARRAYS:
        items = np.load(folder / name, mmap_mode="r")
        hashes[name] = [_item_hash(item) for item in items]
    write_json(folder / RECORD, {**record, "hashes": hashes})


def _item_hash(item: NDArray[Any]) -> str:
    content = np.ascontiguousarray(item).data
    digest = hashlib.sha256(content).hexdigest()
    return digest[:16]


_WHAT = "prepared images as they were written"
_State = tuple[int, int, int]


def _state(path: Path) -> _State:
    """Return what differs when a file is no longer the one that was opened."""
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
    except Exception as error:  # whatever numpy's parser of headers raises
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
    """Refuse arrays that are not of as many items of that shape as the record says."""
    count = len(record.scans) * len(record.slices)
    expected = {
        IMAGES: (("float32",), (count, *shape)),
        LABEL_MAPS: (("uint8", "uint16"), (count, *shape)),
        GRIDS: (("float64",), (count, 4, 4)),
    }
    for name, (types, whole_shape) in expected.items():
        path = folder / name
        array = _mapped(path)
        # the type is compared with its order of bytes, which the hash of an item does not tell
        kinds = [np.dtype(one) for one in types]
        if array.shape != whole_shape or array.dtype not in kinds:
            got = f"shape {array.shape} as {array.dtype} instead of {whole_shape}"
            raise _damaged(path, got)
        hashes = record.hashes.get(name)
        if hashes is not None and len(hashes) != count:
            raise _damaged(folder / RECORD, f"{len(hashes)} hashes of {count} items")


def check_folder(folder: Path) -> None:
    """Check that every item of every array of a prepared cohort is what was written.

    Parameters
    ----------
    folder
        What `write_arrays` wrote.

    Raises
    ------
    DataError
        If its record or one of the arrays was damaged.
    """
    record = _read_record(folder)
    count = len(record.scans) * len(record.slices)
    shape = _mapped(folder / IMAGES).shape[1:]
    _check_arrays(folder, record, shape)
    for place in range(count):
        for name in ARRAYS:
            _row(folder, name, place)


def open_prepared(
    folder: Path,
    options: PreprocessingOptions,
    images: pd.DataFrame,
    split: Mapping[str, Sequence[str]],
) -> PreparedCohort:
    """Open the arrays of a prepared cohort, with the present split and columns.

    Parameters
    ----------
    folder
        What `write_arrays` wrote, named by its identity.
    options
        The declared preprocessing.
    images
        As of `list_images`.
    split
        Subjects of the train, tune and search sets.

    Raises
    ------
    DataError
        If the folder's files were damaged.
    """
    record = _read_record(folder)
    shape = tuple(options.shape)
    _check_arrays(folder, record, shape)
    if set(record.scans) != set(images.index):
        raise _damaged(folder / RECORD, "images of other names")
    return PreparedCohort(
        folder=folder,
        images=_items(record, images, split),
        labels=tuple(record.labels),
        shape=shape,
        spacing_mm=None if record.spacing_mm is None else tuple(record.spacing_mm),
        identity=folder.name,
        search_slices=tuple(options.slices.search_indices) if options.slices else (),
        reference=_reference(record),
        files={str(scan): Path(path) for scan, path in images["image"].items()},
        codes={name: tuple(codes) for name, codes in record.codes.items()},
    )


def _reference(record: _Record) -> Reference:
    if record.reference is None:
        return Reference.from_record(None)
    return Reference.from_record(record.reference.model_dump())


def _items(
    record: _Record, images: pd.DataFrame, split: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Return the table of items: every slice of every image, in the order of the arrays."""
    set_of = {}
    for name, subjects in split.items():
        set_of.update(dict.fromkeys(subjects, name))
    product = pd.MultiIndex.from_product([record.scans, record.slices], names=["scan", "slice"])
    items = product.to_frame(index=False)
    subjects_of_items = images["subject"].loc[items["scan"]].to_numpy()
    items.insert(0, "subject", subjects_of_items)
    items["split"] = [set_of.get(subject, UNUSED) for subject in subjects_of_items]
    names = items["scan"]
    if record.slices != [NO_SLICE]:
        names = names + "_slice-" + items["slice"].astype(str)
    items.index = pd.Index(names.tolist(), name="name")
    columns = images.drop(columns=[*_FILE_COLUMNS], errors="ignore")
    return items.join(columns, on="scan")
