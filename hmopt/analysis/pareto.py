"""Fronts of several objectives: which settings are on them, how much they dominate, and their knees.

Values here have the sign with which more is better. One setting *dominates* another where it is at
least as good on every axis and better on one; the *front* are the settings that none dominates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hmopt.analysis.optimum import DRAWS, subject_of
from hmopt.analysis.resampling import (
    NOTHING,
    Estimate,
    Floats,
    Interval,
    Mask,
    Places,
    Samples,
    draw,
    interval,
    middle,
)
from hmopt.errors import SearchError
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Criteria, Scope, find_scope, joined_criteria
from hmopt.search.tradeoff import Tradeoff, default_axes, find_tradeoff, parse_axis
from hmopt.space import Setting
from hmopt.study_folder import StudyFolder

if TYPE_CHECKING:
    import optuna

SURE = 0.95
"""A setting is surely on the front where it is on that of so many bootstrap samples."""
CHUNK = 2**24
"""Comparisons of two settings at a time."""


def non_dominated(values: Floats) -> Mask:
    """Tell which settings no other one dominates.

    Equal settings do not dominate each other: of duplicates on the front, all are. A setting with
    NaN on an axis is not on the front, and dominates none.

    Parameters
    ----------
    values
        Shape (..., s, k), more is better.

    Returns
    -------
    array
        Shape (..., s).

    Examples
    --------
    >>> values = np.array([[0.8, 0.1], [0.7, 0.3], [0.7, 0.2], [0.7, 0.3], [np.nan, 1.0]])
    >>> non_dominated(values).tolist()
    [True, True, False, True, False]
    """
    known = np.asarray(np.isfinite(values).all(axis=-1))
    # NaN compares as false, so that a row with one is never at least as good
    safe = np.where(known[..., None], values, np.nan)
    shape = safe.shape[:-1]
    at_least = np.ones((*shape, shape[-1]), dtype=bool)
    better = np.zeros_like(at_least)
    for axis in range(safe.shape[-1]):
        on_axis = safe[..., axis]
        # (..., i, j): setting i beside setting j
        at_least &= on_axis[..., :, None] >= on_axis[..., None, :]
        better |= on_axis[..., :, None] > on_axis[..., None, :]
    dominated = (at_least & better).any(axis=-2)
    on_front: Mask = known & ~dominated
    return on_front


def hypervolume(values: Floats, reference: Floats) -> Floats:
    """Compute the volume that settings dominate, down to a reference point.

    It is the volume of the points that lie above the reference on every axis and below at least one
    of the settings on every axis. What a setting has below the reference counts as the reference,
    and a setting with NaN counts as nothing. By slices along the last axis: with the settings
    sorted by it, the best first,

        V_k = Σ_i (z_i - z_{i + 1}) · V_{k-1}(the first i settings),    z_{s + 1} = reference

    Parameters
    ----------
    values
        Shape (..., s, k), more is better.
    reference
        Shape (k,).

    Returns
    -------
    array
        Shape (...).

    References
    ----------
    Zitzler and Thiele, IEEE Transactions on Evolutionary Computation 3, 1999.

    Examples
    --------
    Two rectangles, of 2 by 1 and 1 by 3, that share a square of 1:

    >>> float(hypervolume(np.array([[2.0, 1.0], [1.0, 3.0]]), np.zeros(2)))
    4.0
    """
    above = np.where(np.isfinite(values).all(axis=-1, keepdims=True), values - reference, 0.0)
    return _dominated(np.clip(above, 0, None))


def _dominated(above: Floats) -> Floats:
    """Return the volume between 0 and settings, of shape (..., s, k), at least 0."""
    settings = above.shape[-2]
    if above.shape[-1] == 1:
        best: Floats = above[..., 0].max(axis=-1)
        return best
    order = np.argsort(-above[..., -1], axis=-1, kind="stable")
    ordered = np.take_along_axis(above, order[..., None], axis=-2)
    last = ordered[..., -1]
    following = np.concatenate([last[..., 1:], np.zeros_like(last[..., :1])], axis=-1)
    thickness = last - following
    if above.shape[-1] == 2:
        widths = np.maximum.accumulate(ordered[..., 0], axis=-1)
        area: Floats = (widths * thickness).sum(axis=-1)
        return area
    volume = np.zeros(above.shape[:-2])
    for count in range(1, settings + 1):
        slice_ = _dominated(ordered[..., :count, :-1])
        volume = volume + thickness[..., count - 1] * slice_
    return volume


def find_knee(values: Floats, on_front: Mask) -> Places:
    """Return the knee of fronts: the member farthest above the line between the best of each axis.

    Each axis is scaled so that its worst value on the front is 0 and its best one 1. Of two axes,
    the ends of the front lie then at (1, 0) and (0, 1), and u + v - 1 of a member at (u, v) is √2
    times its distance from the line between them; of k axes, Σ u - 1 takes its place. The knee has
    the largest, and of equals it is the first. The unit and the offset of an axis change nothing.

    Parameters
    ----------
    values
        Shape (..., s, k), more is better.
    on_front
        Shape (..., s).

    Returns
    -------
    array
        Shape (...): places of the knees; -1 where no member lies above the line, as of a front that
        is straight, bends inwards, or has only two different points.

    References
    ----------
    Das, "On characterizing the knee of the Pareto curve based on normal-boundary intersection",
    Structural Optimization 18, 1999.

    Examples
    --------
    >>> values = np.array([[0.0, 1.0], [0.8, 0.9], [1.0, 0.0]])
    >>> int(find_knee(values, non_dominated(values)))
    1
    """
    inside = np.where(on_front[..., None], values, np.nan)
    any_on_front = np.asarray(on_front.any(axis=-1))
    filled = np.where(any_on_front[..., None, None], inside, 0.0)
    low = np.nanmin(filled, axis=-2, keepdims=True)
    high = np.nanmax(filled, axis=-2, keepdims=True)
    width = high - low
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = (filled - low) / width
    above = np.where(on_front, scaled.sum(axis=-1) - 1, -np.inf)
    # an axis on which all members are equal has no trade-off
    above = np.where(np.isfinite(above), above, -np.inf)
    best = above.argmax(axis=-1)
    height = np.take_along_axis(above, best[..., None], axis=-1)[..., 0]
    knee: Places = np.where(height > _ROUNDING, best, -1)
    return knee


_ROUNDING = 1e-9
"""What a straight front may bulge by rounding, as a share of its extent."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Front:
    """The settings of a scope between which several objectives leave the choice.

    Parameters
    ----------
    tradeoff
        Scores of n pairs at s settings on k axes.
    on_front
        Which settings no other one dominates, by the means of all pairs, shape (s,).
    share
        Share of bootstrap samples of the subjects in which each setting is on the front, shape (s,);
        NaN of too few subjects.
    band
        95 % intervals of the means, shape (2, s, k); NaN of too few subjects.
    reference
        Point of the hypervolume in the units of the axes, shape (k,).
    hypervolume
        Volume that the front dominates, in the product of these units, with its 95 % interval.
    hypervolume_share
        The same as a share of the box between the reference and the best value on each axis; NaN
        where that box has no volume.
    knee
        Place of the member with the most favourable exchange; None where there is none.
    knee_intervals
        By hyperparameter that is a number: 95 % interval of its value at the knees of the samples
        that have one.
    """

    tradeoff: Tradeoff
    on_front: Mask
    share: Floats
    band: Floats
    reference: Floats
    hypervolume: Estimate
    hypervolume_share: float
    knee: int | None
    knee_intervals: Mapping[str, Interval]

    @property
    def scope(self) -> Scope:
        """Whose front it is."""
        return self.tradeoff.scope

    @property
    def members(self) -> list[int]:
        """Places of the settings on the front, from the best to the worst on the first axis."""
        places = np.flatnonzero(self.on_front)
        first = self.tradeoff.signs[0] * self.tradeoff.means[places, 0]
        order = np.argsort(-first, kind="stable")
        ordered: list[int] = places[order].tolist()
        return ordered

    @property
    def settings(self) -> list[Setting]:
        """The settings on the front, in the order of `members`."""
        return [self.setting(place) for place in self.members]

    @property
    def knee_setting(self) -> Setting | None:
        """The setting at the knee; None where there is none."""
        return None if self.knee is None else self.setting(self.knee)

    def setting(self, place: int) -> Setting:
        """Return the setting at a place."""
        return self.tradeoff.space.setting(self.tradeoff.settings[place])

    @property
    def table(self) -> pd.DataFrame:
        """A row for every setting: its values, its means with intervals, and whether it is on the front."""
        tradeoff = self.tradeoff
        rows = []
        for place in range(len(tradeoff.settings)):
            row: dict[str, object] = dict(self.setting(place))
            for axis, name in enumerate(tradeoff.names):
                low, high = self.band[:, place, axis].tolist()
                mean = Estimate(float(tradeoff.means[place, axis]), low, high)
                row |= mean.columns(name)
            row["on_front"] = bool(self.on_front[place])
            row["share_of_samples"] = float(self.share[place])
            row["knee"] = place == self.knee
            rows.append(row)
        return pd.DataFrame(rows)

    def study(self, name: str = "front") -> "optuna.Study":
        """Return a multi-objective Optuna study with a trial for each setting: `best_trials` are the front."""
        from hmopt.search.studies import make_front_study

        return make_front_study(name, self.tradeoff)


def find_front(
    tradeoff: Tradeoff, samples: Samples, reference: Mapping[str, float] | None = None
) -> Front:
    """Find the front of several objectives, and how sure its members are.

    Parameters
    ----------
    tradeoff
        Scores of n pairs at s settings on k axes.
    samples
        Bootstrap samples of the subjects of these pairs.
    reference
        By name of the axis: where its hypervolume begins; left out: at the worst mean.

    Raises
    ------
    SearchError
        If the reference names something else than the axes.
    """
    signs = tradeoff.signs
    values = signs * tradeoff.means
    on_front = non_dominated(values)
    knee = int(find_knee(values, on_front))
    start = _reference_of(tradeoff, values, reference)
    volume = float(hypervolume(values, start))
    box = float(np.prod(np.clip(values.max(axis=0) - start, 0, None)))

    settings, axes = values.shape
    share = np.full(settings, np.nan)
    band = np.full((2, settings, axes), np.nan)
    low = high = np.nan
    knees = np.empty(0, dtype=np.intp)
    if samples.enough:
        drawn = _sampled(tradeoff, samples)
        fronts = _fronts_of(drawn * signs)
        share = fronts.mean(axis=0)
        band = middle(drawn)
        low, high = interval(hypervolume(drawn * signs, start))
        knees = find_knee(drawn * signs, fronts)
    return Front(
        tradeoff=tradeoff,
        on_front=on_front,
        share=share,
        band=band,
        reference=signs * start,
        hypervolume=Estimate(volume, low, high),
        hypervolume_share=volume / box if box > 0 else np.nan,
        knee=None if knee < 0 else knee,
        knee_intervals=_knee_intervals(tradeoff, knees[knees >= 0]),
    )


def _sampled(tradeoff: Tradeoff, samples: Samples) -> Floats:
    """Return the means of each bootstrap sample, cut to the range of their metric: (draws, s, k)."""
    drawn = []
    for axis, scores in zip(tradeoff.axes, tradeoff.scores, strict=True):
        low, high = axis.metric.range
        means = samples.means(scores)
        drawn.append(np.clip(means, low, high))
    return np.stack(drawn, axis=-1)


def _fronts_of(values: Floats) -> Mask:
    """Return which settings are on the front in each of several samples, (draws, s)."""
    draws, settings, _ = values.shape
    at_once = max(1, CHUNK // settings**2)
    found = [non_dominated(values[start : start + at_once]) for start in range(0, draws, at_once)]
    return np.concatenate(found)


def _reference_of(
    tradeoff: Tradeoff, values: Floats, reference: Mapping[str, float] | None
) -> Floats:
    worst: Floats = values.min(axis=0)
    if reference is None:
        return worst
    if set(reference) != set(tradeoff.names):
        raise SearchError(
            "reference",
            expected=f"a value for each of {', '.join(tradeoff.names)}",
            got=", ".join(reference),
            advice="Name the axes of the front.",
        )
    point = np.array([reference[name] for name in tradeoff.names])
    start: Floats = tradeoff.signs * point
    return start


def _knee_intervals(tradeoff: Tradeoff, knees: Places) -> dict[str, Interval]:
    rows = [tradeoff.space.coordinates(index) for index in tradeoff.settings]
    coordinates = np.array(rows)  # (s, hyperparameters)
    found = {}
    for column, hyperparameter in enumerate(tradeoff.space.hyperparameters):
        if not hyperparameter.is_ordered:
            continue
        at_knees = coordinates[knees, column]
        known = at_knees[np.isfinite(at_knees)]
        found[hyperparameter.name] = interval(known) if len(known) else NOTHING
    return found


def front_of_scope(
    measurements: Measurements,
    scope: Scope,
    axes: Sequence[str],
    seed: int = 0,
    reference: Mapping[str, float] | None = None,
) -> Front | None:
    """Return the front of a scope; None where no pair was measured on all axes.

    Parameters
    ----------
    measurements
        What was measured.
    scope
        Whose.
    axes
        Names of metrics, as `dice`, or of one label, as `dice:thalamus`.
    seed
        Of the bootstrap samples.
    reference
        As for `find_front`.

    Raises
    ------
    LedgerError
        If a metric or a label was not measured.
    """
    tradeoff = find_tradeoff(measurements, scope, [parse_axis(axis) for axis in axes])
    if tradeoff is None:
        return None
    moving = measurements.pairs["moving_subject"].to_numpy(dtype=object)[tradeoff.pairs]
    fixed = measurements.pairs["fixed_subject"].to_numpy(dtype=object)[tradeoff.pairs]
    samples = draw(moving, fixed, DRAWS, seed, subject_of(scope))
    return find_front(tradeoff, samples, reference)


def pareto_front(
    folder: Path | str | StudyFolder,
    metrics: Sequence[str] = (),
    *,
    scope: str | Criteria = "cohort",
    reference: Mapping[str, float] | None = None,
    **criteria: str,
) -> Front:
    """Return the Pareto front of several metrics of a scope, from what a search measured.

    Nothing is registered, and neither model nor torch is needed.

    Parameters
    ----------
    folder
        A study folder that was searched, or its committed results.
    metrics
        Two or more that were measured, as `["dice", "folding"]`; of one structure as
        `dice:thalamus`, so that structures can stand against each other. None: the optimized metric
        against folding.
    scope
        What the pairs have, as text or as a mapping: `"label=thalamus, task=within"`, or `"cohort"`.
    reference
        By metric, as it is named: where the hypervolume begins; None: at the worst mean of the
        measured settings.
    **criteria
        The scope as keywords, as `task="within"`.

    Returns
    -------
    Front
        Its members, how sure they are, its hypervolume and its knee.

    Raises
    ------
    LedgerError
        If nothing was searched, or a metric was not measured.
    SearchError
        If there is no such scope, no pair has all that is asked for, or fewer than two metrics are
        named.

    Examples
    --------
    >>> front = pareto_front("studies/synthetic/demo", ["dice", "folding"])
    >>> front.tradeoff.directions
    ['maximize', 'minimize']
    """
    files = StudyFolder.of(folder)
    search = files.searched.search
    axes = list(metrics) or default_axes(search.metric)
    if len(set(axes)) < 2 or len(set(axes)) < len(axes):
        raise SearchError(
            "metrics",
            expected="two or more different ones",
            got=", ".join(axes),
            advice="Choose another one.",
        )
    measurements = files.measurements()
    asked = joined_criteria(scope, criteria)
    found = find_scope(asked, measurements.pairs, measurements.labels, search.min_paired_subjects)
    front = front_of_scope(measurements, found, axes, search.seed, reference)
    if front is None:
        raise SearchError(
            "scope",
            expected=f"a pair with {' and '.join(axes)}",
            got=found.name,
            advice="Choose another scope or label; the pairs lack this label.",
        )
    return front
