"""What one amortized model costs against a grid of separately trained networks."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a training, or a measurement, takes.

    Parameters
    ----------
    seconds
        Wall time.
    evaluations
        How often a registration network was run on a pair.
    operations
        Floating-point operations counted; NaN where they were not.
    """

    seconds: float
    evaluations: float
    operations: float = math.nan

    def __add__(self, other: "Work") -> "Work":
        """Give the work of one after the other."""
        return Work(
            seconds=self.seconds + other.seconds,
            evaluations=self.evaluations + other.evaluations,
            operations=self.operations + other.operations,
        )

    def __mul__(self, times: float) -> "Work":
        """Give the work of doing it several times."""
        return Work(
            seconds=self.seconds * times,
            evaluations=self.evaluations * times,
            operations=self.operations * times,
        )


def training_work(
    steps: int, batch: int, seconds_per_step: float, operations_per_pair: float = math.nan
) -> Work:
    """Give the work of one training.

    Parameters
    ----------
    steps, batch
        How many steps, of how many pairs each.
    seconds_per_step
        Wall time.
    operations_per_pair
        Forward and backward.

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
    """What finding a setting takes, by one amortized model and by a grid of separate networks.

    Parameters
    ----------
    hyperparameters, values
        How many hyperparameters, and values of each on the grid.
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
        """How many times as long the grid takes."""
        return self.separate.seconds / self.amortized.seconds


def find_cost(
    hypermorph: Work,
    separate: Work,
    measured: Work,
    pairs: int,
    hyperparameters: int,
    values: int,
    searched: int,
) -> Cost:
    """Give what both ways take.

    Parameters
    ----------
    hypermorph, separate
        Training one of either.
    measured
        One pair at one setting.
    pairs
        How many pairs are measured at each setting.
    hyperparameters, values
        The grid of separate networks: so many values of each hyperparameter.
    searched
        Settings at which the amortized model is measured.
    """
    settings = values**hyperparameters
    return Cost(
        hyperparameters=hyperparameters,
        values=values,
        settings=settings,
        amortized=hypermorph + measured * (pairs * searched),
        separate=(separate + measured * pairs) * settings,
    )


def break_even(hypermorph: Work, separate: Work, measured: Work, pairs: int, searched: int) -> int:
    """Give the least number of separately trained settings that takes longer than the amortized model.

    Parameters
    ----------
    hypermorph, separate, measured, pairs, searched
        As for `find_cost`.

    Examples
    --------
    >>> one = Work(seconds=100.0, evaluations=1)
    >>> break_even(one * 2, one, one * 0, pairs=10, searched=15)
    3
    """
    amortized = hypermorph.seconds + measured.seconds * pairs * searched
    return math.floor(amortized / (separate.seconds + measured.seconds * pairs)) + 1
