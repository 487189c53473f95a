"""What the sections on a comparison share: how they name who was compared, and both lengths of training."""

import math
from collections.abc import Callable
from typing import Any

from hmopt.analysis.baselines import COHORT, BaselineComparison, Budget, Replicates
from hmopt.analysis.resampling import Estimate
from hmopt.report.words import number, spread


def family_name(family: Replicates, count: int = 2) -> str:
    """Give how so many trainings of one kind are called."""
    kind = "hypermorph" if family.role == "hypermorph" else "separate network"
    return f"{kind}{'s' * (count != 1)} ({family.steps} steps)"


def counted(family: Replicates) -> str:
    """Give how many trainings of one kind hold the whole grid."""
    count = family.along[COHORT].models
    return f"{count} {family_name(family, count)}"


def interval_text(estimate: Estimate) -> str:
    """Give what stands in brackets where an interval is first seen.

    Examples
    --------
    >>> interval_text(Estimate(0.002, -0.001, 0.005))
    '95 % interval −0.001 to 0.005'
    """
    if math.isnan(estimate.low):
        return "no interval"
    return f"95 % interval {spread(estimate.low, estimate.high)}"


def budget_text(compared: BaselineComparison, budget: Budget) -> str:
    """Give what stands on both sides of a comparison: how many trainings, their steps and what one costs.

    A comparison says nothing without these, so that they stand in its sentence.
    """
    hypermorphs, separate = budget.hypermorphs, compared.separate
    cost = ""
    if math.isfinite(budget.cost_ratio):
        cost = f", each taking {number(budget.cost_ratio, 1)} times as long as one network"
    return (
        f"{counted(hypermorphs)}{cost}, against separate networks of {separate.steps} steps "
        f"({_starts(separate)} at each setting)"
    )


def _starts(family: Replicates) -> str:
    count = family.along[COHORT].models
    return f"{count} start{'s' * (count != 1)}"


def at_both(
    compared: BaselineComparison, numbers: Callable[[Budget], dict[str, Any]]
) -> dict[str, Any]:
    """Give numbers of the hypermorphs that trained longest, and under `equal_steps` those of equal ones."""
    found = numbers(compared.main)
    return found if compared.equal is None else {**found, "equal_steps": numbers(compared.equal)}


def named(name: str, estimate: Estimate) -> dict[str, Any]:
    """Give a number and its interval as `summary.json` has them."""
    return {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}
