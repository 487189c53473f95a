"""Warnings about an optimum: on a bound, flat, of few subjects, hardly trained there."""

from enum import Enum

import numpy as np

from hmopt.analysis.optimum import Optimum, margin_of
from hmopt.analysis.resampling import NOTHING
from hmopt.catalogue.metrics import FOLDING
from hmopt.search.curve import Curve
from hmopt.space import Hyperparameter, Space, Value

FLAT_SHARE = 0.4
"""A response is flat where the equivalent settings span this share of the range."""

DISORDER = 1.0
"""von Neumann's ratio above which a curve is erratic: 2 of noise, near 0 of a smooth curve."""

ORDERED = 8
"""Settings that it takes to tell a curve from noise."""

NEAR = 0.05
"""Settings that differ by this share of the range are near each other."""

RARE = 0.025
"""Share of draws near a setting below which it was hardly trained: a quarter of uniform draws'."""

FEW = 10
"""Fewer subjects than this, or partners of one subject, are few."""


class OptimumWarning(Enum):
    """A warning about an optimum; its value stands in tables of numbers.

    Attributes
    ----------
    title
        How reports name it.
    message
        What it means for someone who wants to use the optimum.

    Examples
    --------
    >>> OptimumWarning("flat").message
    'The response is flat: a wide range of settings is equivalent to the best one.'
    """

    BOUND = (
        "on a bound",
        "The best setting is at an end of its range. If the range can be extended, a better one may "
        "lie beyond it.",
        "at a bound",
    )
    FLAT = (
        "flat",
        "The response is flat: a wide range of settings is equivalent to the best one.",
    )
    FEW_SUBJECTS = (
        "few subjects",
        "With few subjects, intervals are wide or unavailable, and small gains cannot be detected.",
    )
    FEW_PARTNERS = (
        "few partners",
        "The subject was paired with few other subjects: its best setting may reflect them rather "
        "than the subject itself.",
        "few paired subjects",
    )
    NOT_CONVERGED = (
        "not converged",
        "The best settings at half and at full training disagree: train longer before relying on "
        "the result.",
    )
    DRIFTS = (
        "drifts",
        "The best setting changed in the same direction from each quarter of training to the next, "
        "by more than the variation over subjects: train longer before relying on it, or use an "
        "equivalent setting further in that direction.",
    )
    NOT_TRAINED = (
        "not trained there",
        "Training drew few settings near the best one: the model may be inaccurate there.",
        "rarely trained",
    )
    FOLDS = (
        "folds everywhere",
        "No setting keeps folding below the declared limit.",
        "folding limit exceeded",
    )
    BEYOND_LIMITS = (
        "beyond the limits",
        "No setting satisfies all declared limits.",
        "limits exceeded",
    )
    NO_BETTER = (
        "no better than before",
        "No setting scores better than the unregistered images.",
        "no improvement",
    )
    CONSTANT = (
        "no response",
        "The score of no pair changes with the setting: the model does not respond to it.",
    )
    ERRATIC = (
        "erratic",
        "Scores jump between neighbouring settings: the response of the model to the setting is "
        "irregular.",
    )

    title: str
    message: str

    def __new__(cls, value: str, message: str, title: str = "") -> "OptimumWarning":
        """Create a member whose value is the first of its texts; the title is the value unless given."""
        member = object.__new__(cls)
        member._value_ = value
        member.title = title or value
        member.message = message
        return member


def find_warnings(
    space: Space, optimum: Optimum, half: Optimum | None
) -> tuple[OptimumWarning, ...]:
    """Return the warnings that follow from an optimum.

    Parameters
    ----------
    space
        The hyperparameters.
    optimum
        At full training.
    half
        Of the same scope at half training, where it was measured.
    """
    found = []
    if _on_bound(space, optimum):
        found.append(OptimumWarning.BOUND)
    if _flat(space, optimum):
        found.append(OptimumWarning.FLAT)
    if half is not None and disagree(optimum, half):
        found.append(OptimumWarning.NOT_CONVERGED)
    if _hardly_trained(space, optimum):
        found.append(OptimumWarning.NOT_TRAINED)
    if optimum.constrained is None and np.isfinite(optimum.folding):
        has_further = any(name != FOLDING for name in optimum.limited)
        found.append(OptimumWarning.BEYOND_LIMITS if has_further else OptimumWarning.FOLDS)
    return tuple(found)


def response_warnings(response: Curve) -> tuple[OptimumWarning, ...]:
    """Return the warnings about a model whose response shows that it is broken."""
    largest_change = np.ptp(response.scores, axis=0).max()
    margin = margin_of(response.metric, None)
    if largest_change <= margin / 10:
        return (OptimumWarning.CONSTANT,)
    if _erratic(response):
        return (OptimumWarning.ERRATIC,)
    return ()


def _erratic(response: Curve) -> bool:
    """Check whether a curve has no order: Σ (m_{i+1} - m_i)² > `DISORDER` · Σ (m_i - m̄)².

    References
    ----------
    von Neumann, "Distribution of the ratio of the mean square successive difference to the
    variance", Annals of Mathematical Statistics 1941.
    """
    is_one_range = len(response.space.hyperparameters) == 1 and response.space.is_ordered
    if not is_one_range or len(response.settings) < ORDERED:
        return False
    means = response.means
    steps = np.diff(means)
    deviations = means - means.mean()
    successive = np.sum(steps**2)
    around_mean = np.sum(deviations**2)
    return bool(successive > DISORDER * around_mean)


def disagree(one: Optimum, other: Optimum) -> bool:
    """Check whether two optima of one scope lie outside each other's intervals.

    One hyperparameter is enough. Without intervals, as of too few subjects, they never disagree.
    """
    ordered = [name for name in one.setting if name not in one.choices]
    intervals = [found.intervals.get(name, NOTHING) for found in (one, other) for name in ordered]
    if any(np.isnan(interval.low) for interval in intervals):
        return False
    for name in ordered:
        value = one.setting[name]
        other_value = other.setting[name]
        of_one = one.intervals.get(name, NOTHING)
        of_other = other.intervals.get(name, NOTHING)
        if value not in of_other and other_value not in of_one:
            return True
    return False


def draws_near(hyperparameter: Hyperparameter, value: Value) -> float:
    """Compute the share of training's draws that fall near a value.

    Draws are uniform along the range, but for those that are placed on its two ends.

    Examples
    --------
    80 % of the draws are uniform, and a tenth of the range is near:

    >>> round(draws_near(Hyperparameter(name="regularization", end_point_rate=0.1), 0.3), 3)
    0.08
    """
    place = hyperparameter.to_unit_interval(value)
    rate = hyperparameter.end_point_rate
    low = max(place - NEAR, 0.0)
    high = min(place + NEAR, 1.0)
    uniform = (1 - 2 * rate) * (high - low)
    ends = (place <= NEAR) + (place >= 1 - NEAR)
    return uniform + rate * ends


def _hardly_trained(space: Space, optimum: Optimum) -> bool:
    if not space.is_continuous:  # no model that was trained on draws
        return False
    for hyperparameter in space.hyperparameters:
        value = optimum.setting[hyperparameter.name]
        if draws_near(hyperparameter, value) < RARE:
            return True
    return False


def _on_bound(space: Space, optimum: Optimum) -> bool:
    for hyperparameter in space.hyperparameters:
        ends = (hyperparameter.low, hyperparameter.high)
        if hyperparameter.is_ordered and optimum.setting.get(hyperparameter.name) in ends:
            return True
    return False


def _flat(space: Space, optimum: Optimum) -> bool:
    for hyperparameter in space.hyperparameters:
        equal = optimum.equals[hyperparameter.name]
        if not np.isfinite(equal.low):
            continue
        span = hyperparameter.to_unit_interval(equal.high) - hyperparameter.to_unit_interval(
            equal.low
        )
        if span >= FLAT_SHARE:
            return True
    return False
