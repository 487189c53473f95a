"""The numbers of a study that other texts cite."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.scope_result import ScopeResult
from hmopt.report.advice import advise
from hmopt.report.material import Material
from hmopt.report.page import held_out_score
from hmopt.report.section import Section
from hmopt.report.words import scope_title


def summary(material: Material, sections: Sequence[Section] = ()) -> dict[str, Any]:
    """Give every number that a study's README may cite, ready for JSON.

    For the search's own metric (as Dice): `dice_unregistered`, `dice_at_optimum`, `dice_held_out` with its interval,
    `regularization` with its interval, and so for each scope under `scopes`, by family;
    `commands` with the minutes that each took, and their `hours`. What each section has to
    add follows.
    """
    cohort, metric = material.cohort, material.searched.search.metric
    numbers = {
        "name": material.searched.name,
        "metric": metric,
        **_scope(material, cohort),
        "training_minutes": material.training_minutes,
        "commands": [asdict(command) for command in material.commands],
        "hours": sum(command.minutes for command in material.commands) / 60
        if material.commands
        else None,
        "loss_scale": material.searched.loss_scale,
        "scopes": {
            " × ".join(kinds): {
                scope_title(finding.scope): _scope(material, finding) for finding in findings
            }
            for kinds, findings in by_kinds(material.findings).items()
            if "subject" not in kinds
        },
        **_joined(sections),
    }
    cleaned: dict[str, Any] = _without_nan(numbers)
    return cleaned


def _joined(sections: Sequence[Section]) -> dict[str, Any]:
    """Numbers of all sections; tables that several of them add to, as `equal_steps`, hold what each adds."""
    joined: dict[str, Any] = {}
    for section in sections:
        for name, value in section.numbers.items():
            known = joined.get(name)
            joined[name] = (
                {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
            )
    return joined


def _scope(material: Material, finding: ScopeResult) -> dict[str, Any]:
    optimum, held, metric = finding.full.optimum, finding.held_out, material.searched.search.metric
    score, unpooled = held_out_score(finding), finding.held_out_unpooled
    nearest = (
        finding.reported["dice_nearest"].optimum if "dice_nearest" in finding.reported else None
    )
    chosen = {
        key: value
        for name, best in optimum.setting.items()
        for key, value in (
            (name, best),
            (f"{name}_interval", list(optimum.intervals[name])),
            (f"{name}_equivalent", list(optimum.equals[name])),
            (f"{name}_recommended", finding.recommended[name]),
            (f"{name}_nearest", nearest and nearest.setting[name]),
            (f"{name}_nearest_interval", nearest and list(nearest.intervals[name])),
            (f"{name}_constrained", optimum.constrained and optimum.constrained[name]),
            (f"{name}_half", finding.half and finding.half.optimum.setting[name]),
        )
    }
    return {
        **chosen,
        f"{metric}_unregistered": finding.score_unregistered,
        f"{metric}_at_optimum": optimum.score.value,
        f"{metric}_at_default": finding.score_at_default,
        f"{metric}_unregularized": finding.score_unregularized,
        f"{metric}_held_out": score and score.value,
        f"{metric}_held_out_interval": score and [score.low, score.high],
        "gain_over_common": held and list(held.over_common.estimate),
        "gain_over_default": held and list(held.over_default.estimate),
        "gain_over_common_unpooled": unpooled and list(unpooled.over_common.estimate),
        "gain_over_default_unpooled": unpooled and list(unpooled.over_default.estimate),
        **{
            f"{name}_at_optimum": one.at_optimum
            for name, one in finding.reported.items()
            if name != "folding"
        },
        "use": advise(material, finding).text,
        "folding": optimum.folding,
        "pairs": len(finding.full.response.pairs),
        "subjects": finding.subjects,
        "trials": len(finding.full.response.settings),
        "flags": [flag.value for flag in finding.warnings],
    }


def _without_nan(value: Any) -> Any:
    """Give the same with null where a number is not known, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
