"""One image on its prepared grids: the same for images of a cohort and for others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from hmopt.data.alignment import find_alignment
from hmopt.data.grid import Frame, Matrix, ras_frame, resample, rotated, smooth_for
from hmopt.data.intensity import normalize, normalized_value
from hmopt.data.layout import check_preprocessing, lay_out
from hmopt.data.reference import Reference, plane_name, planes_of
from hmopt.data.structures import Structures, merge_labels
from hmopt.data.volume import Lattice, Volume, read_image, read_labels
from hmopt.declaration import PreprocessingOptions
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


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the prepared grid of an image lies.

    Parameters
    ----------
    frame
        What the grid is laid out in.
    matrix
        (4, 4): world of the frame to world of the image.
    reference
        What the cohort shares.
    by_header
        Whether the frame is that of the reference, so that a slice of it is looked for in the image by its place.
    """

    frame: Frame
    matrix: Matrix
    reference: Reference
    by_header: bool = False


def prepare_image(
    path: Path,
    section: PreprocessingOptions,
    template: Path | None = None,
    slice_index: int | None = None,
    reference: Reference | None = None,
) -> PreparedImage:
    """Give an image prepared as those of a cohort were.

    Parameters
    ----------
    path
        Anything that nibabel reads.
    section
        The cohort's declared preprocessing.
    template
        What the cohort was aligned to (`PreparedCohort.template`); needed where placement is `affine`.
    slice_index
        Which of the declared slices; None: the first that is searched. Without declared slices it has no meaning.
    reference
        What the cohort shares (`PreparedCohort.reference`); needed where placement is `header`.

    Raises
    ------
    DataError
        If the image cannot be used (see `read_image`), the slice is not a declared one, or template or reference are
        missing.
    """
    check_preprocessing(section)
    chosen = _with_one_slice(section, slice_index)
    image = read_image(path)
    place = find_place(image, chosen, reference or Reference(), template)
    return resample_image(image, chosen, place, str(path))[0]


def find_place(
    image: Volume, section: PreprocessingOptions, reference: Reference, template: Path | None
) -> Place:
    """Give where the prepared grid of an image is laid out.

    Raises
    ------
    DataError
        If images are aligned and there is no template, or placed by their headers and there is no lattice.
    """
    if section.placement == "centre":
        return Place(
            frame=ras_frame(image.lattice, reference.axes), matrix=np.eye(4), reference=reference
        )
    if section.placement == "header":
        if reference.frame is None:
            raise DataError(
                "placement",
                expected="the lattice of the cohort",
                got="none",
                advice="Prepare the cohort again.",
            )
        return Place(frame=reference.frame, matrix=np.eye(4), reference=reference, by_header=True)
    if template is None:
        raise DataError(
            "template",
            expected="the image that the cohort was aligned to",
            got="none",
            advice="Prepare the cohort.",
        )
    aligned_to = read_image(template)
    matrix = find_alignment(image, aligned_to, background=section.background)
    return Place(
        frame=ras_frame(aligned_to.lattice, reference.axes), matrix=matrix, reference=reference
    )


def resample_image(
    image: Volume, section: PreprocessingOptions, place: Place, origin: str
) -> list[PreparedImage]:
    """Give the image, or each of its declared slices, on the prepared grid.

    Parameters
    ----------
    place
        As `find_place` gives it.
    origin
        What an error names as the place.

    Raises
    ------
    DataError
        If the image has no such slice, or lies in another plane than the cohort.
    """
    reference = place.reference
    if reference.plane is not None:
        _check_plane(image.lattice, reference, origin)
    layout = lay_out(place.frame, section, origin, reference.plane)
    to_file = np.linalg.inv(image.lattice.affine) @ place.matrix @ place.frame.to_world
    grids = [np.round(to_file @ grid, 9) for grid in layout.grids]
    if place.by_header and len(section.shape) == 2:
        axis = section.slices.axis if section.slices else cast(int, reference.plane)
        grids = [
            _on_slice(grid, image.lattice, reference, axis, section.shape, origin) for grid in grids
        ]
    normalized = normalize(image.data, section.normalization)
    outside = (
        float(normalized.min())
        if section.background is None
        else normalized_value(section.background, image.data, section.normalization)
    )
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


def background_of(image: Volume, section: PreprocessingOptions) -> float:
    """Give the intensity that an image has outside its box: the declared one, or its minimum."""
    return float(image.data.min()) if section.background is None else section.background


def _check_plane(lattice: Lattice, reference: Reference, origin: str) -> None:
    across = planes_of(lattice, reference.axes)
    if reference.plane in across:
        return
    got = f"{plane_name(across)} plane" if across else f"shape {lattice.shape}"
    expected = f"{plane_name({cast(int, reference.plane)})} plane"
    raise DataError(
        origin,
        expected=expected,
        got=got,
        advice="Take images of one plane, or correct the headers.",
    )


def _on_slice(
    grid: Matrix,
    lattice: Lattice,
    reference: Reference,
    axis: int,
    shape: Sequence[int],
    origin: str,
) -> Matrix:
    """Give a 2-D grid moved onto the slice of the file that is nearest to it.

    Slices are thick and seldom at the very same places. Values between two of them would be mixed from both, so that
    the nearest one is taken as it is.
    """
    orientation = io_orientation(rotated(lattice.affine, reference.axes))
    across = int(np.flatnonzero(orientation[:, 0] == axis)[0])
    middle = np.array([(shape[0] - 1) / 2, (shape[1] - 1) / 2, 0, 1])
    found = float((grid @ middle)[across])
    count = lattice.shape[across]
    single = count == 1
    if not single and not -0.5 <= found <= count - 0.5:
        step = float(np.linalg.norm(lattice.affine[:3, across]))
        beyond = step * max(-found, found - (count - 1))
        raise DataError(
            origin,
            expected="a slice at the place of every declared one",
            got=f"one of them {beyond:.3g} mm beyond the last slice",
            advice="Choose preprocessing.slices.indices that every image has.",
        )
    moved = grid.copy()
    moved[across, :2] = 0
    moved[across, 3] = 0 if single else min(count - 1, max(0, round(found)))
    return moved


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
    found = (
        resample(labels.data, item.grid, item.data.shape, order=0, outside=0) for item in prepared
    )
    return [_without_small(merge_labels(codes, structures), minimum_voxels) for codes in found]


def _without_small(label_map: NDArray[Any], minimum_voxels: int) -> NDArray[Any]:
    small = np.bincount(label_map.ravel()) < minimum_voxels
    return np.where(small[label_map], label_map.dtype.type(0), label_map)


def _with_one_slice(section: PreprocessingOptions, index: int | None) -> PreprocessingOptions:
    if section.slices is None:
        return section
    declared = section.slices.search_indices or section.slices.indices
    chosen = declared[0] if index is None else index
    if chosen not in section.slices.indices:
        raise DataError(
            "slice",
            expected=f"one of {section.slices.indices}",
            got=chosen,
            advice="Choose a declared slice.",
        )
    slices = section.slices.model_copy(update={"indices": [chosen], "search_indices": []})
    return section.model_copy(update={"slices": slices})
