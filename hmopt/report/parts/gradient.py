"""Settings that were tuned by gradient, beside those of the sweep."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hmopt.analysis.gradient import AGREEMENT, GradientResult, TunedResult
from hmopt.catalogue import METRICS
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.words import (
    MISSING,
    metric_name,
    number,
    plural,
    scope_phrase,
    scope_title,
    sentence,
    setting_text,
    setting_value,
    signed,
    value_name,
)
from hmopt.space import Setting, Space


class GradientPart(ReportPart):
    """The best settings by automatic differentiation, and whether the sweep agrees."""

    anchor = "by-gradient"
    place = Place.CHECKS
    needs = ("gradient",)

    def section(self, material: Material) -> Section:
        """Return a row for each scope that was tuned."""
        gradient = material.gradient
        assert gradient is not None
        space = material.searched.space
        value = value_name(space).removeprefix("a ")
        found = " ".join(_found(gradient, space))
        rows = [_row(one, gradient, space) for one in gradient.results]
        return Section(
            title=sentence(f"{value} by gradient").removesuffix("."),
            found=found,
            table=pd.DataFrame(rows),
            notes=_notes(gradient, value),
            numbers={"by_gradient": _numbers(gradient, found)},
        )


def objective_name(gradient: GradientResult) -> str:
    """Return what a page calls the objective."""
    record = gradient.record
    return metric_name(record.objective) if record.objective in METRICS else record.title


def _found(gradient: GradientResult, space: Space) -> list[str]:
    first = gradient.results[0]
    pairs = plural(len(first.tuned.pairs), "pair")
    sentences = [
        f"Gradient-based tuning finds {setting_text(first.setting)} for {_whom(first)} ({objective_name(gradient)} "
        f"{number(first.score)} on {pairs})."
    ]
    if first.sweep is not None:
        sentences[0] = sentences[0].removesuffix(".")
        sentences[0] += (
            f"; the {_sweep(gradient)} of these pairs finds {setting_text(first.sweep)}."
        )
    sentences += _agreement(gradient)
    sentences += _several(gradient)
    sentences += _seconds(gradient)
    return sentences


def _whom(one: TunedResult) -> str:
    if one.tuned.criteria and one.tuned.criteria[0][0] == "pair":
        return f"the pair {one.tuned.criteria[0][1]}"
    return scope_phrase(one.scope)


def _sweep(gradient: GradientResult) -> str:
    return "dense sweep" if gradient.is_dense else "sweep"


def _agreement(gradient: GradientResult) -> list[str]:
    compared = gradient.compared
    if not compared:
        return ["The sweep did not measure this objective."]
    single = [one for one in compared if not one.has_several]
    agreeing = sum(one.agrees for one in compared)
    of_single = sum(one.agrees for one in single)
    losses = [one.loss for one in compared]
    return [
        f"{agreeing} of {plural(len(compared), 'scope')} agree with the sweep within {AGREEMENT:g} of the range; "
        f"among the {len(single)} with a single optimum, {of_single} agree. According to the interpolated sweep, "
        f"the tuned settings lose at most {number(max(losses))}."
    ]


def _several(gradient: GradientResult) -> list[str]:
    several = [one for one in gradient.results if one.has_several]
    if not several:
        return []
    rivals = sum(one.rivals > 0 for one in several)
    return [
        f"{len(several)} of {len(gradient.results)} scopes have several optima; for {rivals} of them, another "
        "optimum is equivalent within the margin. The start determines which optimum is found."
    ]


def _seconds(gradient: GradientResult) -> list[str]:
    subjects = gradient.of_kind("subject")
    shown: Sequence[TunedResult] = subjects or gradient.results
    what = "subject" if subjects else "scope"
    own = float(np.mean([one.tuned.seconds for one in shown]))
    sweep = float(np.mean([one.seconds_of_sweep for one in shown]))
    settings = shown[0].settings
    return [
        f"Gradient-based tuning takes {own:.2g} s per {what}; registering and measuring the same pairs at the "
        f"{settings} settings of the {_sweep(gradient)} takes {sweep:.2g} s."
    ]


def _row(one: TunedResult, gradient: GradientResult, space: Space) -> dict[str, str]:
    others = [f"{_short(other.setting)} ({number(other.score)})" for other in one.tuned.optima[1:]]
    return {
        "": scope_title(one.scope),
        f"{value_name(space).removeprefix('a ')} by gradient": _short(one.setting),
        objective_name(gradient): number(one.score),
        "other optima": ", ".join(others) or MISSING,
        f"{_sweep(gradient)}": MISSING if one.sweep is None else _short(one.sweep),
        "difference (share of the range)": number(one.difference),
        "loss according to the sweep": signed(one.loss),
        "pairs": str(len(one.tuned.pairs)),
        "evaluations": str(one.tuned.evaluations),
        "seconds": f"{one.tuned.seconds:.2g}",
        "seconds, sweep": f"{one.seconds_of_sweep:.2g}",
    }


def _short(setting: Setting) -> str:
    values = [setting_value(value) for value in setting.values()]
    return ", ".join(values)


def _notes(gradient: GradientResult, value: str) -> tuple[str, ...]:
    record = gradient.record
    return (
        "The objective is differentiated through the displacement, the registration network and the hypernetwork, "
        f"and optimized by L-BFGS-B from {plural(record.starts, 'start')} over the range. End points count as one "
        "optimum if the objective has no valley between them. One evaluation with its gradient costs about three "
        "registrations.",
        f"Both values of {value} are chosen and scored on the same pairs, so neither score is held out. The sweep "
        "is interpolated between measured settings.",
    )


def _numbers(gradient: GradientResult, found: str) -> dict[str, Any]:
    record = gradient.record
    return {
        "sentence": found,
        "objective": record.objective,
        "direction": record.direction,
        "starts": record.starts,
        "dense": gradient.is_dense,
        "scopes": [_scope_numbers(one) for one in gradient.results],
    }


def _scope_numbers(one: TunedResult) -> dict[str, Any]:
    return {
        "scope": one.scope.name,
        "setting": dict(one.setting),
        "score": one.score,
        "optima": [other.model_dump() for other in one.tuned.optima],
        "sweep": None if one.sweep is None else dict(one.sweep),
        "difference": one.difference,
        "loss": one.loss,
        "agrees": bool(one.agrees),
        "pairs": len(one.tuned.pairs),
        "evaluations": one.tuned.evaluations,
        "seconds": one.tuned.seconds,
        "seconds_of_sweep": one.seconds_of_sweep,
    }
