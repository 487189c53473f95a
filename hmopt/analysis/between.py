"""Scores between the settings that were measured."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, RBFInterpolator

from hmopt.search.lattice import even_lattice
from hmopt.space import Index, Space

CANDIDATES = 400
"""Settings, about, between which scores are looked at where there are several hyperparameters."""


@lru_cache(maxsize=64)
def between(space: Space, settings: tuple[Index, ...]) -> tuple[list[Index], NDArray[np.float64]]:
    """Give settings between the measured ones, and the matrix that takes measured scores to scores there.

    One hyperparameter: the cubic spline on every lattice point from the first to the last measured one. Several: a
    smooth surface on settings spread evenly and the measured ones; only those where they are too few for a surface.

    Parameters
    ----------
    space
        The hyperparameters.
    settings
        S measured settings, sorted.

    Returns
    -------
    list of Index
        C settings.
    array
        Shape (C, S). Exact on cubic polynomials of one hyperparameter, on parabolas of several.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.25),))
    >>> candidates, matrix = between(space, ((0,), (2,), (4,)))
    >>> candidates, (matrix @ [0.0, 4.0, 16.0]).round(9).tolist()
    ([(0,), (1,), (2,), (3,), (4,)], [0.0, 1.0, 4.0, 9.0, 16.0])
    """
    dimensions, measured = len(space.hyperparameters), np.array(settings, dtype=float)
    own = np.eye(len(settings))
    if len(settings) < (2 if dimensions == 1 else (dimensions + 1) * (dimensions + 2)):
        return list(settings), own
    if dimensions == 1:
        lattice = np.arange(settings[0][0], settings[-1][0] + 1)
        return [(int(place),) for place in lattice], np.asarray(
            CubicSpline(measured[:, 0], own)(lattice)
        )
    candidates = sorted({*settings, *even_lattice(space, round(CANDIDATES ** (1 / dimensions)))})
    last = np.array([h.points - 1 for h in space.hyperparameters], dtype=float)
    surface = RBFInterpolator(measured / last, own, kernel="cubic", degree=2)
    return candidates, np.asarray(surface(np.array(candidates) / last))
