"""What scores are between the settings that were measured."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from hmopt.space import Index


def interpolate(places: Sequence[int], scores: NDArray[np.float64], at: Sequence[int]) -> NDArray[np.float64]:
    """Give scores between measured lattice places by a piecewise cubic curve that does not ring.

    Parameters
    ----------
    places
        Lattice indices, rising; at least two.
    scores
        Shape (places, ...): one or many curves.
    at
        Lattice indices between the first and the last place.

    Returns
    -------
    array
        Shape (at, ...).

    References
    ----------
    Akima, J. ACM 1970: exact on parabolas, and unlike a cubic spline it keeps the steep fall of scores near one end
    from raising false humps elsewhere.

    Examples
    --------
    >>> interpolate([0, 10, 20, 30], np.array([0.0, 1.0, 4.0, 9.0]), [15, 20])
    array([2.25, 4.  ])
    """
    curve = Akima1DInterpolator(np.asarray(places, dtype=float), scores, axis=0)
    return np.asarray(curve(np.asarray(at, dtype=float)))


def predict(grid: Sequence[Index], scores: NDArray[np.float64]) -> tuple[list[Index], NDArray[np.float64]]:
    """Give scores at settings between those of a grid.

    Parameters
    ----------
    grid
        S settings, as of `Space.coarse`.
    scores
        Shape (S, n): n curves, or surfaces.

    Returns
    -------
    list of Index
        C settings: all between the ends for one hyperparameter; for several, the grid and three settings between
        neighbours along each axis.
    array
        Shape (C, n).
    """
    axes = [sorted(set(places)) for places in zip(*grid, strict=True)]
    finer = [_between(axis, most=4 if len(axes) > 1 else axis[-1]) for axis in axes]
    predicted = scores.reshape(*map(len, axes), -1)
    for number, (axis, at) in enumerate(zip(axes, finer, strict=True)):
        predicted = np.moveaxis(interpolate(axis, np.moveaxis(predicted, number, 0), at), 0, number)
    return list(itertools.product(*finer)), predicted.reshape(-1, scores.shape[1])


def _between(axis: Sequence[int], most: int) -> list[int]:
    """Give at most `most` lattice places from each place on, up to the next, and the last place."""
    spread = (np.linspace(low, high, min(most, high - low), endpoint=False) for low, high in itertools.pairwise(axis))
    return [*(round(place) for places in spread for place in places), axis[-1]]
