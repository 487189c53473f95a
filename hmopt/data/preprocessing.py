"""Preprocessing of a cohort: done once, and found again by a hash of all that decides it."""

import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from hmopt.data.alignment import resolve_template, write_template
from hmopt.data.cohort import Cohort, Listing, list_cohort, read_structures
from hmopt.data.formats import files_of, follow
from hmopt.data.grid import SAME_SPACING, check_preprocessing, slices_of
from hmopt.data.image import find_place, resample_image, resample_labels
from hmopt.data.landmarks import Landmarks, read_all_landmarks
from hmopt.data.prepared import (
    GRIDS,
    IMAGES,
    LABEL_MAPS,
    RECORD,
    TEMPLATE,
    PreparedCohort,
    open_prepared,
    seal_arrays,
)
from hmopt.data.reference import Reference, find_reference
from hmopt.data.split import split_subjects
from hmopt.data.structures import label_dtype
from hmopt.data.volume import check_varied, read_image, read_lattice
from hmopt.declaration import CohortOptions, PreprocessingOptions, Study
from hmopt.errors import DataError, DeclarationError
from hmopt.files import content_hash, file_hash, naming, private_folder, put
from hmopt.limits import check_disk
from hmopt.locks import alone, lock_beside
from hmopt.progress import Track, silent
from hmopt.study_folder import StudyFolder

VERSION = 1
"""Raised whenever the same declaration begins to mean other arrays."""

_ALIGNMENT = "affine, 2"
_TEMPLATE_CHOICE = "chosen, 2"
"""Its number is raised whenever images are aligned in another way; other placements stay."""


def prepare(study: Study, folder: Path, track: Track = silent) -> PreparedCohort:
    """Return the prepared cohort of a study; finished work in `folder/prepared/` is reused.

    Images are read one at a time. A prepared cohort is written whole or not at all.

    Parameters
    ----------
    study
        The declaration.
    folder
        The study folder.
    track
        Shows how far it is.

    Raises
    ------
    DataError
        If an image, a label map, the manifest, the names or the split cannot be used; nothing is
        written then.
    DeclarationError
        If the declared preprocessing contradicts itself.
    """
    found = _find(study, folder, track)
    if not found.place.is_dir():
        with alone(lock_beside(found.place.parent), "prepares the images", track):
            if not found.place.is_dir():  # by another process, meanwhile
                _write_prepared(study, found, track)
    return _open(study, found)


def _write_prepared(study: Study, found: "_Found", track: Track) -> None:
    cohort = read_structures(found.listing, study.cohort, track)
    with _appearing(found.place) as beside:
        if study.preprocessing.placement == "affine":
            write_template(
                beside / TEMPLATE,
                cohort.images,
                found.template,
                study.preprocessing.background,
                found.reference.axes,
                track,
            )
        write_arrays(beside, study, cohort, found.reference, track)
        seal_arrays(beside)


def open_if_prepared(study: Study, folder: Path, track: Track = silent) -> PreparedCohort | None:
    """Return the prepared cohort of a study where it is in `folder/prepared/` already, and None elsewhere.

    Parameters
    ----------
    study, folder, track
        As for `prepare`.

    Raises
    ------
    DataError, DeclarationError
        As `prepare`.
    """
    found = _find(study, folder, track)
    if not found.place.is_dir():
        return None
    return _open(study, found)


def open_as(study: Study, folder: Path, identity: str) -> PreparedCohort:
    """Return a cohort that was prepared before, without looking at the images that it was made of.

    Many processes may open it: each reads tables and the prepared images that it needs, and nothing else.

    Parameters
    ----------
    study
        The declaration.
    folder
        The study folder.
    identity
        That of the prepared cohort.

    Raises
    ------
    DataError
        If it is not there, or was damaged.
    """
    listing = list_cohort(study.cohort)
    images = listing.images
    found = _Found(
        listing=listing,
        split=split_subjects(list(images["subject"]), study.split),
        template=None,
        reference=Reference(),
        landmarks=read_all_landmarks(images, study.cohort.point_coordinates),
        place=StudyFolder(folder).prepared_folder / identity,
    )
    return _open(study, found)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a declaration says of a cohort, before its images are prepared."""

    listing: Listing
    split: dict[str, list[str]]
    template: Path | None
    reference: Reference
    landmarks: Mapping[str, Landmarks]
    place: Path
    """Where it is, or will be, prepared."""


def _open(study: Study, found: _Found) -> PreparedCohort:
    listing = found.listing
    prepared = open_prepared(found.place, study.preprocessing, listing.images, found.split)
    same = tuple(name for name in study.pairs.same if name in prepared.images)
    return replace(prepared, same=same, has_labels=listing.has_labels, landmarks=found.landmarks)


def _find(study: Study, folder: Path, track: Track) -> _Found:
    options = study.preprocessing
    check_preprocessing(options)
    _check_headers_are_right(study)
    listing = list_cohort(study.cohort)
    images = listing.images
    split = split_subjects(list(images["subject"]), study.split)
    landmarks = read_all_landmarks(images, study.cohort.point_coordinates)
    template = resolve_template(options, images, folder)
    template_lattice = None if template is None else read_lattice(template)
    lattices = {str(path): read_lattice(path) for path in images["image"]}
    reference = find_reference(options, lattices, template_lattice)
    identity = cohort_identity(study.cohort, options, listing, template, track, reference)
    return _Found(
        listing=listing,
        split=split,
        template=template,
        reference=reference,
        landmarks=landmarks,
        place=StudyFolder(folder).prepared_folder / identity,
    )


def write_arrays(
    folder: Path,
    study: Study,
    cohort: Cohort,
    reference: Reference,
    track: Track,
) -> None:
    """Write the prepared images, label maps and grids of a cohort, and the record of them.

    With n images, m slices each (1 for volumes) and a prepared grid of shape S, row `i * m + j`
    of each array holds slice j of image i:

    - `images.npy`: (n m, *S), float32 intensities,
    - `labels.npy`: (n m, *S), uint8 or uint16; 0 is the background, k + 1 the k-th structure,
    - `grids.npy`: (n m, 4, 4), prepared voxel to voxel of the file.

    One image is in memory at a time. Structures that no prepared image shows are left out.

    Parameters
    ----------
    folder
        Where the files go.
    study
        The declaration.
    cohort
        Images and structures.
    reference
        Axes and lattice that the images share.
    track
        Shows how far it is.

    Raises
    ------
    DataError
        If an image cannot be used, spacings differ and none is declared, or no prepared image
        shows a label.

    Warns
    -----
    UserWarning
        If a declared structure is left out, or images could not be aligned to the template.
    """
    options = study.preprocessing
    slices = slices_of(options)
    template = folder / TEMPLATE if options.placement == "affine" else None
    count = len(cohort.images) * len(slices)
    arrays = _create_arrays(folder, count, tuple(options.shape), len(cohort.structures))

    spacings: dict[str, tuple[float, ...]] = {}
    unaligned = []
    files = cohort.images[["image", "label"]].itertuples(name=None)
    start = 0
    for name, image_path, label_path in track(files, "Preparing images", len(cohort.images)):
        image = read_image(image_path)
        check_varied(image_path, image)
        place = find_place(image, options, reference, template)
        if place.alignment_failed:
            unaligned.append(name)
        prepared = resample_image(image, options, place, str(image_path))
        labels = None if label_path == image_path else label_path
        label_maps = resample_labels(
            labels, prepared, cohort.structures, study.cohort.minimum_voxels
        )
        rows = slice(start, start + len(slices))
        arrays[IMAGES][rows] = [item.data for item in prepared]
        arrays[GRIDS][rows] = [item.grid for item in prepared]
        arrays[LABEL_MAPS][rows] = label_maps
        spacings[name] = prepared[0].spacing_mm
        start += len(slices)

    if unaligned:
        warnings.warn(
            f"{len(unaligned)} of {len(cohort.images)} images could not be aligned to the template "
            f"and lie centre on centre with it: {', '.join(unaligned)}. Look at them, or declare "
            "another preprocessing.template.",
            stacklevel=3,
        )
    labels = _keep_shown(arrays[LABEL_MAPS], list(cohort.structures), study.cohort.structures)
    spacing_mm = _common_spacing(spacings) if study.cohort.spacing_known else None
    record = {
        "scans": list(spacings),
        "slices": slices,
        "labels": labels,
        "codes": {name: [int(code) for code in cohort.structures[name]] for name in labels},
        "spacing_mm": spacing_mm,
        "reference": reference.to_record(),
    }
    for array in arrays.values():
        array.flush()
    text = json.dumps(record, ensure_ascii=False, indent=1)
    (folder / RECORD).write_text(text, encoding="utf-8")


def cohort_identity(
    cohort: CohortOptions,
    preprocessing: PreprocessingOptions,
    listing: Listing,
    template: Path | None = None,
    track: Track = silent,
    reference: Reference | None = None,
) -> str:
    """Return the hash of all that decides the prepared arrays.

    These are the contents of images and label maps, the merging of labels and the preprocessing.
    Folders and the manifest's other columns are not among them: a cohort may move, and its ages
    be corrected.

    Parameters
    ----------
    cohort, preprocessing
        What is declared.
    listing
        As of `list_cohort`.
    template
        The file of the declared template, if one is declared.
    track
        Shows how far it is.
    reference
        Axes and lattice that the images share.
    """
    images = listing.images
    rows = images[["image", "label"]].itertuples(name=None)
    files = {}
    for name, image, label in track(rows, "Checking for changed files", len(images)):
        files[name] = [image_hash(image), image_hash(label)]
    structures = [[name, sorted(labels)] for name, labels in cohort.structures.items()]
    names = listing.label_names
    return content_hash(
        {
            "version": VERSION,
            "files": files,
            "names": None if names is None else sorted(names.items()),
            "structures": structures,
            "minimum_voxels": cohort.minimum_voxels,
            "spacing_known": cohort.spacing_known,
            "preprocessing": _deciding_options(preprocessing, reference),
            "template": _template_identity(preprocessing, listing, template, reference),
        }
    )


def _template_identity(
    options: PreprocessingOptions,
    listing: Listing,
    template: Path | None,
    reference: Reference | None,
) -> str | None:
    """Return what decides the template: its content, or how it is chosen.

    It is None where older versions chose as this one: they saw neither background nor axes, nor whose
    scans they compared.
    """
    if template is not None:
        return file_hash(template)
    if options.placement != "affine":
        return None
    is_turned = reference is not None and not np.array_equal(reference.axes, np.eye(3))
    is_repeated = bool(listing.images["subject"].duplicated().any())
    if options.background is None and not is_turned and not is_repeated:
        return None
    return _TEMPLATE_CHOICE


def _check_headers_are_right(study: Study) -> None:
    if study.preprocessing.placement == "header" and not study.cohort.spacing_known:
        raise DeclarationError(
            "preprocessing.placement",
            expected="centre or affine, because cohort.spacing_known = false says that headers "
            "are wrong",
            got="header",
            advice="Correct one of them.",
        )


@contextmanager
def _appearing(place: Path) -> Iterator[Path]:
    """Yield a folder to write to; it is renamed to `place` when the block ends without an error."""
    try:
        with naming(place), private_folder(place.parent, place) as private:
            beside = private / place.name
            beside.mkdir()
            yield beside
            if not place.is_dir():  # another process may have prepared the same meanwhile
                put(beside, place)
    finally:
        with suppress(OSError):  # it is not empty, or gone
            place.parent.rmdir()


def _create_arrays(
    folder: Path, count: int, shape: tuple[int, ...], structures: int
) -> dict[str, Any]:
    """Return memory-mapped arrays of `count` items each, by the name of their file.

    A mapped array takes its space on disk as it is filled, and a full disk then ends the process.

    Raises
    ------
    DataError
        If there is too little space for them.
    """
    kinds = {
        IMAGES: (np.float32, (count, *shape)),
        LABEL_MAPS: (label_dtype(structures), (count, *shape)),
        GRIDS: (np.float64, (count, 4, 4)),
    }
    sizes = [math.prod(sides) * np.dtype(dtype).itemsize for dtype, sides in kinds.values()]
    check_disk(sum(sizes), folder, DataError)
    arrays = {}
    for name, (dtype, whole_shape) in kinds.items():
        path = folder / name
        arrays[name] = open_memmap(path, "w+", dtype, whole_shape)
        _reserve(path)
    return arrays


def _reserve(path: Path) -> None:
    """Take the room of a file on the disk now: where it runs out later, writing to the mapped file is a crash."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _keep_shown(
    label_maps: NDArray[Any], names: Sequence[str], declared: Mapping[str, Any]
) -> list[str]:
    """Renumber label maps in place to the structures that they show, and return their names.

    With structures a, b, c, of which no map shows b, the labels 0, 1, 2, 3 become 0, 1, 0, 2.
    """
    found = np.zeros(len(names) + 1, dtype=bool)
    for label_map in label_maps:
        found[np.unique(label_map)] = True
    shown = found[1:]
    if not shown.any():
        raise DataError(
            "preprocessing",
            expected="labelled voxels on the prepared grids",
            got="background only",
            advice="Enlarge the shape, or choose other slices.",
        )
    kept = [name for name, here in zip(names, shown, strict=True) if here]
    missing = [name for name in names if name in declared and name not in kept]
    if missing:
        warnings.warn(f"no prepared image shows {', '.join(missing)}: left out.", stacklevel=4)
    if not shown.all():
        new_numbers = np.zeros(len(names) + 1, dtype=label_maps.dtype)
        new_numbers[1:] = np.where(shown, np.cumsum(shown), 0)
        for label_map in label_maps:
            label_map[...] = new_numbers[label_map]
    return kept


def _common_spacing(spacings: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    """Return the median spacing along each axis, whatever the order of the images is.

    Parameters
    ----------
    spacings
        Of each image, in mm.

    Raises
    ------
    DataError
        If an image's spacing is another one, by more than a hundredth.
    """
    names = sorted(spacings)
    # (images, axes)
    table = np.array([spacings[name] for name in names])
    median = np.median(table, axis=0)
    deviations = np.abs(table / median - 1).max(axis=1)
    worst = int(deviations.argmax())
    if deviations[worst] > SAME_SPACING:
        raise DataError(
            names[worst],
            expected=f"the median spacing of the images, {_as_mm(median)}",
            got=_as_mm(table[worst]),
            advice="Declare preprocessing.spacing_mm to resample all images to one spacing.",
        )
    return tuple(median.tolist())


def _as_mm(spacing: NDArray[np.float64]) -> str:
    numbers = ", ".join(f"{one:.6g}" for one in spacing)
    return f"({numbers}) mm"


def _deciding_options(options: PreprocessingOptions, reference: Reference | None) -> dict[str, Any]:
    """Return what of the preprocessing decides the arrays.

    What older versions knew stands as they wrote it, so that their prepared cohorts are found.
    """
    deciding = options.model_dump(exclude={"template", "placement", "background"})
    deciding["align"] = _ALIGNMENT if options.placement == "affine" else "none"
    if options.background is not None:
        deciding["background"] = options.background
    if options.placement == "header":
        deciding["placement"] = "header"
    if reference is not None and not np.array_equal(reference.axes, np.eye(3)):
        deciding["axes"] = np.round(reference.axes, 6).tolist()
    return deciding


def image_hash(path: Path) -> str:
    """Return the hash of an image file, which may be a header and its voxels in two files."""
    files = sorted(files_of(path))
    hashes = [file_hash(follow(file)) for file in files]
    if len(hashes) == 1:
        return hashes[0]
    return content_hash(*hashes)
