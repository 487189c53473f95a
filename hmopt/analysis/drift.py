"""Whether the best setting still moves while a model is trained.

A checkpoint is the running average of the weights after a quarter, half, three quarters or all of
the optimizer steps of one training. Two things follow:

- The learning rate falls to zero towards the end, so that the last quarter changes less than those
  before it. A best setting that stands still at the end need not be that of a longer training, whose
  learning rate falls later. Hence a movement in one direction all through training counts as well
  as one near its end.
- The average reaches back over about 1 / (1 - `training.averaging`) steps. Single states of the
  weights wander, and the best setting with them; checkpoints that are further apart than that are
  averages of different states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from hmopt.analysis.optimum import ModelAnalysis, interpolated_values, margin_of, shared_settings
from hmopt.analysis.resampling import END, Estimate, Floats, Samples, interval, middle
from hmopt.analysis.scope_result import ScopeResult
from hmopt.analysis.warnings import OptimumWarning
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.progress import Track, silent
from hmopt.records import CHECKPOINTS, Checkpoint
from hmopt.search.curve import Curve, Curves, gain
from hmopt.search.scopes import Scope

SECOND_HALF: tuple[Checkpoint, ...] = ("half", "three-quarters", "full")
"""The checkpoints without which drift is not assessed."""

CHANGE_COVERAGE = 0.975
"""Coverage of intervals of changes: drift has two definitions, which share false alarms of 5 %."""


class Trend(Enum):
    """How the best setting changes over checkpoints; its value stands in summaries, its title in tables."""

    STILL = "still moves"
    SETTLED = "settled"
    THROUGHOUT = "moved all through"
    NONE = "no evidence"
    TOO_FEW = "too few subjects"

    @property
    def title(self) -> str:
        """How a table names it."""
        titles = {Trend.STILL: "still drifting", Trend.THROUGHOUT: "drifted throughout"}
        return titles.get(self, self.value)

    @property
    def drifts(self) -> bool:
        """Whether it is a warning."""
        drifting = (Trend.STILL, Trend.THROUGHOUT)
        return self in drifting


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The best value of one hyperparameter for one scope, over the checkpoints of a training.

    Values lie on the lattice: between the settings that were measured, scores are interpolated. All
    intervals are of the same bootstrap samples, so that differences between checkpoints are paired.

    Parameters
    ----------
    scope
        Whom or what it is the best value for.
    hyperparameter
        Its name.
    checkpoints
        C of them, the earliest first; the last is the end of training.
    optima
        The best value at each, and its 95 % interval; the ends are NaN with fewer than
        `FEWEST_SUBJECTS` subjects.
    change
        The last best value less the first, and its 97.5 % interval.
    late_change
        The last best value less that of half training, and its 97.5 % interval.
    loss
        How much worse than the best the best setting of half training is at the end of training,
        in the metric's unit.
    subjects
        Number of subjects that were resampled.
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
        values = [optimum.value for optimum in self.optima]
        return tuple(values)

    @property
    def late_values(self) -> tuple[float, ...]:
        """The best value at half training, at three quarters and at the end."""
        checkpoints = len(SECOND_HALF)
        return self.values[-checkpoints:]


def find_drifts(
    checkpoints: Mapping[Checkpoint, Measurements],
    scopes: Sequence[Scope],
    options: SearchOptions,
    track: Track = silent,
) -> list[Drift]:
    """Return the drift of each scope and hyperparameter.

    A best value *drifts* where

    1. it moves the same way from each checkpoint to the next, and
    2. the 97.5 % interval of the whole change excludes 0. The change is that within each bootstrap
       sample, so that what is common to the checkpoints cancels.

    Both are asked of the second half of training (`Trend.STILL`), and of the whole of it where all
    four checkpoints are known (`Trend.THROUGHOUT`). Neither is enough alone: four values without any
    trend are in order in 1 of 12 cases, three in 1 of 3; and a training whose best value only
    wanders can leave a change that subjects do not explain.

    Nearly every best value moves in the first quarters, while the network learns to register at all.
    So a movement through the whole of training counts only where its second half matters: it does
    not (`Trend.SETTLED`) where the best setting of half training is, at the end, less than the margin
    worse than the best one, with confidence. A movement in the second half that subjects do not
    explain is reported in any case, with what it costs beside it.

    Parameters
    ----------
    checkpoints
        Measurements of the model at the checkpoints that are known, of the same pairs.
    scopes
        Whom or what settings are chosen for.
    options
        Metric, margin and seed.
    track
        Progress of the scopes.

    Returns
    -------
    list of Drift
        Empty unless half training, three quarters and the end are among the checkpoints. Scopes
        without measurements are left out.
    """
    if not set(SECOND_HALF) <= checkpoints.keys():
        return []
    known = tuple(checkpoint for checkpoint in CHECKPOINTS if checkpoint in checkpoints)
    shared = shared_settings(checkpoints.values())
    measured = [checkpoints[checkpoint].at(shared) for checkpoint in known]
    curves_of = [Curves(measurements, options.metric) for measurements in measured]
    last = ModelAnalysis(measured[-1], options)
    drifts = []
    for scope in track(scopes, "Following training", len(scopes)):
        curves = _of_the_same_pairs([curves.of(scope) for curves in curves_of])
        if curves:
            samples = last.samples(scope, curves[-1])
            margin = margin_of(curves[-1].metric, options.margin)
            drifts += _drifts_of(scope, known, curves, samples, margin)
    return drifts


def warn_of_drift(results: Sequence[ScopeResult], drifts: Sequence[Drift]) -> list[ScopeResult]:
    """Return results with the warning of those that drift, which replaces that of half training.

    Parameters
    ----------
    results
        What is known about scopes.
    drifts
        From `find_drifts`.
    """
    drifting = {drift.scope for drift in drifts if drift.trend.drifts}
    warned = []
    for result in results:
        if result.scope in drifting:
            other = OptimumWarning.NOT_CONVERGED
            warnings = [flag for flag in result.warnings if flag is not other]
            warnings.append(OptimumWarning.DRIFTS)
            result = replace(result, warnings=tuple(warnings))
        warned.append(result)
    return warned


def trend_of(
    values: Sequence[float],
    change: Estimate,
    late_change: Estimate,
    loss: Estimate,
    tolerance: float,
) -> Trend:
    """Return whether best values drift, by the rule of `find_drifts`.

    Parameters
    ----------
    values
        At each checkpoint, the earliest first.
    change, late_change
        The last value less the first, and less that of half training; NaN ends where subjects are
        too few.
    loss
        How much worse than the best that of half training is at the end.
    tolerance
        Margin below which a loss is negligible, if it is with confidence.

    Examples
    --------
    >>> falling = [0.7, 0.62, 0.55, 0.5]
    >>> change, loss = Estimate(-0.2, -0.3, -0.1), Estimate(0.002, 0.0, 0.005)
    >>> sure, unsure = Estimate(-0.12, -0.2, -0.03), Estimate(-0.12, -0.26, 0.02)
    >>> trend_of(falling, change, sure, loss, tolerance=0.002)
    <Trend.STILL: 'still moves'>
    >>> trend_of(falling, change, unsure, loss, tolerance=0.002)
    <Trend.THROUGHOUT: 'moved all through'>
    >>> trend_of(falling, change, unsure, loss, tolerance=0.01)
    <Trend.SETTLED: 'settled'>
    >>> turning = [0.7, 0.45, 0.55, 0.5]
    >>> trend_of(turning, change, Estimate(0.05, 0.01, 0.09), loss, tolerance=0.002)
    <Trend.NONE: 'no evidence'>
    """
    if np.isnan(late_change.low):
        return Trend.TOO_FEW
    if _one_way(values[-len(SECOND_HALF) :]) and _excludes_zero(late_change):
        return Trend.STILL
    if loss.high < tolerance:
        return Trend.SETTLED
    if len(values) == len(CHECKPOINTS) and _one_way(values) and _excludes_zero(change):
        return Trend.THROUGHOUT
    return Trend.NONE


def _one_way(values: Sequence[float]) -> bool:
    steps = np.diff(values)
    if (steps > 0).all():
        return True
    falls = (steps < 0).all()
    return bool(falls)


def _excludes_zero(change: Estimate) -> bool:
    """Check whether the interval of a change lies on the side of 0 on which the change is."""
    if change.value > 0:
        return change.low > 0
    return change.high < 0


def _of_the_same_pairs(curves: Sequence[Curve | None]) -> list[Curve]:
    """Return the curves over the pairs that all have; none where a curve or every pair is missing."""
    present = [curve for curve in curves if curve is not None]
    if len(present) < len(curves):
        return []
    common = present[0].pairs
    for curve in present[1:]:
        common = np.intersect1d(common, curve.pairs, assume_unique=True)
    if not len(common):
        return []
    return [curve.over(np.isin(curve.pairs, common)) for curve in present]


def _drifts_of(
    scope: Scope,
    known: tuple[Checkpoint, ...],
    curves: Sequence[Curve],
    samples: Samples,
    margin: float,
) -> list[Drift]:
    # best settings of all subjects and of each sample: (checkpoints, 1 + draws, hyperparameters)
    best = np.stack([_best_values(curve, samples, END) for curve in curves])
    # the same of samples that are widened for the ends of intervals of changes
    end_of_change = (1 + CHANGE_COVERAGE) / 2
    best_for_changes = np.stack([_best_values(curve, samples, end_of_change) for curve in curves])
    half = known.index("half")
    loss = _loss(curves[-1], best[half, 0], samples)
    drifts = []
    for place, name in enumerate(curves[-1].space.names):
        values = best[:, :, place]
        changing = best_for_changes[:, :, place]
        change = _change(changing[0], changing[-1], samples)
        late_change = _change(changing[half], changing[-1], samples)
        optima = tuple(_optimum(at_checkpoint, samples) for at_checkpoint in values)
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


def _means(curve: Curve, samples: Samples, level: float) -> Floats:
    """Return mean scores over all subjects, then those of each sample: shape (1 + draws, s)."""
    of_all = curve.means
    of_samples = samples.means(curve.scores, level)
    return np.vstack([of_all, of_samples])


def _best_values(curve: Curve, samples: Samples, level: float) -> Floats:
    """Return the best setting by each row of `_means`: shape (1 + draws, hyperparameters)."""
    values, matrix = interpolated_values(curve.space, curve.settings)
    interpolated = _means(curve, samples, level) @ matrix.T
    best = curve.best_of(interpolated)
    return values[best]


def _loss(curve: Curve, setting: Floats, samples: Samples) -> Estimate:
    """Return how much worse a setting is than the best one of all subjects."""
    values, matrix = interpolated_values(curve.space, curve.settings)
    distances = np.abs(values - setting).sum(axis=1)
    nearest = int(distances.argmin())
    means = _means(curve, samples, END) @ matrix.T
    best = int(curve.best_of(means[0]))
    at_best = means[:, best]
    at_setting = means[:, nearest]
    losses = gain(curve.metric, at_best, at_setting)
    return _estimate(losses, samples)


def _estimate(values: Floats, samples: Samples) -> Estimate:
    """Return the first value, of all subjects, with the interval of the others, of the samples."""
    of_all = float(values[0])
    of_samples = values[1:]
    if not samples.enough:
        return Estimate(of_all, np.nan, np.nan)
    low, high = interval(of_samples)
    return Estimate(of_all, low, high)


def _change(before: Floats, after: Floats, samples: Samples) -> Estimate:
    """Return a change, with the middle `CHANGE_COVERAGE` of the changes within each sample."""
    changes = after - before
    of_all = float(changes[0])
    if not samples.enough:
        return Estimate(of_all, np.nan, np.nan)
    low, high = middle(changes[1:], CHANGE_COVERAGE).tolist()
    return Estimate(of_all, low, high)


def _optimum(values: Floats, samples: Samples) -> Estimate:
    """Return the best value of all subjects with its interval, stretched to hold it."""
    found = _estimate(values, samples)
    if not samples.enough:
        return found
    low = min(found.low, found.value)
    high = max(found.high, found.value)
    return Estimate(found.value, low, high)
