"""The declared lattice: as Optuna's distributions, and a few of its points spread over it."""

import itertools
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution

from hmopt.space import Hyperparameter, Index, Space


def distribution(hyperparameter: Hyperparameter) -> FloatDistribution:
    """Return the values of a hyperparameter as Optuna is to suggest them.

    Optuna has no steps on a logarithm, and takes only steps that divide the range in decimals;
    elsewhere the range is continuous, and what is suggested is brought to the nearest lattice point
    before it is measured.

    Examples
    --------
    >>> distribution(Hyperparameter(name="regularization"))
    FloatDistribution(high=1.0, log=False, low=0.0, step=0.005)
    """
    low = float(hyperparameter.low)
    high = float(hyperparameter.high)
    if hyperparameter.prior == "log-uniform":
        return FloatDistribution(low, high, log=True)
    step = float(f"{hyperparameter.step * (high - low):.12g}")
    width = Decimal(str(high)) - Decimal(str(low))
    divides = width % Decimal(str(step)) == 0
    if divides:
        return FloatDistribution(low, high, step=step)
    return FloatDistribution(low, high)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the distributions of all hyperparameters by name."""
    return {
        hyperparameter.name: distribution(hyperparameter)
        for hyperparameter in space.hyperparameters
    }


def lattice_index(space: Space, params: Mapping[str, Any]) -> Index | None:
    """Return the lattice point nearest to a trial's parameters; None off the space."""
    setting = {}
    for h in space.hyperparameters:
        value = params.get(h.name)
        if value is None or not h.low <= value <= h.high:
            return None
        setting[h.name] = value
    return space.index(setting)


def coarse_lattice(space: Space, points: int) -> list[Index]:
    """Return a product of `points` settings per hyperparameter, one of them near the upper end.

    As λ nears 1, λ / (1 - λ), by which regularization outweighs the rest, rises ever faster, and
    scores bend with it: in the last interval a place is added at a quarter of its length from the
    end.

    Examples
    --------
    >>> coarse_lattice(Space(hyperparameters=(Hyperparameter(name="regularization"),)), 6)
    [(0,), (50,), (100,), (150,), (188,), (200,)]
    """
    axes = []
    for hyperparameter in space.hyperparameters:
        last = hyperparameter.points - 1
        interval = last / (points - 2)
        even = [round(number * interval) for number in range(points - 1)]
        near_the_end = round(last - interval / 4)
        axes.append(sorted({*even, near_the_end}))
    return list(itertools.product(*axes))


def even_lattice(space: Space, points: int) -> list[Index]:
    """Return `points` settings per hyperparameter in a product, even places from end to end.

    Examples
    --------
    >>> even_lattice(Space(hyperparameters=(Hyperparameter(name="regularization"),)), 3)
    [(0,), (100,), (200,)]
    """
    axes = []
    for hyperparameter in space.hyperparameters:
        last = hyperparameter.points - 1
        places = np.linspace(0, last, points).round().astype(int)
        axes.append(sorted(set(places.tolist())))
    return list(itertools.product(*axes))
