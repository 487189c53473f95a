"""The settings that the data leave open, and whether landmarks err where displacements differ over them.

The confidence set of a best setting holds all that subjects cannot tell from it. A displacement that
is the same over the whole set does not depend on which of them is taken; where it differs, it is
uncertain. Its spread at a voxel is

    s = √( Σ_k |u_k - ū|² / (K - 1) ),    ū = Σ_k u_k / K

of the displacements u_1, …, u_K of K settings (of each of several models, if there are some), in mm. Of
displacements that differ in their length alone it is the standard deviation of the length; it sees
those that differ in their direction, too, whose lengths are equal.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import qmc

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.optimum import DRAWS
from hmopt.analysis.resampling import (
    UNKNOWN,
    Estimate,
    Floats,
    Interval,
    Samples,
    draw,
    estimate,
    interval,
    widening,
)
from hmopt.ledger.uncertainty import UncertaintyRecord
from hmopt.space import Hyperparameter, Index, Setting, Space, Value

SETTINGS = 9
"""Settings of a confidence set at which pairs are registered, where no other number is asked for."""

FEWEST_POINTS = 4
"""Landmarks of a pair from which they have a rank correlation."""

PARTS = 4
"""Parts of the landmarks, by rising uncertainty, whose errors are compared."""


@dataclass(frozen=True, kw_only=True)
class ConfidenceSet:
    """Where the best setting of a scope lies, with 95 % confidence.

    Parameters
    ----------
    best
        The best setting.
    intervals
        Of hyperparameters with an order: the interval of the best value.
    choices
        Of others: the values that may be best.
    """

    best: Setting
    intervals: Mapping[str, Interval]
    choices: Mapping[str, tuple[Value, ...]]

    @property
    def is_known(self) -> bool:
        """Whether there is a set: of too few subjects there is none."""
        return all(self._is_known(name) for name in self.best)

    def _is_known(self, name: str) -> bool:
        if name in self.choices:
            return bool(self.choices[name])
        found = self.intervals.get(name)
        return found is not None and math.isfinite(found.low)


def settings_within(space: Space, confident: ConfidenceSet, count: int = SETTINGS) -> list[Setting]:
    """Return settings that are spread evenly over a confidence set, both ends of one hyperparameter among them.

    Of several hyperparameters they are the first points of a Halton sequence in the box of their
    intervals, and the best setting. They lie on the lattice, so that a narrow set has fewer than were
    asked for.

    Parameters
    ----------
    space
        The hyperparameters.
    confident
        The set.
    count
        Settings at most, two or more.

    Examples
    --------
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> found = ConfidenceSet(
    ...     best={"regularization": 0.3}, intervals={"regularization": Interval(0.2, 0.6)}, choices={}
    ... )
    >>> [one["regularization"] for one in settings_within(space, found, 3)]
    [0.2, 0.4, 0.6]
    """
    open_ones = [one for one in space.hyperparameters if one.name in confident.best]
    places = np.linspace(0.0, 1.0, count)[:, None]
    if len(open_ones) > 1:
        places = qmc.Halton(d=len(open_ones), scramble=False).random(count - 1)
    found: dict[Index, None] = {}
    if len(open_ones) > 1:
        found[space.index(confident.best)] = None
    for row in places:
        values = {
            one.name: _value(one, confident, place)
            for one, place in zip(open_ones, row.tolist(), strict=True)
        }
        found[space.index(space.complete(values))] = None
    return [space.setting(index) for index in found]


def _value(one: Hyperparameter, confident: ConfidenceSet, place: float) -> Value:
    """Return the value at a place in [0, 1] of its interval, or of its choices."""
    choices = confident.choices.get(one.name)
    if choices:
        number = min(int(place * len(choices)), len(choices) - 1)
        return choices[number]
    low, high = confident.intervals[one.name]
    first, last = one.index(low), one.index(high)
    # the ends need not lie on the lattice: what lies outside the interval is no setting of the set
    if one.coordinate(first) < low:
        first += 1
    if one.coordinate(last) > high:
        last -= 1
    return one.value(round(first + place * (last - first)))


def spread_of(displacements: Floats) -> Floats:
    """Return the spread s of displacements (K, ..., d): (...); zero of a single one.

    Examples
    --------
    Two of equal length in opposite directions, and two that are the same:

    >>> spread_of(np.array([[[1.0, 0.0], [0.0, 2.0]], [[-1.0, 0.0], [0.0, 2.0]]])).round(3)
    array([1.414, 0.   ])
    """
    count = len(displacements)
    if count < 2:
        return np.zeros(displacements.shape[1:-1])
    apart = displacements - displacements.mean(axis=0)
    squared = np.square(apart).sum(axis=(0, -1))
    return np.asarray(np.sqrt(squared / (count - 1)))


def rank_correlation(one: Floats, other: Floats, weights: Floats | None = None) -> float:
    """Return Spearman's rank correlation of two variables (n,), each case counted as often as its weight.

    Ties have the mean of their ranks. NaN where one of the variables does not vary.

    Examples
    --------
    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
    1.0
    """
    counted = np.ones(len(one)) if weights is None else weights
    first = _mid_ranks(one, counted)
    second = _mid_ranks(other, counted)
    total = counted.sum()
    if not total:
        return math.nan
    first = first - (counted @ first) / total
    second = second - (counted @ second) / total
    of_first = counted @ np.square(first)
    of_second = counted @ np.square(second)
    if of_first <= 0 or of_second <= 0:
        return math.nan
    correlation = (counted * first) @ second / math.sqrt(of_first * of_second)
    return float(np.clip(correlation, -1, 1))


def _mid_ranks(values: Floats, weights: Floats) -> Floats:
    """Return the rank of each value: half the weight of its ties, after the weight of all that are less."""
    _, places = np.unique(values, return_inverse=True)
    of_value = np.bincount(places, weights=weights)
    below = np.cumsum(of_value) - of_value
    ranks = below + of_value / 2
    return np.asarray(ranks[places])


@dataclass(frozen=True, kw_only=True)
class PartOfPoints:
    """Landmarks whose uncertainty is alike.

    Parameters
    ----------
    low, high
        Least and largest uncertainty.
    mean
        The mean of it.
    points
        How many they are.
    error
        Their mean error.
    """

    low: float
    high: float
    mean: float
    points: int
    error: float


@dataclass(frozen=True, kw_only=True)
class UncertaintyResult:
    """Whether landmarks err where displacements are uncertain.

    Parameters
    ----------
    record
        What was measured.
    over_points
        Rank correlation of uncertainty and error over the landmarks of all pairs, and its interval
        over subjects; NaN where it is unknown.
    within_pairs
        The mean over pairs of the same correlation among the landmarks of one pair.
    evidence
        Whether the correlation over all landmarks is shown to differ from 0; FLAT where uncertainty or
        error is the same everywhere.
    parts
        Landmarks by rising uncertainty.
    subjects
        Subjects of the pairs that have landmarks.
    """

    record: UncertaintyRecord
    over_points: Estimate
    within_pairs: Estimate
    evidence: Evidence
    parts: tuple[PartOfPoints, ...]
    subjects: int

    @property
    def points(self) -> int:
        """Landmarks of all pairs."""
        return sum(part.points for part in self.parts)

    def __str__(self) -> str:
        """Return a line for a person."""
        return (
            f"Uncertainty: at {self.points} landmarks of {len(self.record.pairs)} pairs, its rank correlation with "
            f"their error is {self.over_points.value:.2f}"
        )


def judge_uncertainty(
    record: UncertaintyRecord, pairs: pd.DataFrame, seed: int
) -> UncertaintyResult | None:
    """Correlate uncertainty and error of landmarks, with intervals over subjects.

    A landmark is no independent case: those of a pair share its images, and pairs share subjects.
    Subjects are resampled, and a landmark counts as often as its pair does.

    Parameters
    ----------
    record
        What was measured.
    pairs
        The table of pairs.
    seed
        Of the bootstrap.

    Returns
    -------
    UncertaintyResult or None
        None where no pair of the table is in the record.
    """
    known = pairs.set_index("pair")
    kept = [one for one in record.pairs if one.pair in known.index]
    if not kept:
        return None
    rows = known.loc[[one.pair for one in kept]]
    moving = rows["moving_subject"].to_numpy(dtype=object)
    fixed = rows["fixed_subject"].to_numpy(dtype=object)
    samples = draw(moving, fixed, DRAWS, seed)

    uncertainty = np.concatenate([np.array(one.uncertainty, dtype=float) for one in kept])
    error = np.concatenate([np.array(one.error, dtype=float) for one in kept])
    counts = [len(one.error) for one in kept]
    over_points = _over_points(uncertainty, error, counts, samples)
    evidence = Evidence.NONE
    if math.isnan(over_points.value):
        evidence = Evidence.FLAT
    elif math.isnan(over_points.low):
        evidence = Evidence.TOO_FEW
    elif over_points.low > 0 or over_points.high < 0:
        evidence = Evidence.FOUND
    return UncertaintyResult(
        record=record,
        over_points=over_points,
        within_pairs=_within_pairs(record, [one.pair for one in kept], samples),
        evidence=evidence,
        parts=tuple(_parts(uncertainty, error)),
        subjects=samples.subjects,
    )


def _over_points(
    uncertainty: Floats, error: Floats, counts: Sequence[int], samples: Samples
) -> Estimate:
    value = rank_correlation(uncertainty, error)
    if math.isnan(value) or not samples.enough:
        return UNKNOWN._replace(value=value)
    resampled = []
    for weights in samples.weights:
        of_points = np.repeat(weights, counts)
        resampled.append(rank_correlation(uncertainty, error, of_points))
    return _with_interval(value, np.array(resampled), samples.subjects)


def _with_interval(value: float, resampled: Floats, subjects: int) -> Estimate:
    """Return a correlation and its interval, widened for few subjects and cut to [-1, 1]."""
    known = resampled[np.isfinite(resampled)]
    widened = value + widening(subjects) * (known - value)
    low, high = interval(widened)
    return Estimate(value, max(low, -1.0), min(high, 1.0))


def _within_pairs(record: UncertaintyRecord, ids: Sequence[str], samples: Samples) -> Estimate:
    by_id = {one.pair: one for one in record.pairs}
    correlations = []
    for name in ids:
        one = by_id[name]
        has_enough = len(one.error) >= FEWEST_POINTS
        found = math.nan
        if has_enough:
            found = rank_correlation(np.array(one.uncertainty), np.array(one.error))
        correlations.append(found)
    values = np.array(correlations)
    known = np.isfinite(values)
    if not known.any():
        return UNKNOWN
    mean = estimate(samples.of(known), values[known])
    return Estimate(mean.value, max(mean.low, -1.0), min(mean.high, 1.0))


def _parts(uncertainty: Floats, error: Floats) -> Iterator[PartOfPoints]:
    """Yield equal parts of the landmarks, those with the least uncertainty first."""
    order = np.argsort(uncertainty, kind="stable")
    for places in np.array_split(order, PARTS):
        if not len(places):
            continue
        yield PartOfPoints(
            low=float(uncertainty[places].min()),
            high=float(uncertainty[places].max()),
            mean=float(uncertainty[places].mean()),
            points=len(places),
            error=float(error[places].mean()),
        )
