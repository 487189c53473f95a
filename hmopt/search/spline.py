"""How high scores may be between the settings that were measured."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator, CubicSpline, RBFInterpolator

from hmopt.space import Index, Space

CANDIDATES = 1700
"""Settings, about, at which scores are predicted where there are several hyperparameters."""


def promise(
    places: Sequence[int], scores: NDArray[np.float64], at: Sequence[int]
) -> NDArray[np.float64]:
    """Give how high scores may be between measured lattice places, by two curves through them.

    Akima's curve never rises much above what was measured, so that a hump between two places escapes it; the cubic
    spline shows the hump, and rings where scores fall steeply. Where they disagree something is to be learned: what is
    given is the higher one, and half their distance more.

    Parameters
    ----------
    places
        Lattice indices, rising; at least two.
    scores
        Shape (places, ...): one or many curves; more is better.
    at
        Lattice indices between the first and the last place.

    Returns
    -------
    array
        Shape (at, ...).

    References
    ----------
    Akima, J. ACM 1970. Both curves are exact on parabolas through evenly spaced places.

    Examples
    --------
    >>> promise([0, 10, 20, 30], np.array([0.0, 1.0, 4.0, 9.0]), [15, 20])
    array([2.25, 4.  ])
    """
    measured, wanted = np.asarray(places, dtype=float), np.asarray(at, dtype=float)
    one, other = (
        curve(measured, scores, axis=0)(wanted) for curve in (Akima1DInterpolator, CubicSpline)
    )
    return np.asarray(np.maximum(one, other) + np.abs(one - other) / 2)


def predict(
    space: Space, settings: Sequence[Index], scores: NDArray[np.float64]
) -> tuple[list[Index], NDArray[np.float64]]:
    """Give how high scores may be at settings that were not measured.

    Parameters
    ----------
    space
        The hyperparameters.
    settings
        S settings, sorted, that reach from end to end.
    scores
        Shape (S, n): n curves, or surfaces; more is better.

    Returns
    -------
    list of Index
        C settings: the whole lattice of one hyperparameter; for several about `CANDIDATES`, spread evenly.
    array
        Shape (C, n). For several hyperparameters a smooth surface through the scores, exact on parabolas.
    """
    dimensions = len(space.hyperparameters)
    if dimensions == 1:
        lattice = range(space.hyperparameters[0].points)
        return [(place,) for place in lattice], promise(
            [place for (place,) in settings], scores, lattice
        )
    candidates = evenly(space, round(CANDIDATES ** (1 / dimensions)))
    last = np.array([h.points - 1 for h in space.hyperparameters], dtype=float)
    surface = RBFInterpolator(np.array(settings) / last, scores, kernel="cubic", degree=2)
    return candidates, np.asarray(surface(np.array(candidates) / last))


def evenly(space: Space, points: int) -> list[Index]:
    """Give `points` settings per hyperparameter in a product, even places from end to end."""
    axes = (
        sorted(set(np.linspace(0, h.points - 1, points).round().astype(int).tolist()))
        for h in space.hyperparameters
    )
    return list(itertools.product(*axes))
