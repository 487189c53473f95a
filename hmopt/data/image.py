"""One image on its prepared grids: the same for images of a cohort and for others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from hmopt.data.alignment import find_alignment
from hmopt.data.grid import Frame, Matrix, lay_out, ras_frame, resample, rotated, smooth_for
from hmopt.data.reference import Reference, plane_name, planes_of
from hmopt.data.structures import WHOLE_IMAGE_CODE, Structures, merge_labels
from hmopt.data.volume import Lattice, Volume, normalize, normalized_value, read_image, read_labels
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
        The voxels in which the grid is laid out.
    matrix
        (4, 4): world of the frame to world of the image.
    reference
        Axes and lattice that the cohort shares.
    by_header
        Whether the frame is that of the reference, so that a slice of it is looked for in the
        image by its place.
    alignment_failed
        Whether the image should lie on the template and lies centre on centre with it instead.
    """

    frame: Frame
    matrix: Matrix
    reference: Reference
    by_header: bool = False
    alignment_failed: bool = False


def find_place(
    image: Volume,
    options: PreprocessingOptions,
    reference: Reference,
    template: Path | None,
) -> Place:
    """Return where the prepared grid of an image is laid out.

    Parameters
    ----------
    image
        Its intensities.
    options
        The declared preprocessing.
    reference
        Axes and lattice that the cohort shares.
    template
        The file of the image that the cohort was aligned to; needed where placement is `affine`.

    Raises
    ------
    DataError
        If images are aligned and there is no template, or placed by their headers and there is no
        lattice.
    """
    if options.placement == "centre":
        frame = ras_frame(image.lattice, reference.axes)
        return Place(frame=frame, matrix=np.eye(4), reference=reference)
    if options.placement == "header":
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
    frame = ras_frame(aligned_to.lattice, reference.axes)
    alignment = find_alignment(
        image, aligned_to, background=options.background, axes=reference.axes
    )
    return Place(
        frame=frame,
        matrix=alignment.matrix,
        reference=reference,
        alignment_failed=alignment.failed,
    )


def resample_image(
    image: Volume, options: PreprocessingOptions, place: Place, origin: str
) -> list[PreparedImage]:
    """Return the image, or each of its declared slices, on the prepared grid.

    A prepared voxel p lies at voxel

        A⁻¹ M F G p

    of the file, with the grid G (prepared voxel to voxel of the frame), the frame F (to the
    frame's world), the placement M (to the world of the image) and the file's affine A.

    Parameters
    ----------
    image
        Its intensities.
    options
        The declared preprocessing.
    place
        As of `find_place`.
    origin
        What an error names as the place.

    Raises
    ------
    DataError
        If the image has no such slice, or lies in another plane than the cohort.
    """
    reference = place.reference
    if reference.plane is not None:
        _check_plane(image.lattice, reference.axes, reference.plane, origin)
    layout = lay_out(place.frame, options, origin, reference.plane)
    shape = tuple(options.shape)
    frame_to_file = np.linalg.inv(image.lattice.affine) @ place.matrix @ place.frame.to_world
    grids = [np.round(frame_to_file @ grid, 9) for grid in layout.grids]
    axis = options.slices.axis if options.slices else reference.plane
    if place.by_header and len(shape) == 2 and axis is not None:
        grids = [
            _on_nearest_slice(grid, image.lattice, reference.axes, axis, shape, origin)
            for grid in grids
        ]
    normalized = normalize(image.data, options.normalization)
    outside = float(normalized.min())
    if options.background is not None:
        outside = normalized_value(options.background, image.data, options.normalization)
    smooth = smooth_for(normalized, grids[0], len(shape))
    prepared = []
    for index, grid in zip(layout.slices, grids, strict=True):
        item = PreparedImage(
            data=resample(smooth, grid, shape, order=1, outside=outside),
            grid=grid,
            original=image.lattice,
            slice=index,
            spacing_mm=layout.spacing_mm,
        )
        prepared.append(item)
    return prepared


def resample_labels(
    path: Path | None,
    prepared: Sequence[PreparedImage],
    structures: Structures,
    minimum_voxels: int,
) -> list[NDArray[Any]]:
    """Return the label map on each prepared grid, merged to structures.

    Parameters
    ----------
    path
        The file of the label map; None: the whole image is one structure.
    prepared
        Its image on the prepared grids.
    structures
        Codes of the structures.
    minimum_voxels
        A structure with fewer voxels is taken out of a label map.
    """
    original = prepared[0].original
    if path is None:
        all_codes = np.full(original.shape, WHOLE_IMAGE_CODE, dtype=np.int64)
    else:
        all_codes = read_labels(path, original).data
    # before resampling, which computes in doubles: these do not hold every code
    all_labels = merge_labels(all_codes, structures)
    label_maps = []
    for item in prepared:
        shape = item.data.shape
        label_map = resample(all_labels, item.grid, shape, order=0, outside=0)
        label_maps.append(_without_small(label_map, minimum_voxels))
    return label_maps


def background_of(image: Volume, options: PreprocessingOptions) -> float:
    """Return the intensity outside an image's box: the declared one, or the image's minimum."""
    if options.background is not None:
        return options.background
    return float(image.data.min())


def _check_plane(lattice: Lattice, axes: Matrix, plane: int, origin: str) -> None:
    planes = planes_of(lattice, axes)
    if plane not in planes:
        raise DataError(
            origin,
            expected=f"{plane_name({plane})} plane",
            got=f"{plane_name(planes)} plane" if planes else f"shape {lattice.shape}",
            advice="Take images of one plane, or correct the headers.",
        )


def _on_nearest_slice(
    grid: Matrix,
    lattice: Lattice,
    axes: Matrix,
    axis: int,
    shape: Sequence[int],
    origin: str,
) -> Matrix:
    """Return a 2-D grid moved onto the slice of the file that is nearest to it.

    Slices are thick and seldom at the very same places. Values between two of them would be mixed
    from both, so that the nearest one is taken as it is.
    """
    orientation = io_orientation(rotated(lattice.affine, axes))
    across = int(np.flatnonzero(orientation[:, 0] == axis)[0])
    count = lattice.shape[across]
    nearest = 0
    if count > 1:
        middle = np.array([(shape[0] - 1) / 2, (shape[1] - 1) / 2, 0, 1])
        found = float((grid @ middle)[across])
        if not -0.5 <= found <= count - 0.5:
            step_mm = float(np.linalg.norm(lattice.affine[:3, across]))
            beyond_mm = step_mm * max(-found, found - (count - 1))
            raise DataError(
                origin,
                expected="a slice at the place of every declared one",
                got=f"one of them {beyond_mm:.3g} mm beyond the last slice",
                advice="Choose preprocessing.slices.indices that every image has.",
            )
        nearest = min(count - 1, max(0, round(found)))
    moved = grid.copy()
    moved[across, :2] = 0
    moved[across, 3] = nearest
    return moved


def _without_small(label_map: NDArray[Any], minimum_voxels: int) -> NDArray[Any]:
    voxels = np.bincount(label_map.ravel())
    small = voxels < minimum_voxels
    background = label_map.dtype.type(0)
    return np.where(small[label_map], background, label_map)
