"""How much another random start changes, of hypermorphs and of separately trained networks."""

from typing import Any

import numpy as np
import pandas as pd

from hmopt.analysis.baselines import COHORT, BaselineComparison, Budget, Replicates
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import Estimate
from hmopt.report.budgets import at_both, counted, family_name, named
from hmopt.report.material import Material
from hmopt.report.section import Section
from hmopt.report.starts import starts_figure
from hmopt.report.words import (
    gain_text,
    metric_name,
    number,
    scope_title,
    setting_text,
    setting_value,
    signed,
    spread,
    symbol,
)
from hmopt.search.scopes import Scope


def robustness_section(material: Material) -> Section | None:
    """Give the section; None where nothing was compared at the cohort's best setting."""
    compared, metric = material.compared, material.searched.search.metric
    if compared is None or COHORT not in compared.main.spread_ratios:
        return None
    families = [*(budget.hypermorphs for budget in reversed(compared.budgets)), compared.separate]
    return Section(
        anchor="robustness",
        title="How much does another random start change?",
        found=found(compared, metric),
        figures={
            "random-starts": starts_figure(
                families, material.searched.space, metric, compared.optimum
            )
        },
        table=pd.DataFrame([_row(compared, scope) for scope in compared.main.spread_ratios]),
        notes=tuple(_notes(families, compared)),
        numbers=at_both(compared, lambda budget: _numbers(budget, compared.separate)),
    )


def found(compared: BaselineComparison, metric: str) -> str:
    """Give one sentence: the standard deviation of either over random starts, and whether one is larger."""
    hypermorphs, separate = (
        side.at_optimum[COHORT] for side in (compared.main.hypermorphs, compared.separate)
    )
    ratio, evidence = compared.main.spread_ratios[COHORT]
    amounts = (
        f"over random starts its {metric_name(metric)} at {setting_text(compared.optimum)} has a standard deviation of "
        f"{_deviation(hypermorphs.score_spread)} ({hypermorphs.models} starts), that of a separate network "
        f"{_deviation(separate.score_spread)} ({separate.models} starts)"
    )
    if evidence is Evidence.TOO_FEW:
        return f"Too few random starts to compare: {amounts}."
    ends = {
        True: f"the hypermorph's is {_times(ratio)} as large",
        False: "there is no evidence that one is larger than the other",
    }
    return f"{amounts[0].upper()}{amounts[1:]}; {ends[evidence is Evidence.FOUND]}."


def _deviation(deviation: Estimate) -> str:
    # deviations are small: one digit more than scores have
    return number(deviation.value, 4)


def _times(ratio: Estimate) -> str:
    return f"{number(ratio.value, 1)} times (95 % interval {spread(ratio.low, ratio.high, 1)})"


def _row(compared: BaselineComparison, scope: Scope) -> dict[str, str]:
    hypermorphs, separate = compared.main.hypermorphs, compared.separate
    return {
        "": scope_title(scope),
        "deviation of hypermorphs": _deviation(hypermorphs.at_optimum[scope].score_spread),
        "deviation of separate networks": _deviation(separate.at_optimum[scope].score_spread),
        "ratio (95 % interval)": _ratio(*compared.main.spread_ratios[scope]),
        **{
            f"deviation of {symbol(name)}* of {whose}": _optimum_deviation(family, scope, name)
            for name in compared.optimum
            for whose, family in (("hypermorphs", hypermorphs), ("separate networks", separate))
        },
        f"gained by averaging {hypermorphs.ensemble} hypermorphs": _gained(hypermorphs, scope),
        f"gained by averaging {separate.ensemble} separate networks": _gained(separate, scope),
    }


def _ratio(ratio: Estimate, evidence: Evidence) -> str:
    if evidence is Evidence.TOO_FEW:
        return str(evidence.value)
    return f"{number(ratio.value, 1)} ({spread(ratio.low, ratio.high, 1)})"


def _optimum_deviation(family: Replicates, scope: Scope, name: str) -> str:
    if scope not in family.along:
        return "–"
    return setting_value(round(family.along[scope].optimum_spread[name].value, 3))


def _gained(family: Replicates, scope: Scope) -> str:
    return signed(family.ensemble_gains[scope].value) if scope in family.ensemble_gains else "–"


def _notes(families: list[Replicates], compared: BaselineComparison) -> list[str]:
    curves = [
        f"{number(_along(family), 4)} of {counted(family)}"
        for family in families
        if COHORT in family.along and family.along[COHORT].models > 1
    ]
    gains = [
        f"{gain_text(family.ensemble_gains[COHORT])} for {family.ensemble} {family_name(family)}"
        for family in families
        if COHORT in family.ensemble_gains
    ]
    return [
        *(
            [f"Root mean square of the deviations over all compared settings: {', '.join(curves)}."]
            if curves
            else []
        ),
        *(
            [f"Averaging velocities gains at {setting_text(compared.optimum)}: {'; '.join(gains)}."]
            if gains
            else []
        ),
        "A start decides first weights, the order of pairs and their augmentation. Intervals of deviations take scores "
        "of starts as normally distributed; those of few starts are wide.",
    ]


def _along(family: Replicates) -> float:
    return float(np.sqrt(np.mean(family.along[COHORT].curve_spread ** 2)))


def _numbers(budget: Budget, separate: Replicates) -> dict[str, Any]:
    if COHORT not in budget.spread_ratios:
        return {}
    ratio, evidence = budget.spread_ratios[COHORT]
    return {
        **_of_family(budget.hypermorphs, "hypermorph"),
        **_of_family(separate, "separate"),
        **named("initialization_sd_ratio", ratio),
        "initialization_evidence": evidence.value,
    }


def _of_family(family: Replicates, name: str) -> dict[str, Any]:
    at_optimum, along = family.at_optimum[COHORT], family.along.get(COHORT)
    optima = {} if along is None else {key: one.value for key, one in along.optimum_spread.items()}
    return {
        **named(f"initialization_sd_{name}", at_optimum.score_spread),
        f"initializations_{name}": at_optimum.models,
        f"initialization_sd_along_{name}": None if along is None else _along(family),
        f"optimum_sd_{name}": optima,
        f"ensemble_gain_{name}": list(family.ensemble_gains[COHORT])
        if COHORT in family.ensemble_gains
        else None,
        f"ensemble_{name}": family.ensemble,
    }
