"""The declared lattice: as Optuna's distributions, and a few of its points spread over it."""

import itertools
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

from hmopt.space import Hyperparameter, Index, Space


def distribution(hyperparameter: Hyperparameter) -> FloatDistribution:
    """Give the values of a hyperparameter as Optuna is to suggest them.

    Optuna has no steps on a logarithm, and takes only steps that divide the range in decimals; elsewhere the range is
    continuous, and what is suggested is brought to the nearest lattice point by who measures.

    Examples
    --------
    >>> distribution(Hyperparameter(name="regularization"))
    FloatDistribution(high=1.0, log=False, low=0.0, step=0.005)
    """
    low, high = float(hyperparameter.low), float(hyperparameter.high)
    if hyperparameter.prior == "log-uniform":
        return FloatDistribution(low, high, log=True)
    step = float(f"{hyperparameter.step * (high - low):.12g}")
    divides = (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)) == 0
    return FloatDistribution(low, high, step=step if divides else None)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Give the distributions of all hyperparameters by name."""
    return {
        hyperparameter.name: distribution(hyperparameter)
        for hyperparameter in space.hyperparameters
    }


def lattice_index(space: Space, params: Mapping[str, Any]) -> Index | None:
    """Give the lattice point nearest to a trial's parameters; None where they are not, or not all, in the space."""
    inside = all(
        h.name in params and h.low <= params[h.name] <= h.high for h in space.hyperparameters
    )
    return space.index({name: params[name] for name in space.names}) if inside else None


def coarse_lattice(space: Space, points: int) -> list[Index]:
    """Give `points` settings per hyperparameter in a product: even places from end to end, and one near the upper end.

    As λ nears 1, λ / (1 - λ), by which regularization outweighs the rest, rises ever faster, and scores bend with it:
    in the last interval a place is added at a quarter of its length from the end.

    Examples
    --------
    >>> coarse_lattice(Space(hyperparameters=(Hyperparameter(name="regularization"),)), 6)
    [(0,), (50,), (100,), (150,), (188,), (200,)]
    """
    return list(itertools.product(*(_spread(h.points - 1, points) for h in space.hyperparameters)))


def _spread(last: int, points: int) -> list[int]:
    interval = last / (points - 2)
    return sorted(
        {*(round(number * interval) for number in range(points - 1)), round(last - interval / 4)}
    )
