"""Whether the hypermorph answers as networks trained for one setting each do."""

from typing import Any

import numpy as np
import pandas as pd

from hmopt.analysis.agreement import Agreement
from hmopt.analysis.baselines import COHORT, BaselineComparison, Budget, negligible_gap
from hmopt.analysis.evidence import Evidence
from hmopt.report.baseline_curves import agreement_figure, labels_figure
from hmopt.report.budgets import at_both, budget_text, counted, interval_text, named
from hmopt.report.material import Material
from hmopt.report.section import Section
from hmopt.report.words import (
    gain_text,
    metric_name,
    number,
    scope_title,
    setting_text,
    setting_value,
    signed,
    symbol,
)
from hmopt.space import Setting

CLOSE = 0.95
"""Rank correlation from which two curves order settings alike."""


def agreement_section(material: Material) -> Section | None:
    """Give the section; None where nothing was compared."""
    compared = material.compared
    if compared is None:
        return None
    agreements = compared.main.agreements
    labels = [agreement for scope, agreement in agreements.items() if scope != COHORT]
    space, metric = material.searched.space, material.searched.search.metric
    figures = {"agreement": agreement_figure(agreements[COHORT], space, metric)}
    if labels:
        figures["agreement-structures"] = labels_figure(labels, space, metric)
    return Section(
        anchor="agreement",
        title="Does it answer as separately trained networks do?",
        found=found(compared, metric),
        figures=figures,
        table=pd.DataFrame([_row(agreement) for agreement in agreements.values()]),
        notes=tuple(_notes(compared)),
        numbers={**at_both(compared, _numbers), **_confirmed(compared)},
    )


def found(compared: BaselineComparison, metric: str) -> str:
    """Give one sentence: what was compared, who is better by how much, and whether the gap is negligible."""
    agreement, limit = compared.main.agreements[COHORT], negligible_gap(metric)
    gap = agreement.mean_gap
    amount = (
        f"separate − hypermorph {signed(gap.value)} {metric_name(metric)} {_average(agreement)} "
        f"({interval_text(gap.estimate)})"
    )
    if agreement.evidence is Evidence.TOO_FEW:
        verdict = "Too few subjects or random starts to say"
    elif gap.equivalent(limit):
        verdict = f"The hypermorphs score as separately trained networks do, to within {limit:g}"
    elif agreement.evidence is Evidence.FOUND:
        verdict = f"The hypermorphs are {'better' if gap.value < 0 else 'worse'} than separately trained networks"
    else:
        verdict = "There is no evidence that either is better"
    bound = "" if agreement.evidence is Evidence.TOO_FEW else _bound(agreement, limit)
    return (
        f"{verdict}: {budget_text(compared, compared.main)}: {amount}{bound}; {_range(agreement)}."
    )


def _bound(agreement: Agreement, limit: float) -> str:
    upper = agreement.upper_bound
    if upper <= limit:
        return (
            f"; an advantage of separate networks above {limit:g} is excluded with 95 % confidence"
        )
    return f"; separate networks may be better by {number(upper)} (95 % bound), which is not negligible"


def _average(agreement: Agreement) -> str:
    return f"on average over {len(agreement.settings)} {_plural(agreement)}"


def _range(agreement: Agreement) -> str:
    """Say where the gap is least and largest: a mean of none can hide that the curves differ."""
    values = [gap.value for gap in agreement.gaps]
    low, high = (
        setting_text(agreement.settings[place]) for place in (np.argmin(values), np.argmax(values))
    )
    return f"the gap goes from {signed(min(values))} at {low} to {signed(max(values))} at {high}"


def _plural(agreement: Agreement) -> str:
    """Give what was compared: values of the one hyperparameter, or settings."""
    (first, *others) = agreement.settings[0]
    return "settings" if others else f"values of {symbol(first)}"


def ranking(agreement: Agreement) -> str:
    """Give the rank correlation, or why there is none."""
    if agreement.ranking in (Evidence.TOO_FEW, Evidence.FLAT):
        return str(agreement.ranking.value)
    return f"{number(agreement.rank_correlation, 2)} ({agreement.ranked})"


def shift_text(shift: Setting) -> str:
    """Give by how much separate networks want other values."""
    shifts = [
        f"{'+' if value > 0 else ''}{setting_value(value).replace('-', '−')}"
        for value in shift.values()
    ]
    return ", ".join(shifts)


def _row(agreement: Agreement) -> dict[str, str]:
    return {
        "": scope_title(agreement.scope),
        "mean gap (95 % interval)": gain_text(agreement.mean_gap.estimate),
        "at most, with 95 % confidence": signed(agreement.upper_bound),
        "within two deviations over seeds": _within(agreement),
        "rank correlation (settings that count)": ranking(agreement),
        f"{', '.join(f'{symbol(name)}*' for name in agreement.shift)} of separate networks less its own": shift_text(
            agreement.shift
        ),
    }


def _within(agreement: Agreement) -> str:
    if not np.isfinite(agreement.seed_spread).any():
        return "one seed"
    return f"{agreement.within_two_spreads.sum()} of {len(agreement.settings)}"


def _notes(compared: BaselineComparison) -> list[str]:
    budget = compared.main
    notes = [
        f"The gap is what separate networks score more, a mean over the seeds of each. {_seeds(compared)} Bands are "
        "two standard deviations over random starts; bars and intervals count subjects (jackknife) and random starts.",
        _ranks(budget),
        _rates(compared),
    ]
    if compared.equal is not None and compared.equal is not budget:
        gap = compared.equal.agreements[COHORT].mean_gap
        notes.append(
            f"To hypermorphs of as many steps as one separate network ({compared.equal.hypermorphs.steps}) the gap is "
            f"{gain_text(gap.estimate)}."
        )
    if COHORT in compared.confirmed:
        gap = compared.confirmed[COHORT].mean_gap
        notes.append(
            f"At {setting_text(compared.optimum)} separate networks also trained for {compared.full_steps} steps: to "
            f"the model that was searched their gap is {gain_text(gap.estimate)}."
        )
    return [note for note in notes if note]


def _seeds(compared: BaselineComparison) -> str:
    sides = (compared.main.hypermorphs, compared.separate)
    names = [counted(family) for family in sides if COHORT in family.along]
    return f"Compared are {' and, at each setting, '.join(names)}."


def _rates(compared: BaselineComparison) -> str:
    """Give both learning rates where they differ."""
    theirs, ours = compared.separate.learning_rate, compared.main.hypermorphs.learning_rate
    if theirs is None or ours is None or theirs == ours:
        return ""
    return (
        f"The learning rate of separate networks was {theirs:g}, that of the hypermorphs {ours:g}."
    )


def _ranks(budget: Budget) -> str:
    """How many structures' curves order settings alike, of those whose order can be told."""
    told = [
        agreement.rank_correlation
        for scope, agreement in budget.agreements.items()
        if scope != COHORT and agreement.ranking in (Evidence.FOUND, Evidence.NONE)
    ]
    if not told:
        return ""
    alike = sum(correlation >= CLOSE for correlation in told)
    return (
        f"Both order settings alike (rank correlation at least {CLOSE:g}) for {alike} of {len(told)} structures whose "
        "curve is not flat; settings closer in score than the spread over seeds are not ranked."
    )


def _numbers(budget: Budget) -> dict[str, Any]:
    agreement = budget.agreements[COHORT]
    return {
        **named("gap_to_separate", agreement.mean_gap.estimate),
        "gap_upper_bound": agreement.upper_bound,
        "gap_by_setting": [
            {**setting, "gap": list(gap.estimate), "seed_sd": float(deviation)}
            for setting, gap, deviation in zip(
                agreement.settings, agreement.gaps, agreement.seed_spread, strict=True
            )
        ],
        "within_two_sd": int(agreement.within_two_spreads.sum()),
        "compared_settings": len(agreement.settings),
        "rank_correlation": _by_scope(budget, lambda one: one.rank_correlation),
        "gap_by_label": {
            scope.label: list(one.mean_gap.estimate)
            for scope, one in budget.agreements.items()
            if scope.label
        },
        "shift": _by_scope(budget, lambda one: one.shift),
    }


def _confirmed(compared: BaselineComparison) -> dict[str, Any]:
    if COHORT not in compared.confirmed:
        return {}
    return {
        **named("gap_at_full_steps", compared.confirmed[COHORT].mean_gap.estimate),
        "full_steps": compared.full_steps,
    }


def _by_scope(budget: Budget, number_of: Any) -> dict[str, Any]:
    return {scope.label or "cohort": number_of(one) for scope, one in budget.agreements.items()}
