"""All that measurements say about each scope, and the table of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmopt.analysis.cross_validation import SEPARATOR, CrossValidation, choose_for_all, kinds_of
from hmopt.analysis.held_out import HeldOut
from hmopt.analysis.optimum import (
    CurveAnalysis,
    ModelAnalysis,
    Optimum,
    find_optimum,
    subject_of,
    within_range,
)
from hmopt.analysis.resampling import UNKNOWN
from hmopt.analysis.warnings import FEW, OptimumWarning, find_warnings, response_warnings
from hmopt.catalogue import find_metric
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.progress import Track, silent
from hmopt.search.curve import gain
from hmopt.search.scopes import Scope
from hmopt.space import Setting, Value, as_number, choice_text

SEPARATE_CHOICES = "; "


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What another metric than the optimized one says about a scope.

    Parameters
    ----------
    at_optimum
        Its mean at the best setting by the optimized metric; NaN where it was not measured there.
    optimum
        Its own best setting, for a metric of labels; None for one of whole pairs, such as folding,
        whose best value is reached where nothing is registered.
    """

    at_optimum: float
    optimum: Optimum | None


@dataclass(frozen=True, kw_only=True)
class ScopeResult:
    """What is known about one scope.

    Parameters
    ----------
    scope
        Whom or what the setting is chosen for.
    full, half
        At full and at half training; None where half training was not measured.
    recommended
        The setting to use for the scope: the best one of its pooled curve.
    held_out
        Held-out scores of the recommended setting; None where there are too few subjects.
    held_out_unpooled
        The same of the best setting of the scope's own curve alone.
    common
        The best single setting for all pairs and labels; None where none was measured for all.
    reported
        What the other measured metrics say, by name.
    score_unregistered
        The scope's score before registration, over the same pairs; NaN where not measured.
    score_at_recommended, score_at_common, score_at_default, score_unregularized
        The scope's score at the recommended setting, at the best single setting for all, at the
        default, and with `regularization` at its lowest and the rest at the default; NaN where not
        measured.
    subjects
        Number of subjects of its pairs.
    warnings
        Reasons to doubt the optimum.
    """

    scope: Scope
    full: CurveAnalysis
    half: CurveAnalysis | None
    recommended: Setting
    held_out: HeldOut | None
    held_out_unpooled: HeldOut | None
    common: Setting | None
    reported: Mapping[str, Reported]
    score_unregistered: float
    score_at_recommended: float
    score_at_common: float
    score_at_default: float
    score_unregularized: float
    subjects: int
    warnings: tuple[OptimumWarning, ...]


def analyse_scopes(
    measurements: Measurements,
    half: Measurements | None,
    scopes: Sequence[Scope],
    options: SearchOptions,
    track: Track = silent,
    before: Measurements | None = None,
) -> list[ScopeResult]:
    """Return what is known about each scope that anything was measured for.

    Parameters
    ----------
    measurements, half
        Of the model at full and at half training.
    scopes
        Whom or what settings are chosen for. The curves of those of the same kinds are pooled.
    options
        Metric, limits, margin, splits of the subjects and seed.
    track
        Progress of the scopes.
    before
        Of the same pairs before registration.
    """
    analysis = ModelAnalysis(measurements, options)
    halfway = None if half is None else ModelAnalysis(half, options)
    of_other_metrics = {}
    for name in options.reported:
        if name in measurements.values and name != options.metric:
            by_metric = options.model_copy(update={"metric": name})
            of_other_metrics[name] = ModelAnalysis(measurements, by_metric)

    validation = CrossValidation(analysis, options)
    analysed = {}
    for scope in scopes:
        full = analysis.of(scope)
        if full is not None:
            analysed[scope] = full
    responses = {scope: full.response for scope, full in analysed.items()}
    choices = choose_for_all(validation, responses)

    results = []
    for scope, full in track(analysed.items(), "analysing", len(analysed)):
        response = full.response
        space = response.space
        choice = choices[scope]
        at_half = halfway.of(scope) if halfway else None
        unregistered = _score_before(before, full)
        pairs = response.pairs
        subjects = len({*analysis.moving[pairs], *analysis.fixed[pairs]})
        warnings = (
            *response_warnings(response),
            *find_warnings(space, full.optimum, at_half.optimum if at_half else None),
            *_no_better(full, unregistered),
            *_few(scope, subjects),
        )
        recommended = space.setting(choice.recommended)
        common = None if validation.common is None else space.setting(validation.common)
        reported = {
            name: _reported(other, full, options.all_limits)
            for name, other in of_other_metrics.items()
        }
        result = ScopeResult(
            scope=scope,
            full=full,
            half=at_half,
            recommended=recommended,
            held_out=choice.held_out,
            held_out_unpooled=choice.held_out_unpooled,
            common=common,
            reported=reported,
            score_unregistered=unregistered,
            score_at_recommended=_score_at(full, recommended),
            score_at_common=_score_at(full, common),
            score_at_default=_score_at(full, space.default),
            score_unregularized=_score_at(full, space.unregularized),
            subjects=subjects,
            warnings=warnings,
        )
        results.append(result)
    return results


def _score_at(full: CurveAnalysis, setting: Setting | None) -> float:
    """Return a scope's mean score at a setting; NaN where it was not measured there."""
    if setting is None:
        return np.nan
    response = full.response
    index = response.space.index(setting)
    place = response.place(index)
    if place < 0:
        return np.nan
    return float(response.means[place])


def _reported(other: ModelAnalysis, full: CurveAnalysis, limits: Mapping[str, float]) -> Reported:
    """Return what another metric says about a scope."""
    scope = full.response.scope
    response = other.curves.of(scope)
    if response is None:
        return Reported(at_optimum=np.nan, optimum=None)
    at_optimum = np.nan
    place = response.place(full.optimum.index)
    if place >= 0:
        at_optimum = float(response.means[place])
    optimum = None
    metric = find_metric(response.metric.name)
    if metric.per_label:
        samples = other.samples(scope, response)
        optimum = find_optimum(response, samples, limits)
    return Reported(at_optimum=at_optimum, optimum=optimum)


def _score_before(before: Measurements | None, full: CurveAnalysis) -> float:
    """Return a scope's mean score before registration."""
    if before is None:
        return np.nan
    response = full.response
    metric = response.metric.name
    scores = before.score(metric, response.scope.label)
    of_scope = scores[0, response.pairs]
    return float(of_scope.mean())


def _no_better(full: CurveAnalysis, unregistered: float) -> tuple[OptimumWarning, ...]:
    """Return the warning where registration at the best setting does not improve the score."""
    metric = full.response.metric
    best = np.array([full.optimum.score.value])
    before = np.array([unregistered])
    improvement = gain(metric, best, before)[0]
    if np.isnan(unregistered) or improvement > 0:
        return ()
    return (OptimumWarning.NO_BETTER,)


def _few(scope: Scope, subjects: int) -> tuple[OptimumWarning, ...]:
    """Return the warning of few subjects, or of few partners of the scope's subject."""
    if subject_of(scope) is None:
        few = subjects < FEW
        warning = OptimumWarning.FEW_SUBJECTS
    else:
        few = subjects - 1 < FEW
        warning = OptimumWarning.FEW_PARTNERS
    return (warning,) if few else ()


def optima_table(results: Sequence[ScopeResult], loss_scale: float | None = None) -> pd.DataFrame:
    """Return the table of optima: one row for each scope.

    Parameters
    ----------
    results
        What is known about each scope.
    loss_scale
        Factor of the similarity in the loss.

    Returns
    -------
    table
        First `scope` (its kinds), `value` (theirs) and `label`; then for each hyperparameter, as
        `regularization`, the best value (empty where it is inactive), `_low` and `_high` (95 %
        interval), `_equal_low` and `_equal_high` (equivalent to the best), or of a categorical
        hyperparameter `_among` and `_equal` (choices separated by semicolons), `_recommended` (of
        the pooled curve), `_constrained` (under the limits), `_half` (at half training) and
        `_by_METRIC` (the best one by another metric of labels); then scores, held-out gains and
        counts. `loss_ratio` is λ / (1 - λ), NaN without λ; `flags` are separated by semicolons.
    """
    rows = [_row(result, loss_scale) for result in results]
    return pd.DataFrame(rows)


def _loss_ratio(setting: Setting) -> float:
    """Return λ / (1 - λ): infinite at λ = 1, NaN of an engine without regularization."""
    regularization = as_number(setting.get("regularization"))
    if regularization == 1:
        return math.inf
    return regularization / (1 - regularization)


def _row(result: ScopeResult, loss_scale: float | None) -> dict[str, object]:
    response = result.full.response
    optimum = result.full.optimum
    row: dict[str, object] = {
        "scope": SEPARATOR.join(kinds_of(result)) or "cohort",
        "value": SEPARATOR.join(value for _, value in result.scope.criteria),
        "label": result.scope.label or "",
        "metric": response.metric.name,
    }
    for name in response.space.names:
        row |= _columns(name, result)
    row["loss_ratio"] = _loss_ratio(optimum.setting)
    row["loss_scale"] = np.nan if loss_scale is None else loss_scale
    row |= optimum.score.columns("score")
    row |= _held_out(result)
    row["score_at_recommended"] = result.score_at_recommended
    row["score_at_common"] = result.score_at_common
    row["score_at_default"] = result.score_at_default
    row["score_unregularized"] = result.score_unregularized
    row["score_constrained"] = optimum.score_constrained
    row["score_half"] = result.half.optimum.score.value if result.half else np.nan
    row["folding"] = optimum.folding
    for metric in optimum.limited:
        if metric not in ("folding", response.metric.name):
            row[f"{metric}_at_optimum"] = optimum.limited[metric]
            row[f"{metric}_constrained"] = optimum.limited_constrained.get(metric, np.nan)
    for metric, reported in result.reported.items():
        if metric != "folding":
            row[f"{metric}_at_optimum"] = reported.at_optimum
    row["pairs"] = len(response.pairs)
    row["subjects"] = result.subjects
    row["trials"] = len(response.settings)
    row["flags"] = "; ".join(warning.value for warning in result.warnings)
    return row


def _columns(name: str, result: ScopeResult) -> dict[str, Value]:
    """Return the columns of one hyperparameter."""
    optimum = result.full.optimum
    half = None if result.half is None else result.half.optimum.setting
    columns = {name: _cell(optimum.setting, name)}
    if name in optimum.choices:
        columns[f"{name}_among"] = _listed(optimum.choices[name])
        columns[f"{name}_equal"] = _listed(optimum.equal_choices[name])
    else:
        columns[f"{name}_low"] = optimum.intervals[name].low
        columns[f"{name}_high"] = optimum.intervals[name].high
        columns[f"{name}_equal_low"] = optimum.equals[name].low
        columns[f"{name}_equal_high"] = optimum.equals[name].high
    columns[f"{name}_recommended"] = _cell(result.recommended, name)
    columns[f"{name}_constrained"] = _cell(optimum.constrained, name)
    columns[f"{name}_half"] = _cell(half, name)
    for metric, reported in result.reported.items():
        if reported.optimum is not None:
            columns[f"{name}_by_{metric}"] = _cell(reported.optimum.setting, name)
    return columns


def _cell(setting: Setting | None, name: str) -> Value:
    """Return a value of a setting; NaN, which is an empty cell, where there is none."""
    if setting is None:
        return math.nan
    return setting.get(name, math.nan)


def _listed(choices: Sequence[Value]) -> str:
    return SEPARATE_CHOICES.join(choice_text(choice) for choice in choices)


def _held_out(result: ScopeResult) -> dict[str, float]:
    """Return the columns of held-out scores and gains."""
    score = over_common = over_default = UNKNOWN
    if result.held_out is not None:
        score = within_range(result.full.response.metric, result.held_out.score.estimate)
        over_common = result.held_out.over_common.estimate
        over_default = result.held_out.over_default.estimate
    unpooled = result.held_out_unpooled
    return {
        **score.columns("score_held_out"),
        **over_common.columns("gain_over_common"),
        **over_default.columns("gain_over_default"),
        "gain_over_common_unpooled": unpooled.over_common.value if unpooled else np.nan,
        "gain_over_default_unpooled": unpooled.over_default.value if unpooled else np.nan,
    }
