"""What retraining at the hypermorph's best setting loses, beside the default setting."""

from typing import Any

import pandas as pd

from hmopt.analysis.agreement import Regret
from hmopt.analysis.baselines import COHORT, Budget, negligible_gap
from hmopt.analysis.evidence import Evidence
from hmopt.report.budgets import at_both, interval_text, named
from hmopt.report.material import Material
from hmopt.report.section import Section
from hmopt.report.words import gain_text, metric_name, number, scope_title, setting_text, symbol
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
        _starts(cohort),
    ]
    equal = compared.equal
    if equal is not None and equal is not budget and COHORT in equal.regrets:
        lost = gain_text(equal.regrets[COHORT].retraining.estimate)
        notes.append(
            f"At the {best} that was trained no longer than one separate network, retraining loses {lost}."
        )
    return Section(
        anchor="regret",
        title=f"What does one lose by retraining at its {best_name(space)}?",
        found=found(cohort, space, compared.default, metric),
        table=pd.DataFrame([_row(regret, best, default) for regret in budget.regrets.values()]),
        notes=tuple(filter(None, notes)),
        numbers=at_both(compared, _numbers),
    )


def _starts(regret: Regret) -> str:
    """Say whether intervals count the networks' random starts."""
    if regret.initializations > 1:
        return f"Intervals count subjects (jackknife) and the {regret.initializations} random starts of the networks."
    return "Each setting has a network of one random start: intervals leave out what another start would change."


def best_name(space: Space) -> str:
    """Give how the best setting is called."""
    return ", ".join(f"{symbol(name)}*" for name in space.names)


def found(regret: Regret, space: Space, default: Setting, metric: str) -> str:
    """Give one sentence: what is lost at the hypermorph's best setting and at the default, and whether that differs."""
    losses = (
        f"retraining at the hypermorph's {best_name(space)} loses {number(regret.retraining.value)} "
        f"{metric_name(metric)} ({interval_text(regret.retraining.estimate)}), at the default "
        f"({setting_text(default)}) {number(regret.default.value)} ({interval_text(regret.default.estimate)})"
    )
    if regret.evidence is Evidence.TOO_FEW:
        return f"Too few subjects or random starts to say: {losses}."
    if regret.evidence is Evidence.NEGLIGIBLE:
        return f"Both losses are negligible, with confidence: {losses}."
    if regret.evidence is Evidence.NONE:
        verdict = "; there is no evidence that either loses more"
    else:
        verdict = "" if regret.default_more.value > 0 else "; the default is the better choice"
    return f"{losses[0].upper()}{losses[1:]}{verdict}{_missed(regret, metric)}."


def _missed(regret: Regret, metric: str) -> str:
    """Say which of what is asked of the loss does not hold."""
    lost, limit = regret.retraining.value, negligible_gap(metric)
    upper = regret.retraining.within(0.95).high
    missed = [
        f"the first may be as large as {number(upper)} (95 % bound), and {limit:g} is negligible"
    ]
    missed = missed if upper > limit else []
    if regret.default_more.value > 0 and lost > HALF * regret.default.value:
        missed.append("the first is more than half of the second")
    return "".join(f"; {one}" for one in missed)


def _row(regret: Regret, best: str, default: str) -> dict[str, str]:
    return {
        "": scope_title(regret.scope),
        f"lost at the {best} (95 % interval)": gain_text(regret.retraining.estimate),
        f"lost at the default, {default}": gain_text(regret.default.estimate),
        "default loses more by": gain_text(regret.default_more.estimate),
        "says": _says(regret),
    }


def _says(regret: Regret) -> str:
    if regret.evidence is Evidence.FOUND:
        return "default loses more" if regret.default_more.value > 0 else "default loses less"
    return str(regret.evidence.value)


def _numbers(budget: Budget) -> dict[str, Any]:
    if COHORT not in budget.regrets:
        return {}
    regret = budget.regrets[COHORT]
    return {
        **named("retraining_regret", regret.retraining.estimate),
        **named("default_regret", regret.default.estimate),
        **named("default_regret_more", regret.default_more.estimate),
        "regret_evidence": regret.evidence.value,
        "regret_by_label": {
            scope.label: {
                "retraining": list(one.retraining.estimate),
                "default": list(one.default.estimate),
                "says": one.evidence.value,
            }
            for scope, one in budget.regrets.items()
            if scope.label
        },
    }
