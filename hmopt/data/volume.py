"""Images and label maps as they are on disk, read by nibabel and checked."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from hmopt.data.formats import open_header, open_whole, read_voxels
from hmopt.data.header import affine_mm
from hmopt.errors import DataError

Normalization = Literal["percentile", "minmax", "zscore"]

_PERCENTILES = (0.5, 99.5)

_GRID_TOLERANCE = 0.05
"""Share of a voxel by which the corners of an image and its label map may differ."""
_LARGEST_INTENSITY = 1e20
"""Beyond it, sums of squares overflow single precision."""
_WHOLE_TOLERANCE = 1e-3
_SCALED_TOLERANCE = 2e-5
"""A code c may be stored as a number within 0.001 + 0.00002 c: scaled integers do not hit whole
numbers exactly."""


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
        """(3,): the place of the middle of the box in the world."""
        middle = np.subtract(self.shape, 1) / 2
        place: NDArray[np.float64] = self.affine @ [*middle, 1.0]
        return place[:3]


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
    """Read shape and affine of a file without its voxels.

    Raises
    ------
    DataError
        If the file is missing or unreadable, has more than three axes longer than 1, or no usable
        affine.
    """
    return _lattice(path, open_header(path))


def read_image(path: Path) -> Volume:
    """Read the intensities of an image as float32.

    Raises
    ------
    DataError
        As `read_lattice`; also where an intensity is NaN or infinite, complex or coloured.
    """
    file = open_whole(path)
    lattice = _lattice(path, file)
    data = read_voxels(path, file)
    _check_real(path, data)
    with np.errstate(over="ignore"):
        intensities = data.reshape(lattice.shape).astype(np.float32)
    bad = int(np.count_nonzero(~np.isfinite(intensities)))
    if not bad and max(float(intensities.max()), -float(intensities.min())) > _LARGEST_INTENSITY:
        raise DataError(
            str(path),
            expected=f"intensities up to {_LARGEST_INTENSITY:g}",
            got="larger ones",
            advice="Repair the scaling in the header of the image.",
        )
    if bad:
        raise DataError(
            str(path),
            expected="finite intensities",
            got=f"{bad} voxels NaN or infinite",
            advice="Repair the image.",
        )
    return Volume(data=intensities, lattice=lattice)


def check_varied(path: Path, image: Volume) -> None:
    """Refuse an image with one intensity everywhere: nothing in it can be registered.

    Raises
    ------
    DataError
        If it has.
    """
    lowest = float(image.data.min())
    if lowest == float(image.data.max()):
        raise DataError(
            str(path),
            expected="intensities that differ",
            got=f"{lowest:g} everywhere",
            advice="Replace the file or take it out.",
        )


def read_labels(path: Path, like: Lattice | None = None) -> Volume:
    """Read the codes of a label map as int64.

    Parameters
    ----------
    path
        The file. Codes may be stored as numbers that miss whole ones by rounding; NaN stands for
        the background.
    like
        Where the voxels of its image are: a label map that stores the same voxels in another order
        of axes, or backwards, is brought to the order of the image. Left out: the order of the
        file.

    Raises
    ------
    DataError
        As `read_lattice`; also where a voxel is no whole number of at least 0, or the voxels are
        not those of `like`.

    Warns
    -----
    UserWarning
        If some voxels are NaN.
    """
    file = open_whole(path)
    lattice = _lattice(path, file)
    data = read_voxels(path, file)
    _check_real(path, data)
    codes = _whole_numbers(path, data)
    codes = codes.reshape(lattice.shape)
    if like is None:
        return Volume(data=codes, lattice=lattice)
    orientation = _relative_orientation(lattice, like)
    reordered = _reordered(lattice, orientation)
    _check_alike(path, reordered, like, "its image")
    return Volume(data=apply_orientation(codes, orientation), lattice=reordered)


def check_same_lattice(image: Path, label: Path) -> None:
    """Check that a label map lies on the voxels of its image, in whichever order it stores them.

    Raises
    ------
    DataError
        If shapes differ, or a corner lies elsewhere by more than a twentieth of a voxel.
    """
    expected = read_lattice(image)
    got = read_lattice(label)
    reordered = _reordered(got, _relative_orientation(got, expected))
    if reordered.shape == expected.shape:
        got = reordered
    _check_alike(label, got, expected, image.name)


def _check_alike(label: Path, got: Lattice, expected: Lattice, image: str) -> None:
    advice = "Resample the label map to its image by nearest neighbour, or correct the pairing."
    if got.shape != expected.shape:
        raise DataError(
            str(label),
            expected=f"shape {expected.shape} of {image}",
            got=got.shape,
            advice=advice,
        )
    # (4, 8): the corners of the box, in voxels
    corners = np.ones((4, 8))
    corners[:3] = np.indices((2, 2, 2)).reshape(3, 8)
    corners[:3] *= np.array(expected.shape)[:, None] - 1
    found = np.linalg.solve(expected.affine, got.affine @ corners)
    apart = np.abs(found - corners).max()
    if apart > _GRID_TOLERANCE:
        raise DataError(
            str(label),
            expected=f"the affine of {image}",
            got=f"corners {apart:.3g} voxels apart",
            advice=advice,
        )


def _relative_orientation(lattice: Lattice, like: Lattice) -> NDArray[np.float64]:
    """Return nibabel's orientation that brings voxels of a lattice to the order of another."""
    to_like = np.linalg.solve(like.affine, lattice.affine)
    orientation: NDArray[np.float64] = io_orientation(to_like)
    return orientation


def _reordered(lattice: Lattice, orientation: NDArray[np.float64]) -> Lattice:
    places = orientation[:, 0].astype(int)
    shape = np.empty(3, dtype=int)
    shape[places] = lattice.shape
    x, y, z = shape.tolist()
    affine = lattice.affine @ inv_ornt_aff(orientation, lattice.shape)
    return Lattice(shape=(x, y, z), affine=affine)


def _lattice(path: Path, file: Any) -> Lattice:
    shape = tuple(int(length) for length in file.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or 0 in shape:
        raise DataError(
            str(path),
            expected="one 2-D or 3-D image",
            got=f"{len(shape)}-D, shape {shape}",
            advice="Take one volume.",
        )
    return Lattice(shape=shape, affine=affine_mm(file, path))


def _check_real(path: Path, data: NDArray[Any]) -> None:
    kind = data.dtype.kind
    if kind in "buif":
        return
    named = {"V": "colours", "c": "complex numbers"}
    raise DataError(
        str(path),
        expected="one real number per voxel",
        got=named.get(kind, str(data.dtype)),
        advice="Convert the image: to grey values, or to magnitudes.",
    )


def _whole_numbers(path: Path, data: NDArray[Any]) -> NDArray[np.int64]:
    """Return codes as whole numbers; NaN becomes the background."""
    if data.dtype.kind == "f":
        data = _without_nan(path, data)
        if not np.isfinite(data).all():
            raise _not_labels(path, "infinite values")
        nearest = np.rint(data)
        off = np.abs(data - nearest)
        tolerance = _WHOLE_TOLERANCE + _SCALED_TOLERANCE * np.abs(nearest)
        if (off > tolerance).any():
            raise _not_labels(path, f"other values ({data.flat[off.argmax()]:g})")
        if data.any() and not nearest.any():
            # codes that the header scales to nearly nothing
            raise _not_labels(path, f"no value above {data.max():g}")
        data = nearest
    lowest = data.min()
    highest = data.max()
    if int(lowest) < 0:
        raise _not_labels(path, f"other values ({lowest:g})")
    if float(highest) > np.iinfo(np.int64).max:
        raise _not_labels(path, f"other values ({highest:g})")
    return data.astype(np.int64)


def _without_nan(path: Path, data: NDArray[Any]) -> NDArray[Any]:
    missing = np.isnan(data)
    if not missing.any():
        return data
    if missing.all():
        raise _not_labels(path, "NaN everywhere")
    warnings.warn(
        f"{path.name}: {missing.sum()} voxels are NaN and count as background.",
        stacklevel=4,
    )
    return np.where(missing, 0, data)


def _not_labels(path: Path, got: str) -> DataError:
    return DataError(
        str(path),
        expected="whole numbers of at least 0",
        got=got,
        advice="Give the label map itself, not probabilities or a map resampled by interpolation.",
    )


def normalize(data: NDArray[np.float32], method: Normalization) -> NDArray[np.float32]:
    """Return an image's intensities on a scale that does not depend on the scanner's.

    Intensity v becomes (v - low) / width.

    Parameters
    ----------
    data
        Intensities of one image, any shape.
    method
        `percentile`: the 0.5th to the 99.5th percentile to [0, 1], what lies outside clipped;
        `minmax`: minimum to maximum to [0, 1]; `zscore`: mean 0 and standard deviation 1.

    Returns
    -------
    NDArray
        The same shape; all zeros where the image is of one intensity.

    Examples
    --------
    >>> normalize(np.array([10.0, 20.0, 30.0], dtype=np.float32), "minmax")
    array([0. , 0.5, 1. ], dtype=float32)
    """
    low, width = _scale(data, method)
    normalized = data - low
    normalized = normalized / width
    if method != "zscore":
        normalized = normalized.clip(0, 1)
    return normalized.astype(np.float32)


def normalized_value(value: float, data: NDArray[np.float32], method: Normalization) -> float:
    """Return what an intensity is on the scale to which an image is normalized.

    Parameters
    ----------
    value
        In the unit of `data`.
    data
        Intensities of one image, any shape.
    method
        As of `normalize`.

    Examples
    --------
    >>> ct = np.array([-1000.0, 0.0, 1000.0], dtype=np.float32)
    >>> normalized_value(0, ct, "minmax"), normalized_value(-2000, ct, "minmax")
    (0.5, 0.0)
    """
    low, width = _scale(data, method)
    normalized = (value - low) / width
    if method == "zscore":
        return normalized
    not_below = max(0.0, normalized)
    return min(1.0, not_below)


def _scale(data: NDArray[np.float32], method: Normalization) -> tuple[float, float]:
    """Return the intensity that becomes 0, and the difference of intensities that becomes 1."""
    if method == "zscore":
        mean = float(data.mean(dtype=np.float64))
        deviation = float(data.std(dtype=np.float64))
        return mean, deviation or 1.0
    low = float(data.min())
    high = float(data.max())
    if method == "percentile":
        inner_low, inner_high = np.percentile(data, _PERCENTILES).tolist()
        # an image that is nearly all background has both percentiles in it: its whole range is taken
        if inner_high > inner_low:
            low = inner_low
            high = inner_high
    return low, (high - low) or 1.0
