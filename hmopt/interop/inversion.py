"""The point that a displacement takes to a given place: x + u(x) = y, solved for x."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Displace = Callable[[Floats], Floats]
"""From points (n, d) to their displacements (n, d), in the same unit."""

TOLERANCE = 1e-3
"""Share of a voxel within which a place counts as reached."""
_STEPS = 40
_FITTED = 4096
"""Points, at most, that the linear part of a displacement is fitted to."""
_WORST_CONDITION = 1e4
"""Condition number of a linear part from which it is not inverted."""
_AT_ONCE = 2**19
"""Points that are solved together: their arrays take some 100 MB."""


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """Points that a displacement takes to given places, as nearly as it could be had.

    Parameters
    ----------
    points
        (n, d).
    residual
        (n,): distance between where the displacement takes a point and where it should, in the
        unit of the points. It stays large where the displacement folds: no point, or several, are
        taken there.
    """

    points: Floats
    residual: Floats


def invert(
    displace: Displace,
    targets: Floats,
    start: Floats | None = None,
    tolerance: float = TOLERANCE,
) -> Inverted:
    """Compute the points x for which x + u(x) = y.

    Broyden's method for each point: with r(x) = x + u(x) - y, a step is s = -H r. Without first
    guesses, H begins as the inverse of the linear part of x + u(x), fitted by least squares, else
    as the identity. It learns the inverse Jacobian of each point from the steps taken,

        H ← H + (s - H Δr) sᵀ H / (sᵀ H Δr)

    so that it also converges where the displacement turns, or changes by more than a voxel from
    voxel to voxel, and the fixed-point iteration x ← y - u(x), which has H = 1, does not. Of all
    iterates the one with the smallest residual is kept.

    Parameters
    ----------
    displace
        u: from points (n, d) to vectors (n, d).
    targets
        (n, d): the places y.
    start
        (n, d): first guesses of x, as those of an integrated negative velocity; None: those that
        the linear part gives.
    tolerance
        A point with a smaller residual is left as it is; in the unit of the points.

    References
    ----------
    Chen et al., Medical Physics 35, 2008 (fixed-point inversion of displacements); Broyden,
    Mathematics of Computation 19, 1965.

    Examples
    --------
    >>> found = invert(lambda points: 0.9 * np.sin(points), np.array([[1.0], [2.0]]))
    >>> bool(np.allclose(found.points + 0.9 * np.sin(found.points), [[1], [2]], atol=1e-3))
    True
    """
    points = np.empty_like(targets)
    residual = np.empty(len(targets))
    inverse = np.eye(targets.shape[1])
    if start is None:
        start, inverse = _linear_start(displace, targets)
    for first in range(0, len(targets), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        points[part], residual[part] = _solve(
            displace, targets[part], start[part], inverse, tolerance
        )
    return Inverted(points=points, residual=residual)


def _linear_start(displace: Displace, targets: Floats) -> tuple[Floats, Floats]:
    """Return first guesses x = A⁻¹ (y - b), (n, d), and A⁻¹, where A x + b is fitted to x + u(x).

    Where the points do not tell all of A, as those of a plane in space, or A has no sensible
    inverse: y - u(y), and the identity.
    """
    count, dimensions = targets.shape
    sample = targets[:: 1 + count // _FITTED]
    with_one = np.column_stack([sample, np.ones(len(sample))])
    fitted, _, rank, _ = np.linalg.lstsq(with_one, sample + displace(sample), rcond=1e-6)
    matrix = fitted[:dimensions].T
    if rank <= dimensions or np.linalg.cond(matrix) > _WORST_CONDITION:
        return targets - displace(targets), np.eye(dimensions)
    inverse = np.linalg.inv(matrix)
    return (targets - fitted[dimensions]) @ inverse.T, inverse


def _solve(
    displace: Displace, targets: Floats, guess: Floats, inverse: Floats, tolerance: float
) -> tuple[Floats, Floats]:
    """Return points and residuals for as many targets as fit into memory together."""
    best = guess.copy()
    misses = guess + displace(guess) - targets
    smallest = np.linalg.norm(misses, axis=-1)

    # only points that are not solved yet are worked on
    open_rows = np.flatnonzero(smallest > tolerance)
    points = guess[open_rows]
    misses = misses[open_rows]
    inverse_jacobian = np.tile(inverse, (len(open_rows), 1, 1))
    for _ in range(_STEPS):
        if not len(open_rows):
            break
        steps = -_times(inverse_jacobian, misses)
        points = points + steps
        missed = points + displace(points) - targets[open_rows]
        inverse_jacobian = _learned(inverse_jacobian, steps, missed - misses)
        misses = missed

        distances = np.linalg.norm(misses, axis=-1)
        better = distances < smallest[open_rows]
        best[open_rows[better]] = points[better]
        smallest[open_rows[better]] = distances[better]

        still = smallest[open_rows] > tolerance
        open_rows = open_rows[still]
        points = points[still]
        misses = misses[still]
        inverse_jacobian = inverse_jacobian[still]
    return best, smallest


def _learned(inverse_jacobian: Floats, steps: Floats, changes: Floats) -> Floats:
    """Return Broyden's update; none where the step tells too little."""
    predicted = _times(inverse_jacobian, changes)
    across = np.einsum("ni,nij->nj", steps, inverse_jacobian)
    told = np.einsum("ni,ni->n", steps, predicted)
    enough = np.abs(told) > 0.1 * np.einsum("ni,ni->n", steps, steps)
    scale = np.where(enough, 1 / np.where(enough, told, 1), 0)
    correction: Floats = np.einsum("n,ni,nj->nij", scale, steps - predicted, across)
    return inverse_jacobian + correction


def _times(matrices: Floats, vectors: Floats) -> Floats:
    products: Floats = np.einsum("nij,nj->ni", matrices, vectors)
    return products
