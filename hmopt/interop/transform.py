"""Transformations of points between worlds, LPS+ mm: affine, by a displacement field, by B-splines.

As in ITK, ANTs and elastix, a transformation that warps a moving image to a fixed one takes points
of the fixed image to the moving one: the value at a voxel x of the result is moving(T(x)). A chain
t₁, t₂, … takes a point first through t₁; it is the order in which antsApplyTransforms lists them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hmopt.errors import DataError
from hmopt.interop.inversion import TOLERANCE, invert

Floats = NDArray[np.float64]


class Transform(ABC):
    """A transformation of points."""

    @abstractmethod
    def __call__(self, points: Floats) -> Floats:
        """Return where points (n, 3), LPS+ mm, go."""

    @abstractmethod
    def inverse(self) -> "Transform":
        """Return the transformation that takes them back."""

    def share_inside(self, points: Floats) -> float:
        """Return the share of points (n, 3) where it is defined; elsewhere it leaves points alone."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Affine(Transform):
    """An affine transformation.

    Parameters
    ----------
    matrix
        (4, 4), LPS+ mm.

    Examples
    --------
    >>> shift = np.eye(4)
    >>> shift[0, 3] = 5
    >>> Affine(matrix=shift)(np.array([[1.0, 2.0, 3.0]]))
    array([[6., 2., 3.]])
    """

    matrix: Floats

    def __call__(self, points: Floats) -> Floats:
        """Return where points (n, 3) go."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def inverse(self) -> "Affine":
        """Return its inverse."""
        return Affine(matrix=np.linalg.inv(self.matrix).astype(np.float64))


@dataclass(frozen=True, kw_only=True)
class Field(Transform):
    """A displacement field: x goes to x + u(x), u linear between voxels and 0 outside, as for ITK.

    Parameters
    ----------
    vectors
        (3, x, y, z), LPS+ mm.
    to_world
        (4, 4): voxel of the field to world, LPS+ mm.
    """

    vectors: Floats
    to_world: Floats

    def __call__(self, points: Floats) -> Floats:
        """Return where points (n, 3) go."""
        return points + self.displacement(points)

    def displacement(self, points: Floats) -> Floats:
        """Return u(x), (n, 3), at points (n, 3)."""
        places = self._voxels(points)
        inside = _inside(places, self.vectors.shape[1:])
        found = np.zeros_like(points)
        for axis, component in enumerate(self.vectors):
            found[inside, axis] = ndimage.map_coordinates(
                component, places[inside].T, order=1, mode="nearest"
            )
        return found

    def share_inside(self, points: Floats) -> float:
        """Return the share of points (n, 3) inside the field's box."""
        return float(_inside(self._voxels(points), self.vectors.shape[1:]).mean())

    def inverse(self) -> "InverseOf":
        """Return its inverse, which is computed at each point."""
        smallest_mm = np.linalg.norm(self.to_world[:3, :3], axis=0).min()
        return InverseOf(forward=self, tolerance_mm=float(TOLERANCE * smallest_mm))

    def _voxels(self, points: Floats) -> Floats:
        to_voxel = np.linalg.inv(self.to_world)
        places: Floats = points @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        return places


@dataclass(frozen=True, kw_only=True)
class BSpline(Transform):
    """A B-spline transformation, as elastix and ITK estimate it: x goes to x + Σ cₖ β(x - xₖ).

    Parameters
    ----------
    coefficients
        (3, x, y, z): cₖ, LPS+ mm.
    to_world
        (4, 4): knot to world, LPS+ mm.
    order
        Degree of the splines.
    """

    coefficients: Floats
    to_world: Floats
    order: Literal[0, 1, 2, 3]

    def __call__(self, points: Floats) -> Floats:
        """Return where points (n, 3) go."""
        to_knot = np.linalg.inv(self.to_world)
        places = points @ to_knot[:3, :3].T + to_knot[:3, 3]
        inside = self._supported(places)
        moved = points.copy()
        for axis, component in enumerate(self.coefficients):
            moved[inside, axis] += ndimage.map_coordinates(
                component, places[inside].T, order=self.order, mode="grid-constant", prefilter=False
            )
        return moved

    def share_inside(self, points: Floats) -> float:
        """Return the share of points (n, 3) inside the grid."""
        to_knot = np.linalg.inv(self.to_world)
        places = points @ to_knot[:3, :3].T + to_knot[:3, 3]
        return float(self._supported(places).mean())

    def inverse(self) -> "InverseOf":
        """Return its inverse, which is computed at each point."""
        smallest_mm = np.linalg.norm(self.to_world[:3, :3], axis=0).min()
        return InverseOf(forward=self, tolerance_mm=float(TOLERANCE * smallest_mm))

    def _supported(self, places: Floats) -> NDArray[np.bool_]:
        """Return which places, in knots, have all their knots within the grid."""
        shape = np.array(self.coefficients.shape[1:])
        margin = (self.order - 1) / 2
        # an axis of one knot is a plane of a 2-D transformation
        extended = shape > 1
        enough = (places >= margin) & (places <= shape - 1 - margin)
        return np.asarray((enough | ~extended).all(axis=-1))


@dataclass(frozen=True, kw_only=True)
class InverseOf(Transform):
    """The inverse of a transformation that has none in closed form, solved for at each point.

    Parameters
    ----------
    forward
        What it inverts.
    tolerance_mm
        Residual that is small enough.
    """

    forward: Transform
    tolerance_mm: float

    def __call__(self, points: Floats) -> Floats:
        """Return the points that the forward transformation takes to these (n, 3)."""

        def displace(places: Floats) -> Floats:
            return self.forward(places) - places

        return invert(displace, points, tolerance=self.tolerance_mm).points

    def inverse(self) -> Transform:
        """Return what it inverts."""
        return self.forward

    def share_inside(self, points: Floats) -> float:
        """Return the share of points (n, 3) inside what it inverts."""
        return self.forward.share_inside(points)


@dataclass(frozen=True, kw_only=True)
class Chain(Transform):
    """Transformations one after the other.

    Parameters
    ----------
    parts
        A point goes through the first one first.

    Examples
    --------
    >>> double = Affine(matrix=np.diag([2.0, 2.0, 2.0, 1.0]))
    >>> shift = np.eye(4)
    >>> shift[0, 3] = 1
    >>> Chain(parts=(double, Affine(matrix=shift)))(np.array([[1.0, 0.0, 0.0]]))
    array([[3., 0., 0.]])
    """

    parts: tuple[Transform, ...]

    def __call__(self, points: Floats) -> Floats:
        """Return where points (n, 3) go."""
        for part in self.parts:
            points = part(points)
        return points

    def inverse(self) -> "Chain":
        """Return the inverses in the opposite order."""
        backwards = [part.inverse() for part in reversed(self.parts)]
        return Chain(parts=tuple(backwards))

    def share_inside(self, points: Floats) -> float:
        """Return the smallest share of points (n, 3), as they arrive, inside one of its parts."""
        smallest = 1.0
        for part in self.parts:
            smallest = min(smallest, part.share_inside(points))
            points = part(points)
        return smallest


def chain(parts: Sequence[Transform]) -> Chain:
    """Return transformations one after the other, neighbouring affine ones as one.

    Raises
    ------
    DataError
        If there are none.

    Examples
    --------
    >>> still = Affine(matrix=np.eye(4))
    >>> len(chain([still, still]).parts)
    1
    """
    if not parts:
        raise DataError(
            "transforms", expected="at least one", got="none", advice="Give a transformation."
        )
    merged: list[Transform] = []
    for part in _flat(parts):
        if merged and isinstance(part, Affine) and isinstance(merged[-1], Affine):
            merged[-1] = Affine(matrix=part.matrix @ merged[-1].matrix)
        else:
            merged.append(part)
    return Chain(parts=tuple(merged))


def _flat(parts: Sequence[Transform]) -> list[Transform]:
    flat: list[Transform] = []
    for part in parts:
        if isinstance(part, Chain):
            flat += _flat(part.parts)
        else:
            flat.append(part)
    return flat


def _inside(places: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which places, in voxels, lie within the voxels of an image: ITK's IsInsideBuffer."""
    upper = np.array(shape) - 0.5
    within = (places >= -0.5) & (places < upper)
    return np.asarray(within.all(axis=-1))
