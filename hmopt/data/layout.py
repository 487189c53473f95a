"""Which prepared grids an image gives: itself, or some of its planes."""

from dataclasses import dataclass

from hmopt.data.grid import Frame, Matrix, centred_grid, slice_grid
from hmopt.declaration import PreprocessingOptions
from hmopt.errors import DataError, DeclarationError

NO_SLICE = -1


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The prepared grids of one image.

    Parameters
    ----------
    slices
        The voxel along the slice axis of each grid; `NO_SLICE` where the image is taken as it is.
    grids
        (4, 4) each: prepared voxel to voxel of the frame.
    spacing_mm
        Distances of prepared voxels, 2 or 3.
    """

    slices: tuple[int, ...]
    grids: tuple[Matrix, ...]
    spacing_mm: tuple[float, ...]


def lay_out(
    frame: Frame, section: PreprocessingOptions, origin: str, plane: int | None = None
) -> Layout:
    """Give the prepared grids of an image.

    Parameters
    ----------
    frame
        The image's voxels in RAS+ order, or its template's.
    section
        The declared preprocessing.
    origin
        What an error names as the place.
    plane
        The axis that 2-D images lie across; None: the last along which the frame has one voxel.

    Raises
    ------
    DataError
        If the image has no such slice, or is a volume where a 2-D image is needed.
    """
    if len(section.shape) == 3:
        spacing = tuple(section.spacing_mm or frame.spacing_mm)
        grid = centred_grid(frame, tuple(section.shape), spacing)
        return Layout(slices=(NO_SLICE,), grids=(grid,), spacing_mm=spacing)
    axis, indices, named = _planes(frame, section, origin, plane)
    spacing = tuple(section.spacing_mm or [s for a, s in enumerate(frame.spacing_mm) if a != axis])
    grids = tuple(
        slice_grid(frame, axis, index, tuple(section.shape), spacing) for index in indices
    )
    return Layout(slices=named, grids=grids, spacing_mm=spacing)


def slices_of(section: PreprocessingOptions) -> list[int]:
    """Give the declared slices; `NO_SLICE` alone where none are."""
    return section.slices.indices if section.slices else [NO_SLICE]


def check_preprocessing(section: PreprocessingOptions) -> None:
    """Refuse a declaration that contradicts itself.

    Raises
    ------
    DeclarationError
        If lengths of shape and spacing differ, slices go with a 3-D shape, or a slice is searched but not prepared.
    """
    dimensions = len(section.shape)
    _require(min(section.shape) >= 1, "shape", "numbers of at least 1", section.shape)
    if section.spacing_mm is not None:
        positive = len(section.spacing_mm) == dimensions and min(section.spacing_mm) > 0
        _require(
            positive,
            "spacing_mm",
            f"{dimensions} distances above 0, one for each of shape",
            section.spacing_mm,
        )
    if section.slices is None:
        return
    _require(dimensions == 2, "shape", "2 numbers, because slices are declared", section.shape)
    indices = section.slices.indices
    _require(bool(indices), "slices.indices", "at least one slice", "none")
    _require(
        len(set(indices)) == len(indices) and min(indices) >= 0,
        "slices.indices",
        "each slice once",
        indices,
    )
    unknown = sorted(set(section.slices.search_indices) - set(indices))
    _require(not unknown, "slices.search_indices", "some of slices.indices", unknown)


def _require(holds: bool, field: str, expected: str, got: object) -> None:
    if not holds:
        raise DeclarationError(
            f"preprocessing.{field}", expected=expected, got=got, advice="Correct the declaration."
        )


def _planes(
    frame: Frame, section: PreprocessingOptions, origin: str, plane: int | None
) -> tuple[int, list[int], tuple[int, ...]]:
    if section.slices is None and plane is not None:
        return plane, [0], (NO_SLICE,)
    if section.slices is None:
        flat = [axis for axis, length in enumerate(frame.shape) if length == 1]
        if not flat:
            raise DataError(
                origin,
                expected="a 2-D image",
                got=f"shape {frame.shape}",
                advice="Declare preprocessing.slices.",
            )
        return flat[-1], [0], (NO_SLICE,)
    axis, indices = section.slices.axis, section.slices.indices
    if max(indices) >= frame.shape[axis]:
        raise DataError(
            origin,
            expected=f"slice {max(indices)} along axis {axis}",
            got=f"{frame.shape[axis]} slices",
            advice="Choose preprocessing.slices.indices that every image has.",
        )
    return axis, indices, tuple(indices)
