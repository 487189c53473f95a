"""What the sections on a comparison share: how they name who was compared, and both lengths of training."""

from collections.abc import Callable
from typing import Any

from hmopt.analysis.compared import COHORT, Budget, Compared, Family
from hmopt.analysis.resampling import Estimate
from hmopt.report.words import signed, spread


def family_name(family: Family, count: int = 2) -> str:
    """Give how so many trainings of one kind are called."""
    kind = "hypermorph" if family.role == "hypermorph" else "separate network"
    return f"{kind}{'s' * (count != 1)} ({family.steps} steps)"


def counted(family: Family) -> str:
    """Give how many trainings of one kind hold the whole grid."""
    count = family.along[COHORT].models
    return f"{count} {family_name(family, count)}"


def with_interval(estimate: Estimate) -> str:
    """Give a difference and its interval.

    Examples
    --------
    >>> with_interval(Estimate(0.002, -0.001, 0.005))
    '+0.002 (−0.001 to 0.005)'
    """
    return f"{signed(estimate.value)} ({spread(estimate.low, estimate.high)})"


def interval_text(estimate: Estimate) -> str:
    """Give what stands in brackets where an interval is first seen.

    Examples
    --------
    >>> interval_text(Estimate(0.002, -0.001, 0.005))
    '95 % interval −0.001 to 0.005'
    """
    return f"95 % interval {spread(estimate.low, estimate.high)}"


def at_both(compared: Compared, numbers: Callable[[Budget], dict[str, Any]]) -> dict[str, Any]:
    """Give numbers of the hypermorphs that trained longest, and under `equal_steps` those of equal ones."""
    found = numbers(compared.main)
    return found if compared.equal is None else {**found, "equal_steps": numbers(compared.equal)}


def named(name: str, estimate: Estimate) -> dict[str, Any]:
    """Give a number and its interval as `summary.json` has them."""
    return {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}
