"""Whether the best setting still moves while a model is trained.

A checkpoint is the running average of the weights after a quarter, half, three quarters or all of the optimizer steps
of one and the same training. Two things follow from how it is made:

- The learning rate falls to zero towards the end, so that the last quarter changes less than those before it. That the
  best setting stands still at the end does not say that a longer training, whose learning rate falls later, would give
  the same one. Hence a movement in one direction all through training counts as well as one near its end.
- The average reaches back over about 1 / (1 - `training.averaging`) steps. Single states of the weights wander, and the
  best setting with them; averages of checkpoints that are further apart than that are of different states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.between import between
from hmopt.analysis.evidence import LEAST
from hmopt.analysis.finding import Finding
from hmopt.analysis.flag import Flag
from hmopt.analysis.optimum import margin_of
from hmopt.analysis.resampling import Estimate, Interval, Samples, interval
from hmopt.analysis.source import Source
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS, Checkpoint
from hmopt.search.curve import Curve, Curves, gain
from hmopt.search.scopes import Scope

SECOND_HALF: tuple[Checkpoint, ...] = ("half", "three-quarters", "full")
"""The checkpoints without which nothing is said about drift."""

CHANGE_COVERAGE = 0.975
"""Of intervals of changes: a best value can drift in two ways, which share the false alarms of 5 %."""


class Trend(Enum):
    """What checkpoints say about the best setting; its value is how a table says it."""

    STILL = "still moves"
    SETTLED = "settled"
    THROUGHOUT = "moved all through"
    NONE = "no evidence"
    TOO_FEW = "too few subjects"

    @property
    def drifts(self) -> bool:
        """Whether it is a reason to be careful."""
        return self in (Trend.STILL, Trend.THROUGHOUT)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The best value of one hyperparameter for one scope, over the checkpoints of a training.

    Values lie on the lattice: between the settings that were measured, scores follow the smooth curve of `between`. All
    intervals are of the same random samples of the subjects, so that differences between checkpoints are paired.

    Parameters
    ----------
    scope
        Whom or what it is the best value for.
    hyperparameter
        Its name.
    checkpoints
        C of them, the earliest first; the last is the end of training.
    optima
        The best value at each, and its 95 % interval; the interval is NaN with fewer than `LEAST` subjects.
    change
        The last best value less the first, and its 97.5 % interval.
    late_change
        The last best value less that of half training, and its 97.5 % interval.
    loss
        How much worse than the best the best setting of half training is at the end of training, in the metric's unit.
    subjects
        How many were drawn.
    trend
        Whether it drifts.
    """

    scope: Scope
    hyperparameter: str
    checkpoints: tuple[Checkpoint, ...]
    optima: tuple[Estimate, ...]
    change: Estimate
    late_change: Estimate
    loss: Estimate
    subjects: int
    trend: Trend

    @property
    def values(self) -> tuple[float, ...]:
        """The best value at each checkpoint."""
        return tuple(optimum.value for optimum in self.optima)

    @property
    def late_values(self) -> tuple[float, ...]:
        """The best value at half training, at three quarters and at the end."""
        return self.values[-len(SECOND_HALF) :]


def find_drifts(
    checkpoints: Mapping[Checkpoint, Measurements],
    scopes: Sequence[Scope],
    section: SearchOptions,
    track: Track = silent,
) -> list[Drift]:
    """Return the drift of each scope and hyperparameter.

    A best value *drifts* where

    1. it moves the same way from each checkpoint to the next, and
    2. the 97.5 % interval of the whole change leaves out 0. The change is that within each sample of the subjects, so
       that what is common to the checkpoints does not count.

    Both are asked of the second half of training (`Trend.STILL`), and of the whole of it where all four checkpoints are
    known (`Trend.THROUGHOUT`). Neither is enough alone: four values without any trend are in order in 1 of 12 cases,
    three in 1 of 3; and a training whose best value only wanders can leave a change that subjects do not explain.

    Nearly every best value moves in the first quarters, while the network learns to register at all. So a movement
    through the whole of training counts only where its second half matters: it does not (`Trend.SETTLED`) where the
    best setting of half training is, at the end, surely less than the margin worse than the best one. A movement in
    the second half that subjects do not explain is told in any case, with what it costs beside it.

    Parameters
    ----------
    checkpoints
        Measurements of the model at the checkpoints that are known, of the same pairs.
    scopes
        Whom or what settings are chosen for.
    section
        Metric, margin and seed.
    track
        Who listens to progress.

    Returns
    -------
    list of Drift
        Empty unless half training, three quarters and the end are among the checkpoints. Scopes without measurements
        are left out.
    """
    if not set(SECOND_HALF) <= checkpoints.keys():
        return []
    known = tuple(checkpoint for checkpoint in CHECKPOINTS if checkpoint in checkpoints)
    shared = _shared_settings(list(checkpoints.values()))
    sources = [checkpoints[checkpoint].at(shared) for checkpoint in known]
    last = Source(sources[-1], section)
    curves_of = [Curves(measurements, section.metric) for measurements in sources]
    drifts = []
    for scope in track(scopes, "following training", len(scopes)):
        curves = _of_the_same_pairs([curves.of(scope) for curves in curves_of])
        if curves:
            samples = last.samples(scope, curves[-1])
            margin = margin_of(curves[-1].metric, section.margin)
            drifts += _drifts_of(scope, known, curves, samples, margin)
    return drifts


def flag_drifts(findings: Sequence[Finding], drifts: Sequence[Drift]) -> list[Finding]:
    """Return findings with the flag of those that drift, which then stands for that of half training alone.

    Parameters
    ----------
    findings
        What is known about scopes.
    drifts
        From `find_drifts`.
    """
    drifting = {drift.scope for drift in drifts if drift.trend.drifts}
    flagged = []
    for finding in findings:
        if finding.scope in drifting:
            others = tuple(flag for flag in finding.flags if flag is not Flag.NOT_CONVERGED)
            flagged.append(replace(finding, flags=(*others, Flag.DRIFTS)))
        else:
            flagged.append(finding)
    return flagged


def trend_of(
    values: Sequence[float],
    change: Estimate,
    late_change: Estimate,
    loss: Estimate,
    tolerance: float,
) -> Trend:
    """Return whether best values drift; `find_drifts` has the rule.

    Parameters
    ----------
    values
        At each checkpoint, the earliest first.
    change, late_change
        The last value less the first, and less that of half training; NaN ends where subjects are too few.
    loss
        How much worse than the best that of half training is at the end.
    tolerance
        A loss that is surely less is negligible.

    Examples
    --------
    >>> change, loss = Estimate(-0.2, -0.3, -0.1), Estimate(0.002, 0.0, 0.005)
    >>> trend_of([0.7, 0.62, 0.55, 0.5], change, Estimate(-0.12, -0.2, -0.03), loss, tolerance=0.002)
    <Trend.STILL: 'still moves'>
    >>> trend_of([0.7, 0.62, 0.55, 0.5], change, Estimate(-0.12, -0.26, 0.02), loss, tolerance=0.002)
    <Trend.THROUGHOUT: 'moved all through'>
    >>> trend_of([0.7, 0.62, 0.55, 0.5], change, Estimate(-0.12, -0.26, 0.02), loss, tolerance=0.01)
    <Trend.SETTLED: 'settled'>
    >>> trend_of([0.7, 0.45, 0.55, 0.5], change, Estimate(0.05, 0.01, 0.09), loss, tolerance=0.002)
    <Trend.NONE: 'no evidence'>
    """
    if np.isnan(late_change.low):
        return Trend.TOO_FEW
    if _one_way(values[-len(SECOND_HALF) :]) and _leaves_out_zero(late_change):
        return Trend.STILL
    if loss.high < tolerance:
        return Trend.SETTLED
    if len(values) == len(CHECKPOINTS) and _one_way(values) and _leaves_out_zero(change):
        return Trend.THROUGHOUT
    return Trend.NONE


def _one_way(values: Sequence[float]) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())


def _leaves_out_zero(change: Estimate) -> bool:
    """Tell whether the interval of a change lies on the side of 0 on which the change is."""
    return change.low > 0 if change.value > 0 else change.high < 0


def _shared_settings(measured: Sequence[Measurements]) -> list[tuple[int, ...]]:
    shared = set(measured[0].settings)
    for measurements in measured[1:]:
        shared &= set(measurements.settings)
    return sorted(shared)


def _of_the_same_pairs(curves: Sequence[Curve | None]) -> list[Curve]:
    """Return the curves over the pairs that all of them have; none where a curve, or every pair, is missing."""
    present = [curve for curve in curves if curve is not None]
    if len(present) < len(curves):
        return []
    common = present[0].pairs
    for curve in present[1:]:
        common = np.intersect1d(common, curve.pairs, assume_unique=True)
    return [_restricted(curve, common) for curve in present] if len(common) else []


def _restricted(curve: Curve, pairs: NDArray[np.intp]) -> Curve:
    kept = np.isin(curve.pairs, pairs)
    if kept.all():
        return curve
    ids = tuple(name for name, is_kept in zip(curve.ids, kept, strict=True) if is_kept)
    unknown = np.full(
        len(curve.settings), np.nan
    )  # folding is a mean over other pairs, and not asked for here
    return replace(
        curve, pairs=curve.pairs[kept], ids=ids, scores=curve.scores[:, kept], folding=unknown
    )


def _drifts_of(
    scope: Scope,
    known: tuple[Checkpoint, ...],
    curves: Sequence[Curve],
    samples: Samples,
    margin: float,
) -> list[Drift]:
    sure = samples.subjects >= LEAST
    best = np.stack(
        [_best_values(curve, samples) for curve in curves]
    )  # (checkpoints, 1 + draws, hyperparameters)
    half = known.index("half")
    loss = _loss(curves[-1], best[half, 0], samples, sure)
    drifts = []
    for place, name in enumerate(curves[-1].space.names):
        values = best[:, :, place]
        change = _change(values[0], values[-1], sure)
        late_change = _change(values[half], values[-1], sure)
        optima = tuple(
            _holding_its_value(_estimate(at_checkpoint, sure)) for at_checkpoint in values
        )
        trend = trend_of([optimum.value for optimum in optima], change, late_change, loss, margin)
        drift = Drift(
            scope=scope,
            hyperparameter=name,
            checkpoints=known,
            optima=optima,
            change=change,
            late_change=late_change,
            loss=loss,
            subjects=samples.subjects,
            trend=trend,
        )
        drifts.append(drift)
    return drifts


def _best_values(curve: Curve, samples: Samples) -> NDArray[np.float64]:
    """Return the best setting over all subjects, then that of each sample: shape (1 + draws, hyperparameters)."""
    candidates, matrix = between(curve.space, curve.settings)
    means = np.vstack([curve.means, samples.means(curve.scores)])
    best = curve.best_of(means @ matrix.T)
    values = np.array([list(curve.space.setting(index).values()) for index in candidates])
    return np.asarray(values[best])


def _loss(curve: Curve, setting: NDArray[np.float64], samples: Samples, sure: bool) -> Estimate:
    """Return how much worse a setting is than the best one, over all subjects and within each sample of them."""
    candidates, matrix = between(curve.space, curve.settings)
    values = np.array([list(curve.space.setting(index).values()) for index in candidates])
    place = int(np.abs(values - setting).sum(axis=1).argmin())
    means = np.vstack([curve.means, samples.means(curve.scores)]) @ matrix.T
    best = int(curve.best_of(means[0]))
    return _estimate(gain(curve.metric, means[:, best], means[:, place]), sure)


def _estimate(values: NDArray[np.float64], sure: bool) -> Estimate:
    """Return the first of some values with the interval of the others, or without where subjects are too few."""
    ends = interval(values[1:]) if sure else Interval(np.nan, np.nan)
    return Estimate(float(values[0]), *ends)


def _change(before: NDArray[np.float64], after: NDArray[np.float64], sure: bool) -> Estimate:
    """Return the change over all subjects, with the middle `CHANGE_COVERAGE` of the changes within each sample."""
    changes = after - before
    if not sure:
        return Estimate(float(changes[0]), np.nan, np.nan)
    tail = (1 - CHANGE_COVERAGE) / 2
    low = np.quantile(changes[1:], tail, method="lower")
    high = np.quantile(changes[1:], 1 - tail, method="higher")
    return Estimate(float(changes[0]), float(low), float(high))


def _holding_its_value(optimum: Estimate) -> Estimate:
    if np.isnan(optimum.low):
        return optimum
    return Estimate(
        optimum.value, min(optimum.low, optimum.value), max(optimum.high, optimum.value)
    )
