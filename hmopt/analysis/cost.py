"""Cost of one amortized model against a grid of separately trained networks."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Work:
    """Work of a training, or of a measurement.

    Parameters
    ----------
    seconds
        Wall time.
    evaluations
        Number of pairs that a registration network was run on.
    operations
        Floating-point operations; NaN where they were not counted.
    """

    seconds: float
    evaluations: float
    operations: float = math.nan

    def __add__(self, other: "Work") -> "Work":
        """Return the work of both."""
        return Work(
            seconds=self.seconds + other.seconds,
            evaluations=self.evaluations + other.evaluations,
            operations=self.operations + other.operations,
        )

    def __mul__(self, times: float) -> "Work":
        """Return the work of several times as much."""
        return Work(
            seconds=self.seconds * times,
            evaluations=self.evaluations * times,
            operations=self.operations * times,
        )


def training_work(
    steps: int, batch: int, seconds_per_step: float, operations_per_pair: float = math.nan
) -> Work:
    """Compute the work of one training.

    Parameters
    ----------
    steps, batch
        Number of steps, and of pairs in each.
    seconds_per_step
        Wall time.
    operations_per_pair
        Of the forward and the backward pass.

    Examples
    --------
    >>> training_work(3000, 4, 0.07).seconds
    210.0
    """
    pairs = steps * batch
    return Work(
        seconds=round(steps * seconds_per_step, 9),
        evaluations=pairs,
        operations=pairs * operations_per_pair,
    )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of finding a setting, by one amortized model and by a grid of separate networks.

    Parameters
    ----------
    hyperparameters, values
        Number of hyperparameters, and of values of each on the grid.
    settings
        On the grid: `values ** hyperparameters`.
    amortized, separate
        All trainings and measurements of either way.
    """

    hyperparameters: int
    values: int
    settings: int
    amortized: Work
    separate: Work

    @property
    def ratio(self) -> float:
        """Wall time of the grid, as a multiple of that of the amortized model."""
        grid = self.separate.seconds
        return grid / self.amortized.seconds


def find_cost(
    hypermorph: Work,
    separate: Work,
    measured: Work,
    pairs: int,
    hyperparameters: int,
    values: int,
    searched: int,
) -> Cost:
    """Compute the cost of both ways.

    Parameters
    ----------
    hypermorph, separate
        Training one of either.
    measured
        One pair at one setting.
    pairs
        Number of pairs that are measured at each setting.
    hyperparameters, values
        The grid of separate networks: so many values of each hyperparameter.
    searched
        Number of settings at which the amortized model is measured.
    """
    settings = values**hyperparameters
    of_cohort = measured * pairs
    return Cost(
        hyperparameters=hyperparameters,
        values=values,
        settings=settings,
        amortized=hypermorph + measured * (pairs * searched),
        separate=(separate + of_cohort) * settings,
    )


def break_even_settings(
    hypermorph: Work, separate: Work, measured: Work, pairs: int, searched: int
) -> int:
    """Compute the least number of separately trained settings that costs more time.

    It is the least n with n (separate + pairs · measured) > hypermorph + pairs · searched ·
    measured.

    Parameters
    ----------
    hypermorph, separate, measured, pairs, searched
        As for `find_cost`.

    Examples
    --------
    >>> one = Work(seconds=100.0, evaluations=1)
    >>> break_even_settings(one * 2, one, one * 0, pairs=10, searched=15)
    3
    """
    of_setting = measured.seconds * pairs
    amortized = hypermorph.seconds + of_setting * searched
    of_network = separate.seconds + of_setting
    equally_costly = amortized / of_network
    return math.floor(equally_costly) + 1
