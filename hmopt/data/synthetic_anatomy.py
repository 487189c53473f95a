"""The common anatomy: named structures as signed distances, and the region that each governs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.errors import DataError

Array = NDArray[np.float64]
"""Scalars on a grid, (*shape), or vectors, (axes, *shape)."""

SMALLEST_AXIS = 24
_SMALLEST_SLOPE = 1e-9
_BLUR = 0.06
"""Width of the transition between the regions that structures govern, in halves of the grid."""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """One structure of the common anatomy; lengths are in halves of the grid, whose centre is 0.

    Parameters
    ----------
    name
        As in `dseg.tsv`.
    centre, radii
        Of the right half of a paired structure, or of the only one.
    sides
        (1, -1): a mirrored pair; (1,): one body.
    tilt_degrees
        Rotation in the plane of the first two axes.
    folds, folds_depth
        Number of waves of the boundary around the centre, and their amplitude.
    intensities
        Mean brightness in [0, 1] by contrast.
    detail
        Size of the details in which the structure differs between subjects.
    variation
        Standard deviation of the velocity that makes subjects differ there, at that size.
    texture
        Standard deviation of brightness patterns around it that belong to one image only, and so
        mislead.
    """

    name: str
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radii: tuple[float, float, float]
    sides: tuple[int, ...] = (1, -1)
    tilt_degrees: float = 0.0
    folds: int = 0
    folds_depth: float = 0.0
    intensities: dict[str, float]
    detail: float
    variation: float
    texture: float


STRUCTURES = (
    Structure(
        name="cortex",
        radii=(0.72, 0.86, 0.80),
        sides=(1,),
        folds=16,
        folds_depth=0.02,
        intensities={"T1": 0.45, "T2": 0.70},
        detail=0.075,
        variation=0.045,
        texture=0.0,
    ),
    Structure(
        name="white-matter",
        radii=(0.56, 0.70, 0.64),
        sides=(1,),
        folds=16,
        folds_depth=0.035,
        intensities={"T1": 0.90, "T2": 0.30},
        detail=0.20,
        variation=0.05,
        texture=0.045,
    ),
    Structure(
        name="ventricle",
        centre=(0.10, 0.20, 0.0),
        radii=(0.085, 0.24, 0.30),
        tilt_degrees=15,
        intensities={"T1": 0.10, "T2": 1.0},
        detail=0.12,
        variation=0.04,
        texture=0.02,
    ),
    Structure(
        name="hippocampus",
        centre=(0.30, -0.42, 0.0),
        radii=(0.17, 0.10, 0.20),
        tilt_degrees=40,
        intensities={"T1": 0.50, "T2": 0.65},
        detail=0.30,
        variation=0.05,
        texture=0.04,
    ),
    Structure(
        name="putamen",
        centre=(0.36, 0.14, 0.0),
        radii=(0.10, 0.23, 0.25),
        tilt_degrees=-12,
        intensities={"T1": 0.72, "T2": 0.42},
        detail=0.35,
        variation=0.05,
        texture=0.06,
    ),
    Structure(
        name="thalamus",
        centre=(0.17, -0.18, 0.0),
        radii=(0.16, 0.19, 0.22),
        tilt_degrees=20,
        intensities={"T1": 0.78, "T2": 0.38},
        detail=0.55,
        variation=0.05,
        texture=0.14,
    ),
)

TRUE_ORDER = (("cortex", "ventricle", "white-matter"), ("hippocampus", "putamen", "thalamus"))
"""Names of the rough and of the smooth structures, by the size of the details in which subjects
differ.

The best regularization is higher for the second group; within a group, structures may change
places.
"""


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The anatomy that every subject is a deformation of.

    Parameters
    ----------
    structures
        From the outermost to the innermost: a later one lies on top of an earlier one.
    distances
        Signed distance to each structure's boundary in voxels, negative inside, shape
        (structures, *shape).
    shares
        How much each structure governs the place, in [0, 1] with a sum of at most 1, shape
        (structures, *shape): deformation and texture near a structure are those of that structure.
    """

    structures: tuple[Structure, ...]
    distances: Array
    shares: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        _, *shape = self.distances.shape
        return tuple(shape)

    @property
    def unit(self) -> float:
        """Voxels in one unit of the structures' lengths: half of the grid."""
        length = float(np.mean(self.shape))
        return length / 2


def make_anatomy(shape: tuple[int, ...]) -> Anatomy:
    """Return the anatomy on a grid of 2 or 3 axes; in 2-D it is the middle plane of the 3-D one.

    Raises
    ------
    DataError
        If the grid is neither 2-D nor 3-D, or too small to show the structures.

    Examples
    --------
    >>> make_anatomy((48, 48)).distances.shape
    (6, 48, 48)
    """
    if len(shape) not in (2, 3) or min(shape) < SMALLEST_AXIS:
        raise DataError(
            "shape",
            expected=f"2 or 3 axes of at least {SMALLEST_AXIS} voxels",
            got=shape,
            advice="Enlarge the grid.",
        )
    unit = float(np.mean(shape)) / 2
    points = _points(shape)
    distances = np.stack([_distance(structure, points) * unit for structure in STRUCTURES])
    shares = _shares(paint(distances), unit)
    return Anatomy(structures=STRUCTURES, distances=distances, shares=shares)


def paint(distances: Array) -> NDArray[np.uint8]:
    """Return the label map of signed distances: 0, or 1 + the index of the structure on top."""
    _, *shape = distances.shape
    labels = np.zeros(shape, dtype=np.uint8)
    for label, distance in enumerate(distances, start=1):
        inside = distance < 0
        labels[inside] = label
    return labels


def _points(shape: tuple[int, ...]) -> Array:
    """Return the places (3, *shape) of voxels in halves of the grid, in [-1, 1]; in 2-D, z is 0."""
    axes = []
    for size in shape:
        half = size / 2
        middle = (size - 1) / 2
        from_middle = np.arange(size) - middle
        axes.append(from_middle / half)
    if len(shape) == 2:
        axes.append(np.zeros(1))
    x, y, z = np.meshgrid(*axes, indexing="ij")
    points = np.stack([x, y, z])
    return points.reshape(3, *shape)


def _distance(structure: Structure, points: Array) -> Array:
    """Return the signed distance to the boundary of a structure, with its waves, at some points."""
    sides = [_ellipsoid(structure, points, side) for side in structure.sides]
    nearest = np.minimum.reduce(sides)
    folds = _folds(points, structure.folds)
    waves = structure.folds_depth * folds
    distance: Array = nearest + waves
    return distance


def _ellipsoid(structure: Structure, points: Array, side: int) -> Array:
    """Return the approximate signed distance to an ellipsoid.

    At q = (x / a, y / b, z / c), in the axes of the ellipsoid of radii a, b, c, it is

        |q| (|q| - 1) / |(x / a², y / b², z / c²)|,

    the value of |q| - 1 divided by its slope, so that it is exact to first order at the boundary.

    References
    ----------
    https://iquilezles.org/articles/ellipsoids
    """
    dimensions = points.ndim - 1
    column = (3, *[1] * dimensions)
    mirroring = (side, 1, 1)
    centre = np.multiply(structure.centre, mirroring)
    radii = np.reshape(structure.radii, column)
    x, y, z = points - centre.reshape(column)
    tilt_degrees = side * structure.tilt_degrees
    angle = np.radians(tilt_degrees)
    cosine = np.cos(angle)
    sine = np.sin(angle)
    across = cosine * x + sine * y
    along = cosine * y - sine * x
    place = np.stack([across, along, z])
    norm = _length(place / radii)
    slope = _length(place / radii**2)
    is_away = slope > _SMALLEST_SLOPE
    divisor = np.maximum(slope, _SMALLEST_SLOPE)
    distance = norm * (norm - 1) / divisor
    at_centre = -min(structure.radii)
    return np.where(is_away, distance, at_centre)


def _length(vectors: Array) -> Array:
    squares = vectors**2
    lengths: Array = np.sqrt(np.sum(squares, axis=0))
    return lengths


def _folds(points: Array, count: int) -> Array:
    """Return waves in [-1, 1] around the centre."""
    x, y, z = points
    angle = np.arctan2(y, x)
    angles = count * angle
    around = np.cos(angles)
    upwards = np.cos(count * z)
    waves: Array = around * upwards
    return waves


def _shares(labels: NDArray[np.uint8], unit: float) -> Array:
    """Return smoothed indicators of the structures, (structures, *shape), of a sum of at most 1."""
    smoothed = []
    blur = _BLUR * unit
    count = len(STRUCTURES)
    for label in range(1, count + 1):
        inside = labels == label
        indicator = inside.astype(float)
        share = ndimage.gaussian_filter(indicator, blur)
        smoothed.append(share)
    total = np.sum(smoothed, axis=0)
    divisor = np.maximum(total, 0.05)
    stacked = np.stack(smoothed)
    shares: Array = stacked / divisor
    return shares
