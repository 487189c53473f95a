"""Preprocessing of a cohort, done once: resampled, normalized, merged, and kept under a key of the contents."""

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from hmopt.data.cohort import Cohort, find_label_names, list_images, read_cohort
from hmopt.data.image import PreparedImage, find_matrix, prepare_image, resample_image, resample_labels
from hmopt.data.layout import NO_SLICE, check_preprocessing
from hmopt.data.prepared import GRIDS, IMAGES, LABEL_MAPS, RECORD, TEMPLATE, PreparedCohort
from hmopt.data.split import SIDES, split_subjects
from hmopt.data.template import resolve_template, write_template
from hmopt.data.volume import read_image
from hmopt.declaration import CohortSection, PreprocessingSection, Study
from hmopt.errors import DataError
from hmopt.files import content_hash, file_hash
from hmopt.progress import Track, silent

__all__ = ["PreparedImage", "cohort_identity", "prepare", "prepare_image"]

FOLDER = "prepared"
VERSION = 1
"""Raised whenever the same declaration begins to mean other arrays: part of the identity."""
_SPACING_TOLERANCE = 0.01


def prepare(study: Study, folder: Path, track: Track = silent) -> PreparedCohort:
    """Give the prepared cohort of a study, from `folder/prepared/` where it is there already.

    Images are read one at a time; what is written appears whole or not at all.

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
        If an image, a label map, the manifest, the names or the split cannot be used; nothing is written then.
    DeclarationError
        If the declared preprocessing contradicts itself.
    """
    check_preprocessing(study.preprocessing)
    images = list_images(study.cohort)
    split = split_subjects(list(images["subject"]), study.split)
    template = resolve_template(study.preprocessing, images)
    identity = cohort_identity(study.cohort, study.preprocessing, images, template, track)
    place = folder / FOLDER / identity
    if not place.is_dir():
        cohort = read_cohort(study.cohort, track)
        with _whole_folder(place) as beside:
            write_template(beside / TEMPLATE, study.preprocessing, cohort.images, template, track)
            _write(beside, study, cohort, track)
    return _open(place, study, images, split)


def cohort_identity(
    section: CohortSection,
    preprocessing: PreprocessingSection,
    images: pd.DataFrame,
    template: Path | None = None,
    track: Track = silent,
) -> str:
    """Give the hash of all that decides the prepared arrays: contents of files, merging, preprocessing; no paths."""
    rows = list(zip(images.index, images["image"], images["label"], strict=True))
    files = {
        name: [file_hash(image), file_hash(label)]
        for name, image, label in track(rows, "Looking for changed files", len(rows))
    }
    names = find_label_names(section)
    return content_hash(
        {
            "version": VERSION,
            "files": files,
            "names": names and {str(code): name for code, name in names.items()},
            "structures": list(section.structures.items()),
            "minimum_voxels": section.minimum_voxels,
            "spacing_known": section.spacing_known,
            "preprocessing": preprocessing.model_dump(exclude={"template"}),
            "template": template and file_hash(template),
        }
    )


def _write(beside: Path, study: Study, cohort: Cohort, track: Track) -> None:
    section = study.preprocessing
    slices = section.slices.indices if section.slices else [NO_SLICE]
    count, shape = len(cohort.images) * len(slices), tuple(section.shape)
    label_dtype = np.uint8 if len(cohort.structures) <= 255 else np.uint16
    arrays: dict[str, NDArray[Any]] = {
        IMAGES: open_memmap(beside / IMAGES, "w+", np.float32, (count, *shape)),
        LABEL_MAPS: open_memmap(beside / LABEL_MAPS, "w+", label_dtype, (count, *shape)),
        GRIDS: open_memmap(beside / GRIDS, "w+", np.float64, (count, 4, 4)),
    }
    template = beside / TEMPLATE if section.align != "none" else None
    voxels = np.zeros(len(cohort.structures) + 1, dtype=np.int64)
    spacings: dict[str, tuple[float, ...]] = {}
    files = list(zip(cohort.images.index, cohort.images["image"], cohort.images["label"], strict=True))
    row = 0
    for name, image_path, label_path in track(files, "Preparing images", len(files)):
        image = read_image(image_path)
        prepared = resample_image(image, section, find_matrix(image, section, template), str(image_path))
        maps = resample_labels(label_path, prepared, cohort.structures, study.cohort.minimum_voxels)
        for item, label_map in zip(prepared, maps, strict=True):
            arrays[IMAGES][row], arrays[LABEL_MAPS][row], arrays[GRIDS][row] = item.data, label_map, item.grid
            voxels += np.bincount(label_map.ravel(), minlength=len(voxels))
            row += 1
        spacings[name] = prepared[0].spacing_mm
    labels = _keep_present(arrays[LABEL_MAPS], list(cohort.structures), voxels[1:] > 0, bool(study.cohort.structures))
    spacing = _common_spacing(spacings) if study.cohort.spacing_known else None
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    record = {"scans": [name for name, *_ in files], "slices": slices, "labels": labels, "spacing_mm": spacing}
    (beside / RECORD).write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")


def _keep_present(maps: NDArray[Any], names: list[str], present: NDArray[np.bool_], declared: bool) -> list[str]:
    if not present.any():
        raise DataError(
            "preprocessing",
            expected="labelled voxels on the prepared grids",
            got="background only",
            advice="Enlarge the shape or choose other slices.",
        )
    absent = [name for name, here in zip(names, present, strict=True) if not here]
    if absent and declared:
        warnings.warn(f"no prepared image shows {', '.join(absent)}: left out.", stacklevel=4)
    if absent:
        renumbered = np.concatenate([[0], np.where(present, np.cumsum(present), 0)]).astype(maps.dtype)
        for label_map in maps:
            label_map[...] = renumbered[label_map]
    return [name for name, here in zip(names, present, strict=True) if here]


def _common_spacing(spacings: dict[str, tuple[float, ...]]) -> tuple[float, ...]:
    first = next(iter(spacings.values()))
    for name, spacing in spacings.items():
        if not np.allclose(spacing, first, rtol=_SPACING_TOLERANCE):
            raise DataError(
                name,
                expected=f"spacing {first} mm as the images before it",
                got=spacing,
                advice="Declare preprocessing.spacing_mm, so that all are brought to one.",
            )
    return first


@contextmanager
def _whole_folder(place: Path) -> Iterator[Path]:
    beside = place.with_name(f".{place.name}-{os.getpid()}")
    beside.mkdir(parents=True)
    try:
        yield beside
        if not place.is_dir():  # somebody else may have prepared the same meanwhile
            beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _open(place: Path, study: Study, images: pd.DataFrame, split: dict[str, list[str]]) -> PreparedCohort:
    record = json.loads((place / RECORD).read_text(encoding="utf-8"))
    side_of = {subject: side for side in SIDES for subject in split[side]}
    rows = []
    for scan in record["scans"]:
        image = images.loc[scan]
        for index in record["slices"]:
            item = scan if index == NO_SLICE else f"{scan}_slice-{index}"
            side = side_of.get(image["subject"], "unused")
            rows.append({"name": item, "subject": image["subject"], "scan": scan, "slice": index, "split": side})
    table = pd.DataFrame(rows).set_index("name")
    columns = images.drop(columns=["image", "label", "subject"])
    slices = study.preprocessing.slices
    return PreparedCohort(
        folder=place,
        images=table.join(columns, on="scan"),
        labels=tuple(record["labels"]),
        shape=tuple(study.preprocessing.shape),
        spacing_mm=tuple(record["spacing_mm"]) if record["spacing_mm"] else None,
        identity=place.name,
        search_slices=tuple(slices.search_indices) if slices else (),
    )
