"""The declared lattice as Optuna's distributions."""

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
    return {hyperparameter.name: distribution(hyperparameter) for hyperparameter in space.hyperparameters}


def lattice_index(space: Space, params: Mapping[str, Any]) -> Index | None:
    """Give the lattice point nearest to a trial's parameters; None where they are not, or not all, in the space."""
    inside = all(h.name in params and h.low <= params[h.name] <= h.high for h in space.hyperparameters)
    return space.index({name: params[name] for name in space.names}) if inside else None
