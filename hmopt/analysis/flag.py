"""Reasons to be careful with an optimum."""

from enum import Enum

import numpy as np

from hmopt.analysis.optimum import Optimum, margin_of
from hmopt.analysis.resampling import NOTHING
from hmopt.search.curve import Curve
from hmopt.space import Hyperparameter, Space

FLAT_SHARE = 0.4
"""A response is flat where the equally good settings span this share of the range."""

DISORDER = 1.0
"""Squared steps between neighbouring settings, over squared distances from the mean: 2 of noise, near 0 of a curve."""

ORDERED = 8
"""Settings that it takes to tell a curve from noise."""

NEAR = 0.05
"""Settings that differ by this share of the range are near each other."""

RARE = 0.025
"""Share of draws near a setting below which it was hardly trained: a quarter of what even draws give it."""

FEW = 10
"""Fewer subjects than this, or partners of one subject, are few."""


class Flag(Enum):
    """A reason to be careful; its value is how a table says it, `sentence` how a page does."""

    BOUND = "on a bound"
    FLAT = "flat"
    FEW_SUBJECTS = "few subjects"
    FEW_PARTNERS = "few partners"
    NOT_CONVERGED = "not converged"
    DRIFTS = "drifts"
    NOT_TRAINED = "not trained there"
    FOLDS = "folds everywhere"
    NO_BETTER = "no better than before"
    CONSTANT = "no response"
    ERRATIC = "erratic"

    @property
    def sentence(self) -> str:
        """What the flag means for someone who wants to use the optimum.

        Examples
        --------
        >>> Flag("on a bound").sentence
        'The best setting is an end of its range: where more is possible, a better one may lie beyond.'
        """
        return _SENTENCES[self]


_SENTENCES = {
    Flag.BOUND: "The best setting is an end of its range: where more is possible, a better one may lie beyond.",
    Flag.FLAT: "The response is flat: a wide range of settings is equivalent to the best one.",
    Flag.FEW_SUBJECTS: "Few subjects: intervals are wide or cannot be given, and small gains cannot be found.",
    Flag.FEW_PARTNERS: "The subject was registered with few partners: its setting may be theirs rather than its own.",
    Flag.NOT_CONVERGED: "Half and full training disagree about the best setting: train longer before relying on it.",
    Flag.DRIFTS: (
        "The best setting moved the same way from one quarter of training to the next, by more than subjects explain: "
        "train longer before relying on it, or go on in that direction among the settings that are as good."
    ),
    Flag.NOT_TRAINED: "Training hardly drew settings near the best one: what the model does there is a guess.",
    Flag.FOLDS: "No setting keeps folding under the declared limit.",
    Flag.NO_BETTER: "No setting scores better than the images as they are, before registration.",
    Flag.CONSTANT: "No pair's score changes with the setting: the model does not respond to it.",
    Flag.ERRATIC: "Scores jump from one setting to the next: the model responds to the setting without order.",
}


def find_flags(space: Space, optimum: Optimum, half: Optimum | None) -> tuple[Flag, ...]:
    """Give the reasons to be careful that the response itself shows.

    Parameters
    ----------
    space
        The hyperparameters.
    optimum
        At full training.
    half
        The same scope's at half training, where it was measured.
    """
    holds = {
        Flag.BOUND: _on_bound(space, optimum),
        Flag.FLAT: _flat(space, optimum),
        Flag.NOT_CONVERGED: half is not None and disagree(optimum, half),
        Flag.NOT_TRAINED: any(
            draws_near(h, optimum.setting[h.name]) < RARE for h in space.hyperparameters
        ),
        Flag.FOLDS: optimum.constrained is None and bool(np.isfinite(optimum.folding)),
    }
    return tuple(flag for flag, held in holds.items() if held)


def response_flags(response: Curve) -> tuple[Flag, ...]:
    """Give the signs that the model behind a response is broken.

    References
    ----------
    von Neumann, "Distribution of the ratio of the mean square successive difference to the variance", Annals of
    Mathematical Statistics 1941.
    """
    if np.ptp(response.scores, axis=0).max() <= margin_of(response.metric, None) / 10:
        return (Flag.CONSTANT,)
    return (Flag.ERRATIC,) if _erratic(response) else ()


def _erratic(response: Curve) -> bool:
    if len(response.space.hyperparameters) > 1 or len(response.settings) < ORDERED:
        return False
    means = response.means
    steps, distances = (
        float((np.diff(means) ** 2).sum()),
        float(((means - means.mean()) ** 2).sum()),
    )
    return steps > DISORDER * distances


def disagree(one: Optimum, other: Optimum) -> bool:
    """Give whether two optima of one scope lie outside each other's intervals in some hyperparameter.

    Where there are no intervals, as of too few subjects, nothing can be said.
    """
    if any(np.isnan(found.low) for optimum in (one, other) for found in optimum.intervals.values()):
        return False
    return any(
        one.setting[name] not in other.intervals.get(name, NOTHING)
        and other.setting[name] not in one.intervals.get(name, NOTHING)
        for name in one.setting
    )


def draws_near(hyperparameter: Hyperparameter, value: float) -> float:
    """Give which share of training's draws falls near a value: evenly along the range, more often on its ends.

    Examples
    --------
    >>> round(draws_near(Hyperparameter(name="regularization", end_point_rate=0.1), 0.3), 3)
    0.08
    """
    place, rate = hyperparameter.to_unit_interval(value), hyperparameter.end_point_rate
    reach = min(place + NEAR, 1.0) - max(place - NEAR, 0.0)
    return (1 - 2 * rate) * reach + rate * ((place <= NEAR) + (place >= 1 - NEAR))


def _on_bound(space: Space, optimum: Optimum) -> bool:
    return any(optimum.setting[h.name] in (h.low, h.high) for h in space.hyperparameters)


def _flat(space: Space, optimum: Optimum) -> bool:
    spans = [
        (h, optimum.equals[h.name])
        for h in space.hyperparameters
        if np.isfinite(optimum.equals[h.name].low)
    ]
    return any(
        h.to_unit_interval(equal.high) - h.to_unit_interval(equal.low) >= FLAT_SHARE
        for h, equal in spans
    )
