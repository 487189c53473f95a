"""Images and label maps as they are on disk, read by nibabel and checked."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from hmopt.data.header import affine_mm
from hmopt.errors import DataError

_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    zlib.error,
    nibabel.filebasedimages.ImageFileError,
    nibabel.spatialimages.HeaderDataError,
    nibabel.wrapstruct.WrapStructError,
)
_GRID_TOLERANCE = 0.05
"""Share of a voxel by which the corners of an image and its label map may differ."""


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Where the voxels of a file are.

    Parameters
    ----------
    shape
        Voxels along the three axes of the file; a 2-D file has 1 along the third.
    affine
        (4, 4): voxel of the file to world, in mm.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """(3,): the world's place of the middle of the box."""
        middle = (np.array(self.shape) - 1) / 2
        place: NDArray[np.float64] = (self.affine @ [*middle, 1.0])[:3]
        return place


@dataclass(frozen=True, kw_only=True)
class Volume:
    """The voxels of a file, with their places.

    Parameters
    ----------
    data
        (x, y, z) in the axes of the file: float32 intensities, or int64 codes.
    lattice
        Where they are.
    """

    data: NDArray[Any]
    lattice: Lattice


def read_lattice(path: Path) -> Lattice:
    """Give shape and affine of a file without reading its voxels.

    Raises
    ------
    DataError
        If the file is missing or unreadable, has more than three axes longer than 1, or no usable affine.
    """
    return _lattice(path, _open(path))


def read_image(path: Path) -> Volume:
    """Give the intensities of an image as float32.

    Raises
    ------
    DataError
        As `read_lattice`; also where an intensity is NaN or infinite, complex or coloured.
    """
    file = _open(path)
    lattice = _lattice(path, file)
    data = _voxels(path, file)
    if data.dtype.kind not in "buif":
        raise DataError(str(path), expected="one real number per voxel", got=data.dtype, advice="Convert the image.")
    with np.errstate(over="ignore"):
        intensities = data.reshape(lattice.shape).astype(np.float32)
    bad = int(np.count_nonzero(~np.isfinite(intensities)))
    if bad:
        raise DataError(
            str(path), expected="finite intensities", got=f"{bad} voxels NaN or infinite", advice="Repair the image."
        )
    return Volume(data=intensities, lattice=lattice)


def read_labels(path: Path) -> Volume:
    """Give the codes of a label map as int64.

    Raises
    ------
    DataError
        As `read_lattice`; also where a voxel is no whole number of at least 0.
    """
    file = _open(path)
    lattice = _lattice(path, file)
    data = _voxels(path, file)
    if data.dtype.kind not in "buif" or not _whole(data):
        raise DataError(
            str(path),
            expected="whole numbers of at least 0",
            got="other values",
            advice="Give the label map itself, not probabilities or a map resampled by interpolation.",
        )
    return Volume(data=data.reshape(lattice.shape).astype(np.int64), lattice=lattice)


def check_same_lattice(image: Path, label: Path) -> None:
    """Refuse a label map that does not lie on the voxels of its image.

    Raises
    ------
    DataError
        If shapes differ, or a corner lies elsewhere by more than a twentieth of a voxel.
    """
    expected, got = read_lattice(image), read_lattice(label)
    advice = "Resample the label map to its image by nearest neighbour, or correct the pairing."
    if got.shape != expected.shape:
        raise DataError(str(label), expected=f"shape {expected.shape} of {image.name}", got=got.shape, advice=advice)
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)], dtype=float).T
    corners[:3] *= np.array(expected.shape)[:, None] - 1
    apart = np.abs(np.linalg.solve(expected.affine, got.affine @ corners) - corners).max()
    if apart > _GRID_TOLERANCE:
        raise DataError(
            str(label), expected=f"the affine of {image.name}", got=f"corners {apart:.3g} voxels apart", advice=advice
        )


def _open(path: Path) -> Any:
    if not path.is_file():
        raise DataError(str(path), expected="an image file", got="no file", advice="Correct the path or add the file.")
    try:
        return nibabel.load(path)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _voxels(path: Path, file: Any) -> NDArray[Any]:
    try:
        return np.asarray(file.dataobj)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        str(path), expected="an image that nibabel reads", got=f"an unreadable file ({reason})", advice="Replace it."
    )


def _lattice(path: Path, file: Any) -> Lattice:
    shape = tuple(int(n) for n in file.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape = (*shape, 1) if len(shape) == 2 else shape
    if len(shape) != 3 or 0 in shape:
        raise DataError(
            str(path), expected="one 2-D or 3-D image", got=f"{len(shape)}-D, shape {shape}", advice="Take one volume."
        )
    return Lattice(shape=shape, affine=affine_mm(file, path))


def _whole(data: NDArray[Any]) -> bool:
    if data.dtype.kind == "f" and not (np.isfinite(data).all() and (data == np.rint(data)).all()):
        return False
    return data.dtype.kind in "bu" or int(data.min()) >= 0
