"""The numbers of a study that other texts cite: `summary.json`, and `times.json`."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from hmopt.analysis.baselines import BaselineComparison, Budget
from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.gain import Gain
from hmopt.analysis.optimum import Optimum
from hmopt.analysis.resampling import Estimate
from hmopt.analysis.scope_result import ScopeResult
from hmopt.catalogue.metrics import FOLDING
from hmopt.report.headline import advise
from hmopt.report.material import Material, held_out_score
from hmopt.report.part import Section
from hmopt.report.words import scope_title
from hmopt.space import Value

Numbers = dict[str, Any]
"""Ready for JSON but for NaN."""


def summary(material: Material, sections: Iterable[Section] = ()) -> Numbers:
    """Return every number that a study's README may cite, ready for JSON.

    With the searched metric's name (as `dice`): `dice_unregistered`, `dice_at_optimum`, `dice_held_out` with its
    interval; `regularization` with its interval; the same for each scope under `scopes`, by family. The numbers of each
    section follow.
    """
    searched = material.searched
    numbers: Numbers = {}
    numbers["name"] = searched.name
    numbers["metric"] = searched.search.metric
    numbers["limits"] = searched.search.all_limits
    numbers |= _scope_numbers(material, material.cohort)
    numbers["loss_scale"] = searched.loss_scale
    numbers["scopes"] = _by_family(material)
    numbers |= _joined(sections)
    for name, value in _refined_for_the_gap(numbers).items():
        numbers.setdefault(name, value)
    cleaned: Numbers = _without_nan(numbers)
    return cleaned


def times(material: Material) -> Numbers:
    """Return how long a study took: `training_minutes`, `commands` with their minutes, and their `hours`."""
    commands = material.commands
    minutes = [command.minutes for command in commands]
    return {
        "training_minutes": material.training_minutes,
        "commands": [asdict(command) for command in commands],
        "hours": sum(minutes) / 60 if commands else None,
    }


def _by_family(material: Material) -> Numbers:
    found: Numbers = {}
    for kinds, findings in by_kinds(material.findings).items():
        if "subject" in kinds:
            continue
        found[" × ".join(kinds)] = {
            scope_title(finding.scope): _scope_numbers(material, finding) for finding in findings
        }
    return found


def _refined_for_the_gap(numbers: Numbers) -> Numbers:
    """Return the numbers of refined registrations that the gap was measured with.

    They stand for the study where no study of its model refined is beside it.
    """
    gap = numbers.get("amortization_gap", {})
    metric = numbers["metric"]
    return {
        name: value
        for name, value in gap.items()
        if name.startswith((f"{metric}_held_out_refined", "seconds_per_pair_refined"))
    }


def _joined(sections: Iterable[Section]) -> Numbers:
    """Return the numbers of all sections; tables that several of them fill, as `equal_steps`, are merged."""
    joined: Numbers = {}
    for section in sections:
        for name, value in section.numbers.items():
            known = joined.get(name)
            if isinstance(known, dict) and isinstance(value, dict):
                value = {**known, **value}
            joined[name] = value
    return joined


def _scope_numbers(material: Material, finding: ScopeResult) -> Numbers:
    metric = material.searched.search.metric
    optimum = finding.full.optimum
    numbers: Numbers = {}
    for name in finding.full.response.space.names:
        numbers |= _setting_numbers(finding, name)
    numbers[f"{metric}_unregistered"] = finding.score_unregistered
    numbers[f"{metric}_at_optimum"] = optimum.score.value
    numbers[f"{metric}_at_default"] = finding.score_at_default
    numbers[f"{metric}_unregularized"] = finding.score_unregularized
    numbers |= _held_out_numbers(finding, metric)
    for name, reported in finding.reported.items():
        if name != FOLDING:
            numbers[f"{name}_at_optimum"] = reported.at_optimum
    numbers["use"] = advise(material, finding).text
    numbers[FOLDING] = optimum.folding
    numbers[f"{metric}_constrained"] = optimum.score_constrained
    for name, value in optimum.limited.items():
        if name not in (metric, FOLDING):
            numbers[f"{name}_at_optimum"] = value
        if name != metric:
            numbers[f"{name}_constrained"] = optimum.limited_constrained.get(name)
    numbers["pairs"] = len(finding.full.response.pairs)
    numbers["subjects"] = finding.subjects
    numbers["trials"] = len(finding.full.response.settings)
    numbers["flags"] = [flag.value for flag in finding.warnings]
    return numbers


def _setting_numbers(finding: ScopeResult, name: str) -> Numbers:
    """Return the best values of one hyperparameter."""
    optimum = finding.full.optimum
    nearest = _nearest(finding)
    half = None if finding.half is None else finding.half.optimum
    constrained = optimum.constrained
    return {
        name: optimum.setting.get(name),
        f"{name}_interval": _interval(optimum, name),
        f"{name}_equivalent": list(optimum.equal_choices.get(name, optimum.equals[name])),
        f"{name}_recommended": finding.recommended.get(name),
        f"{name}_nearest": nearest and nearest.setting.get(name),
        f"{name}_nearest_interval": nearest and _interval(nearest, name),
        f"{name}_constrained": constrained and constrained.get(name),
        f"{name}_half": half and half.setting.get(name),
    }


def _interval(optimum: Optimum, name: str) -> list[Value]:
    """Return both ends of the interval of a best value; of a categorical one the choices that may be best."""
    return list(optimum.choices.get(name, optimum.intervals[name]))


def _nearest(finding: ScopeResult) -> Optimum | None:
    reported = finding.reported.get("dice_nearest")
    return None if reported is None else reported.optimum


def _held_out_numbers(finding: ScopeResult, metric: str) -> Numbers:
    score = held_out_score(finding)
    interval = score and [score.low, score.high]
    pooled = finding.held_out
    unpooled = finding.held_out_unpooled
    return {
        f"{metric}_held_out": score and score.value,
        f"{metric}_held_out_interval": interval,
        "gain_over_common": pooled and list(pooled.over_common.estimate),
        "gain_over_default": pooled and list(pooled.over_default.estimate),
        "gain_over_common_unpooled": unpooled and list(unpooled.over_common.estimate),
        "gain_over_default_unpooled": unpooled and list(unpooled.over_default.estimate),
    }


def gain_numbers(gain: Gain) -> Numbers:
    """Return the numbers of a gain."""
    return {
        "over": gain.over,
        "gain": gain.gain.value,
        "interval": [gain.gain.low, gain.gain.high],
        "gain_unpooled": gain.unpooled.value,
        "interval_unpooled": [*gain.unpooled.interval],
        "p_value": gain.p_value,
        "p_adjusted": gain.p_adjusted,
        "subjects": gain.subjects,
        "choosing": gain.choosing,
        "evidence": gain.evidence.value,
    }


def named(name: str, estimate: Estimate) -> Numbers:
    """Return a value and its interval under a name."""
    return {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}


def at_both(compared: BaselineComparison, numbers: Callable[[Budget], Numbers]) -> Numbers:
    """Return numbers of the hypermorphs that trained longest; under `equal_steps`, of those with equal steps."""
    found = numbers(compared.main)
    if compared.equal is None:
        return found
    return {**found, "equal_steps": numbers(compared.equal)}


def _without_nan(value: Any) -> Any:
    """Return the same with null for numbers that are not known, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
