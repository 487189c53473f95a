"""What retraining at the hypermorph's best setting loses, beside the default setting."""

from typing import Any

import numpy as np
import pandas as pd

from hmopt.analysis.compared import COHORT, NEGLIGIBLE_GAP, Budget, Family
from hmopt.analysis.evidence import LEAST, Evidence
from hmopt.analysis.regret import Regret
from hmopt.metric import find_metric
from hmopt.report.budgets import at_both, interval_text, named, with_interval
from hmopt.report.material import Material
from hmopt.report.section import Section
from hmopt.report.words import metric_name, number, scope_title, setting_text, symbol, tolerance
from hmopt.space import Setting, Space

HALF = 0.5
"""What retraining may lose at most, of what the default loses."""


def regret_section(material: Material) -> Section | None:
    """Give the section; None where nothing was compared, or no subject could judge."""
    compared = material.compared
    if compared is None or COHORT not in compared.main.regrets:
        return None
    space, metric = material.searched.space, material.searched.search.metric
    budget, cohort = compared.main, compared.main.regrets[COHORT]
    best, default = f"{best_name(space)} of the hypermorph", setting_text(compared.default)
    notes = [
        "Everything is scored by networks trained for one setting each, on subjects that chose no setting: what they "
        f"lose to the best of the {len(budget.agreements[COHORT].settings)} settings that were trained, chosen by the "
        "same other subjects. Less than 0 is a gain.",
        _starts(compared.separate),
    ]
    equal = compared.equal
    if equal is not None and equal is not budget and COHORT in equal.regrets:
        lost = with_interval(equal.regrets[COHORT].retraining)
        notes.append(f"At the {best} that was trained no longer than one separate network, retraining loses {lost}.")
    return Section(
        anchor="regret",
        title=f"What does one lose by retraining at its {best_name(space)}?",
        found=found(cohort, space, compared.default, metric),
        table=pd.DataFrame([_row(regret, best, default) for regret in budget.regrets.values()]),
        notes=tuple(filter(None, notes)),
        numbers=at_both(compared, _numbers),
    )


def _starts(separate: Family) -> str:
    """Say what the intervals leave out, where it is known."""
    spread, starts = separate.at_optimum[COHORT].score_spread.value, separate.along[COHORT].models
    if not np.isfinite(spread):
        return ""
    return (
        f"Intervals come from drawing the subjects anew, and leave out the networks' random starts: from one to the "
        f"next a score changes by a standard deviation of {number(spread, 4)}, and scores here are means over {starts}."
    )


def best_name(space: Space) -> str:
    """Give how the best setting is called."""
    return ", ".join(f"{symbol(name)}*" for name in space.names)


def found(regret: Regret, space: Space, default: Setting, metric: str) -> str:
    """Give one sentence: what is lost at the hypermorph's best setting and at the default, and whether that differs."""
    unit = find_metric(metric).unit
    losses = (
        f"retraining at the hypermorph's {best_name(space)} loses {number(regret.retraining.value)} "
        f"{metric_name(metric)} ({interval_text(regret.retraining)}), at the default ({setting_text(default)}) "
        f"{number(regret.default.value)} ({interval_text(regret.default)})"
    )
    if regret.subjects < LEAST or regret.evidence is Evidence.TOO_FEW:
        return f"Too few subjects to say ({regret.subjects}): {losses}."
    if regret.evidence is Evidence.FLAT:
        return f"The curve is flat: {losses}; neither is more than {tolerance(unit)}."
    if regret.evidence is Evidence.NONE:
        verdict = "; there is no evidence that either loses more"
    else:
        verdict = "" if regret.default_more.value > 0 else "; the default is the better choice"
    return f"{losses[0].upper()}{losses[1:]}{verdict}{_missed(regret, unit)}."


def _missed(regret: Regret, unit: str) -> str:
    """Say which of what is asked of the loss does not hold."""
    lost, limit = regret.retraining.value, NEGLIGIBLE_GAP[unit]
    missed = [f"the first is more than the {limit:g} that would be negligible"] if lost > limit else []
    if regret.default_more.value > 0 and lost > HALF * regret.default.value:
        missed.append("the first is more than half of the second")
    return "".join(f"; {one}" for one in missed)


def _row(regret: Regret, best: str, default: str) -> dict[str, str]:
    return {
        "": scope_title(regret.scope),
        f"lost at the {best} (95 % interval)": with_interval(regret.retraining),
        f"lost at the default, {default}": with_interval(regret.default),
        "default loses more by": with_interval(regret.default_more),
        "says": _says(regret),
    }


def _says(regret: Regret) -> str:
    if regret.subjects < LEAST:
        return Evidence.TOO_FEW.value
    if regret.evidence is Evidence.FOUND:
        return "default loses more" if regret.default_more.value > 0 else "default loses less"
    return str(regret.evidence.value)


def _numbers(budget: Budget) -> dict[str, Any]:
    if COHORT not in budget.regrets:
        return {}
    regret = budget.regrets[COHORT]
    return {
        **named("retraining_regret", regret.retraining),
        **named("default_regret", regret.default),
        **named("default_regret_more", regret.default_more),
        "regret_evidence": regret.evidence.value,
        "regret_by_label": {
            scope.label: {"retraining": list(one.retraining), "default": list(one.default), "says": one.evidence.value}
            for scope, one in budget.regrets.items()
            if scope.label
        },
    }
