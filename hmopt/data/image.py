"""One image on its prepared grids: the same for images of a cohort and for others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmopt.data.alignment import find_alignment
from hmopt.data.grid import Matrix, ras_frame, resample, smooth_for
from hmopt.data.intensity import normalize
from hmopt.data.layout import check_preprocessing, lay_out
from hmopt.data.structures import Structures, merge_labels
from hmopt.data.volume import Lattice, Volume, read_image, read_labels
from hmopt.declaration import PreprocessingSection
from hmopt.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """An image on a prepared grid, with the way back.

    Parameters
    ----------
    data
        float32 intensities, of the declared shape (2-D or 3-D).
    grid
        (4, 4): prepared voxel to voxel of the file; a 2-D image's voxel is (first, second, 0, 1).
    original
        Shape and affine of the file.
    slice
        Which slice of it (along the declared axis, in RAS+ order); -1: none.
    spacing_mm
        Distances of prepared voxels.
    """

    data: NDArray[np.float32]
    grid: Matrix
    original: Lattice
    slice: int
    spacing_mm: tuple[float, ...]


def prepare_image(
    path: Path, section: PreprocessingSection, template: Path | None = None, slice_index: int | None = None
) -> PreparedImage:
    """Give an image prepared as those of a cohort were.

    Parameters
    ----------
    path
        Anything that nibabel reads.
    section
        The cohort's declared preprocessing.
    template
        What the cohort was aligned to (`PreparedCohort.template`); needed where `align` is declared.
    slice_index
        Which of the declared slices; None: the first that is searched. Without declared slices it has no meaning.

    Raises
    ------
    DataError
        If the image cannot be used (see `read_image`), the slice is not a declared one, or the template is missing.
    """
    check_preprocessing(section)
    chosen = _with_one_slice(section, slice_index)
    image = read_image(path)
    return resample_image(image, chosen, find_matrix(image, chosen, template), str(path))[0]


def find_matrix(image: Volume, section: PreprocessingSection, template: Path | None) -> tuple[Lattice, Matrix]:
    """Give where the prepared grid is laid out, and the affine from that world to the image's.

    Raises
    ------
    DataError
        If alignment is declared and there is no template.
    """
    if section.align == "none":
        return image.lattice, np.eye(4)
    if template is None:
        raise DataError(
            "template", expected="the image that the cohort was aligned to", got="none", advice="Prepare the cohort."
        )
    reference = read_image(template)
    return reference.lattice, find_alignment(image, reference)


def resample_image(
    image: Volume, section: PreprocessingSection, place: tuple[Lattice, Matrix], origin: str
) -> list[PreparedImage]:
    """Give the image, or each of its declared slices, on the prepared grid.

    Parameters
    ----------
    place
        As `find_matrix` gives it.
    origin
        What an error names as the place.
    """
    lattice, matrix = place
    frame = ras_frame(lattice)
    layout = lay_out(frame, section, origin)
    to_file = np.linalg.inv(image.lattice.affine) @ matrix @ frame.to_world
    grids = [np.round(to_file @ grid, 9) for grid in layout.grids]
    normalized = normalize(image.data, section.normalization)
    outside = float(normalized.min())
    smooth = smooth_for(normalized, grids[0], len(section.shape))
    return [
        PreparedImage(
            data=resample(smooth, grid, tuple(section.shape), order=1, outside=outside),
            grid=grid,
            original=image.lattice,
            slice=index,
            spacing_mm=layout.spacing_mm,
        )
        for index, grid in zip(layout.slices, grids, strict=True)
    ]


def resample_labels(
    path: Path, prepared: list[PreparedImage], structures: Structures, minimum_voxels: int
) -> list[NDArray[Any]]:
    """Give the label map on each prepared grid, merged to structures.

    Parameters
    ----------
    minimum_voxels
        A structure with fewer voxels is taken out of a label map.
    """
    labels = read_labels(path, prepared[0].original)
    found = (resample(labels.data, item.grid, item.data.shape, order=0, outside=0) for item in prepared)
    return [_without_small(merge_labels(codes, structures), minimum_voxels) for codes in found]


def _without_small(label_map: NDArray[Any], minimum_voxels: int) -> NDArray[Any]:
    small = np.bincount(label_map.ravel()) < minimum_voxels
    return np.where(small[label_map], label_map.dtype.type(0), label_map)


def _with_one_slice(section: PreprocessingSection, index: int | None) -> PreprocessingSection:
    if section.slices is None:
        return section
    declared = section.slices.search_indices or section.slices.indices
    chosen = declared[0] if index is None else index
    if chosen not in section.slices.indices:
        raise DataError(
            "slice", expected=f"one of {section.slices.indices}", got=chosen, advice="Choose a declared slice."
        )
    slices = section.slices.model_copy(update={"indices": [chosen], "search_indices": []})
    return section.model_copy(update={"slices": slices})
