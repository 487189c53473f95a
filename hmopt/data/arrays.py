"""The arrays of a prepared cohort, written one image at a time."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from hmopt.data.cohort import Cohort
from hmopt.data.image import find_place, resample_image, resample_labels
from hmopt.data.layout import slices_of
from hmopt.data.prepared import GRIDS, IMAGES, LABEL_MAPS, RECORD, TEMPLATE
from hmopt.data.reference import Reference
from hmopt.data.structures import label_dtype
from hmopt.data.volume import read_image
from hmopt.declaration import Study
from hmopt.errors import DataError
from hmopt.progress import Track

_SPACING_TOLERANCE = 0.01


def write_arrays(
    folder: Path, study: Study, cohort: Cohort, reference: Reference, track: Track
) -> None:
    """Write images, label maps, grids and their record into a folder.

    Structures that no prepared image shows are left out.

    Parameters
    ----------
    reference
        What the images are laid out by.

    Raises
    ------
    DataError
        If an image cannot be used, spacings differ and none is declared, or no prepared image shows a label.

    Warns
    -----
    UserWarning
        If a declared structure is left out.
    """
    section, slices = study.preprocessing, slices_of(study.preprocessing)
    template = folder / TEMPLATE if section.placement == "affine" else None
    arrays = _create(
        folder, len(cohort.images) * len(slices), tuple(section.shape), len(cohort.structures)
    )
    spacings: dict[str, tuple[float, ...]] = {}
    files = list(
        zip(cohort.images.index, cohort.images["image"], cohort.images["label"], strict=True)
    )
    for number, (name, image_path, label_path) in enumerate(
        track(files, "Preparing images", len(files))
    ):
        image = read_image(image_path)
        place = find_place(image, section, reference, template)
        prepared = resample_image(image, section, place, str(image_path))
        rows = slice(number * len(slices), (number + 1) * len(slices))
        arrays[IMAGES][rows] = [item.data for item in prepared]
        arrays[GRIDS][rows] = [item.grid for item in prepared]
        arrays[LABEL_MAPS][rows] = resample_labels(
            label_path, prepared, cohort.structures, study.cohort.minimum_voxels
        )
        spacings[name] = prepared[0].spacing_mm
    record = {
        "scans": list(spacings),
        "slices": slices,
        "labels": _keep_present(
            arrays[LABEL_MAPS], list(cohort.structures), study.cohort.structures
        ),
        "spacing_mm": _one_spacing(spacings) if study.cohort.spacing_known else None,
        "reference": reference.to_record(),
    }
    for array in arrays.values():
        array.flush()
    (folder / RECORD).write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")


def _create(folder: Path, count: int, shape: tuple[int, ...], structures: int) -> dict[str, Any]:
    kinds = {
        IMAGES: (np.float32, shape),
        LABEL_MAPS: (label_dtype(structures), shape),
        GRIDS: (np.float64, (4, 4)),
    }
    return {
        name: open_memmap(folder / name, "w+", dtype, (count, *each))
        for name, (dtype, each) in kinds.items()
    }


def _keep_present(
    maps: NDArray[Any], names: Sequence[str], declared: Mapping[str, Any]
) -> list[str]:
    present = np.zeros(len(names) + 1, dtype=bool)
    for label_map in maps:
        present[np.unique(label_map)] = True
    present = present[1:]
    if not present.any():
        raise DataError(
            "preprocessing",
            expected="labelled voxels on the prepared grids",
            got="background only",
            advice="Enlarge the shape, or choose other slices.",
        )
    missed = [
        name for name, here in zip(names, present, strict=True) if not here and name in declared
    ]
    if missed:
        warnings.warn(f"no prepared image shows {', '.join(missed)}: left out.", stacklevel=4)
    if not present.all():
        renumbered = np.concatenate([[0], np.where(present, np.cumsum(present), 0)]).astype(
            maps.dtype
        )
        for label_map in maps:
            label_map[...] = renumbered[label_map]
    return [name for name, here in zip(names, present, strict=True) if here]


def _one_spacing(spacings: Mapping[str, tuple[float, ...]]) -> tuple[float, ...]:
    first_name, first = next(iter(spacings.items()))
    for name, spacing in spacings.items():
        if not np.allclose(spacing, first, rtol=_SPACING_TOLERANCE):
            raise DataError(
                name,
                expected=f"the spacing of {first_name}, {first} mm",
                got=f"{spacing} mm",
                advice="Declare preprocessing.spacing_mm, so that all images are brought to one.",
            )
    return first
