"""The loss of a network that is trained at the hypermorph's best setting, and of one trained at the default."""

from typing import Any

import pandas as pd

from hmopt.analysis.agreement import Regret
from hmopt.analysis.baselines import BaselineComparison, Budget, negligible_gap
from hmopt.analysis.evidence import Evidence
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.summary import at_both, named
from hmopt.report.words import (
    best_name,
    estimate_value,
    gain_text,
    interval_text,
    metric_name,
    number,
    scope_title,
    setting_text,
)
from hmopt.search.scopes import WHOLE_COHORT
from hmopt.space import Setting, Space

HALF = 0.5
"""Most that retraining may lose, as a share of the loss at the default."""


class RegretPart(ReportPart):
    """Retraining regret: scores lost against the best of the separately trained networks."""

    anchor = "regret"
    place = Place.CHECKS
    needs = ("compared",)

    def section(self, material: Material) -> Section | None:
        """Return the regret of every scope; None where no subject could be held out."""
        compared = material.compared
        assert compared is not None
        if WHOLE_COHORT not in compared.main.regrets:
            return None
        space = material.searched.space
        metric = material.searched.search.metric
        regrets = compared.main.regrets
        best = f"{best_name(space)} of the hypermorph"
        default = setting_text(compared.default)
        return Section(
            title=f"How much {metric_name(metric)} is lost by retraining at {best_name(space)}?",
            found=found(
                regrets[WHOLE_COHORT],
                space,
                compared.default,
                metric,
                material.searched.search.margin,
            ),
            table=pd.DataFrame([_row(regret, best, default) for regret in regrets.values()]),
            notes=tuple(_notes(compared, best)),
            numbers=at_both(compared, _numbers),
        )


def _notes(compared: BaselineComparison, best: str) -> list[str]:
    settings = len(compared.main.agreements[WHOLE_COHORT].settings)
    notes = [
        "All scores are of separate networks, each trained at one setting, on subjects that were not used to "
        f"choose the setting. The loss is the difference to the best of the {settings} trained settings, chosen on "
        "the same subjects. A negative loss is a gain. Conclusions for structures are not corrected for their number.",
        _starts(compared.main.regrets[WHOLE_COHORT]),
    ]
    equal = compared.equal
    if equal is not None and equal is not compared.main and WHOLE_COHORT in equal.regrets:
        lost = gain_text(equal.regrets[WHOLE_COHORT].retraining.estimate)
        notes.append(
            f"At the {best} that was trained no longer than one separate network, retraining loses {lost}."
        )
    return notes


def _starts(regret: Regret) -> str:
    """Return whether intervals count the networks' random starts."""
    if regret.initializations > 1:
        return (
            f"Intervals include the variation over subjects (jackknife) and over the {regret.initializations} "
            "random starts of the networks."
        )
    return "Each setting has one network only, so intervals do not include the variation between random starts."


def found(
    regret: Regret, space: Space, default: Setting, metric: str, margin: float | None = None
) -> str:
    """Return one sentence: the loss at the hypermorph's best setting and at the default, and whether they differ."""
    limit = negligible_gap(metric, margin)
    lost = regret.retraining.estimate
    by_default = regret.default.estimate
    at_best = f"{estimate_value(lost)} {metric_name(metric)} ({interval_text(lost)})"
    at_default = f"{estimate_value(by_default)} ({interval_text(by_default)})"
    losses = (
        f"retraining at {best_name(space)} of the hypermorph loses {at_best}, retraining at the default "
        f"({setting_text(default)}) loses {at_default}"
    )
    if regret.evidence is Evidence.TOO_FEW:
        return f"There are too few subjects or random starts for a verdict: {losses}."
    if regret.evidence is Evidence.NEGLIGIBLE:
        return f"With confidence, both losses are negligible: {losses}."
    verdict = ""
    if regret.evidence is Evidence.NONE:
        verdict = "; there is no evidence of a difference"
    elif regret.default_more.value <= 0:
        verdict = "; the default is the better choice"
    return f"{losses[0].upper()}{losses[1:]}{verdict}{_missed(regret, limit)}."


def _missed(regret: Regret, limit: float) -> str:
    """Return which requirements on the loss are not met."""
    lost = regret.retraining.value
    upper = regret.retraining.within(0.95).high
    missed = ""
    if upper > limit:
        bound = f"{number(upper)} (95 % bound)"
        missed += f"; the former may be as large as {bound}, which exceeds the margin of {limit:g}"
    if regret.default_more.value > 0 and lost > HALF * regret.default.value:
        missed += "; the former is more than half of the latter"
    return missed


def _row(regret: Regret, best: str, default: str) -> dict[str, str]:
    return {
        "": scope_title(regret.scope),
        f"loss at {best} (95 % interval)": gain_text(regret.retraining.estimate),
        f"loss at the default, {default}": gain_text(regret.default.estimate),
        "difference (default − retraining)": gain_text(regret.default_more.estimate),
        "conclusion": _conclusion(regret),
    }


def _conclusion(regret: Regret) -> str:
    if regret.evidence is not Evidence.FOUND:
        return str(regret.evidence.value)
    more = "more" if regret.default_more.value > 0 else "less"
    return f"default loses {more}"


def _numbers(budget: Budget) -> dict[str, Any]:
    if WHOLE_COHORT not in budget.regrets:
        return {}
    regret = budget.regrets[WHOLE_COHORT]
    by_label = {
        scope.label: _label_numbers(one) for scope, one in budget.regrets.items() if scope.label
    }
    return {
        **named("retraining_regret", regret.retraining.estimate),
        **named("default_regret", regret.default.estimate),
        **named("default_regret_more", regret.default_more.estimate),
        "regret_evidence": regret.evidence.value,
        "regret_by_label": by_label,
    }


def _label_numbers(regret: Regret) -> dict[str, Any]:
    return {
        "retraining": list(regret.retraining.estimate),
        "default": list(regret.default.estimate),
        "says": regret.evidence.value,
    }
