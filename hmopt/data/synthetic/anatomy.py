"""The common anatomy: named structures as signed distances, and where each one rules."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.data.synthetic.structures import STRUCTURES, Structure
from hmopt.errors import DataError

SMALLEST_AXIS = 24


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The anatomy that every subject is a deformation of.

    Parameters
    ----------
    structures
        From the outermost to the innermost: a later one lies on top of an earlier one.
    distances
        Signed distance to each structure's boundary in voxels, negative inside, shape (structures, *shape).
    shares
        How much each structure rules the place, in [0, 1] with a sum of at most 1, shape (structures, *shape):
        deformation and texture near a structure are those of that structure.
    """

    structures: tuple[Structure, ...]
    distances: NDArray[np.float64]
    shares: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.distances.shape[1:]

    @property
    def unit(self) -> float:
        """Voxels in one unit of the structures' lengths: half of the grid."""
        return float(np.mean(self.shape)) / 2


def make_anatomy(shape: tuple[int, ...]) -> Anatomy:
    """Give the anatomy on a grid of 2 or 3 axes; in 2-D it is the middle plane of the 3-D one.

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
    points = _points(shape)
    unit = float(np.mean(shape)) / 2
    distances = np.stack([_distance(structure, points) * unit for structure in STRUCTURES])
    return Anatomy(
        structures=STRUCTURES, distances=distances, shares=_shares(paint(distances), unit)
    )


def paint(distances: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Give the label map of signed distances: 0 outside of all, else 1 + the index of the structure on top."""
    labels = np.zeros(distances.shape[1:], dtype=np.uint8)
    for index, distance in enumerate(distances):
        labels[distance < 0] = index + 1
    return labels


def _points(shape: tuple[int, ...]) -> NDArray[np.float64]:
    axes = [(np.arange(size) - (size - 1) / 2) / (size / 2) for size in shape]
    axes += [np.zeros(1)] * (3 - len(shape))
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    return points.reshape(3, *shape)


def _distance(structure: Structure, points: NDArray[np.float64]) -> NDArray[np.float64]:
    both = [_ellipsoid(structure, points, side) for side in structure.sides]
    folds = structure.folds_depth * _folds(points, structure.folds)
    return np.asarray(np.minimum.reduce(both) + folds)


def _ellipsoid(structure: Structure, points: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    centre = np.array(structure.centre) * (side, 1, 1)
    relative = points - centre.reshape(3, *[1] * (points.ndim - 1))
    angle = np.radians(structure.tilt_degrees) * side
    turned = np.stack(
        [
            np.cos(angle) * relative[0] + np.sin(angle) * relative[1],
            np.cos(angle) * relative[1] - np.sin(angle) * relative[0],
            relative[2],
        ]
    )
    radii = np.array(structure.radii).reshape(3, *[1] * (points.ndim - 1))
    norm = np.sqrt(np.sum((turned / radii) ** 2, axis=0))
    slope = np.sqrt(np.sum((turned / radii**2) ** 2, axis=0))
    return np.asarray(
        np.where(slope > 1e-9, norm * (norm - 1) / np.maximum(slope, 1e-9), -min(structure.radii))
    )


def _folds(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    angle = np.arctan2(points[1], points[0])
    return np.asarray(np.cos(count * angle) * np.cos(count * points[2]))


def _shares(labels: NDArray[np.uint8], unit: float) -> NDArray[np.float64]:
    insides = [
        ndimage.gaussian_filter((labels == k + 1).astype(float), 0.06 * unit)
        for k in range(len(STRUCTURES))
    ]
    total = np.sum(insides, axis=0)
    return np.asarray(np.stack(insides) / np.maximum(total, 0.05))
