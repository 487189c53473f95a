"""What is lost where a setting is chosen by a metric that needs no labels, in place of one that does.

Where labels are at hand, a choice by such a metric can be judged: settings are chosen by it and by Dice on the same
subjects, and both are scored by Dice on the others. What it loses there is its regret.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hmopt.analysis.cross_validation import CrossValidation, by_kinds, places_in
from hmopt.analysis.evidence import Evidence, holm, of_mean
from hmopt.analysis.held_out import Chosen, choose, sums_between
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.optimum import ModelAnalysis, margin_of
from hmopt.catalogue import METRICS, find_metric
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curve
from hmopt.search.scopes import Scope
from hmopt.space import Setting


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """A metric without labels as a stand-in for one with labels, for one scope.

    Parameters
    ----------
    scope
        Whom or what settings are chosen for.
    metric
        Name of the metric without labels.
    setting
        Its best one, on all subjects.
    regret
        How much worse held-out scores are at the setting that the metric chose than at the one that scores themselves
        chose, on the same other subjects. Its error has the variance over choices: a metric may choose the same
        setting on any subjects, which is then as good as given.
    regret_at_default
        The same at the default setting, which needs no choice.
    p_adjusted
        Two-sided p-value of the regret after Holm's correction for the scopes of the family.
    evidence
        NEGLIGIBLE: the metric would do. FOUND: it loses, or gains. Otherwise it is not known.
    """

    scope: Scope
    metric: str
    setting: Setting
    regret: Mean
    regret_at_default: Mean
    p_adjusted: float = math.nan
    evidence: Evidence = Evidence.NONE


@dataclass(frozen=True, kw_only=True)
class StandIns:
    """All stand-ins for a metric.

    Parameters
    ----------
    metric
        Name of the metric that needs labels, or landmarks.
    found
        By name of a stand-in, in the order of their declaration: one entry for each scope.
    constant
        Metrics that are the same at every setting, as folding where nothing folds: they cannot choose one.
    """

    metric: str
    found: Mapping[str, tuple[StandIn, ...]]
    constant: tuple[str, ...] = ()


def find_stand_ins(
    measurements: Measurements, scopes: Sequence[Scope], options: SearchOptions
) -> StandIns | None:
    """Compute the regret of each measured metric that needs no labels.

    It is in the searched metric, or where that one needs no labels itself, in the first reported one that does.

    Parameters
    ----------
    measurements
        Of the model.
    scopes
        Whom or what settings are chosen for. Scopes of a single subject are left out.
    options
        Metrics, margin, splits of the subjects and seed.

    Returns
    -------
    StandIns or None
        None where no metric of either kind was measured, or no pair could be held out.
    """
    measured = [name for name in options.measured if name in measurements.values]
    metrics = [name for name in measured if METRICS[name].is_without_labels]
    others = [name for name in measured if name not in metrics and _is_of_truth(name)]
    if not metrics or not others:
        return None
    changed: dict[str, object] = {"metric": others[0]}
    if others[0] != options.metric:
        changed["margin"] = None  # the declared one is of another metric
    by_truth = options.model_copy(update=changed)
    analysis = ModelAnalysis(measurements, by_truth)
    validation = CrossValidation(analysis, by_truth)
    curves = {}
    for scope in scopes:
        curve = analysis.curves.of(scope)
        is_of_subject = any(kind == "subject" for kind, _ in scope.criteria)
        if curve is not None and not is_of_subject:
            curves[scope] = curve
    found = {}
    constant = []
    for name in metrics:
        if not _varies(measurements, name):
            constant.append(name)
            continue
        by_metric = ModelAnalysis(measurements, options.model_copy(update={"metric": name}))
        stand_ins: list[StandIn] = []
        for members in by_kinds(curves.values()).values():
            stand_ins += _of_family(members, by_metric, validation, by_truth)
        if stand_ins:
            found[name] = tuple(stand_ins)
    return StandIns(metric=others[0], found=found, constant=tuple(constant)) if found else None


def _varies(measurements: Measurements, name: str) -> bool:
    """Tell whether a metric of any pair differs between settings."""
    values = measurements.values[name]
    differs = (values != values[:1]) & np.isfinite(values) & np.isfinite(values[:1])
    return bool(differs.any())


def _is_of_truth(name: str) -> bool:
    """Tell whether a metric is of labels or landmarks."""
    metric = find_metric(name)
    return metric.per_label or metric.is_of_landmarks


def _of_family(
    curves: Sequence[Curve],
    by_metric: ModelAnalysis,
    validation: CrossValidation,
    options: SearchOptions,
) -> list[StandIn]:
    """Return a metric's entries for the scopes of one family."""
    entries = []
    for curve, own in zip(curves, validation.places(curves), strict=True):
        of_metric = by_metric.curves.of(curve.scope)
        if of_metric is None:
            continue
        sides = by_metric.sides(of_metric)
        sums = sums_between(of_metric, validation.splits, *sides)
        chosen = choose(sums, validation.splits.selection)
        places = places_in(curve, of_metric.settings, chosen)
        space = curve.space
        default = curve.place(space.index(space.default))
        # what scores chose, over the choice of the metric and over the default, which stand in place
        # of the default of a search; splits count in which both could choose
        over_metric = Chosen(own=own, common=places, default=places)
        over_default = Chosen(own=own, common=places, default=np.full_like(places, default))
        stood_in = validation.held_out(curve, over_metric)
        at_default = validation.held_out(curve, over_default)
        if stood_in is None or at_default is None:
            continue
        entry = StandIn(
            scope=curve.scope,
            metric=of_metric.metric.name,
            setting=space.setting(of_metric.settings[of_metric.best()]),
            regret=stood_in.over_default,
            regret_at_default=at_default.over_default,
        )
        entries.append(entry)
    margin = margin_of(find_metric(options.metric), options.margin)
    p_values = holm([entry.regret.p_value for entry in entries]).tolist()
    return [
        replace(entry, p_adjusted=p_value, evidence=of_mean(entry.regret, p_value, margin))
        for entry, p_value in zip(entries, p_values, strict=True)
    ]
