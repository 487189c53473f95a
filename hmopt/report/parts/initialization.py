"""Sensitivity to initialization: the spread over random starts, of hypermorphs and of separate networks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from hmopt.analysis.baselines import BaselineComparison, Budget, Replicates
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import Estimate
from hmopt.catalogue import find_metric
from hmopt.report.figure import INK, OTHER, OWN, PAPER, THIRD, name_rows, new_figure, unit_axis
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.parts.agreement import along_first, has_curve
from hmopt.report.summary import at_both, named
from hmopt.report.words import (
    MISSING,
    counted,
    estimate_text,
    estimate_value,
    family_name,
    gain_text,
    metric_name,
    number,
    plural,
    scope_title,
    setting_text,
    setting_value,
    signed,
    spread,
    symbol,
)
from hmopt.search.scopes import WHOLE_COHORT, Scope
from hmopt.space import Setting, Space

LOOKS = ((OWN, "o", "-"), (THIRD, "^", "-."), (OTHER, "s", "--"))
"""Colour, mark and line of each kind of training, distinct without colour too."""

APART = 0.28
"""Largest distance of a mark from the middle of its row, in rows."""


class InitializationPart(ReportPart):
    """The standard deviation of scores and best settings over random starts."""

    anchor = "initialization"
    place = Place.CHECKS
    needs = ("compared",)

    def section(self, material: Material) -> Section | None:
        """Return the spread over starts; None where nothing was compared at the cohort's best setting."""
        compared = material.compared
        assert compared is not None
        if WHOLE_COHORT not in compared.main.spread_ratios:
            return None
        space = material.searched.space
        metric = material.searched.search.metric
        families = [budget.hypermorphs for budget in reversed(compared.budgets)]
        families.append(compared.separate)
        rows = [_row(compared, scope) for scope in compared.main.spread_ratios]
        return Section(
            title="Sensitivity to initialization",
            found=found(compared, metric),
            figures={"random-starts": starts_figure(families, space, metric, compared.optimum)},
            table=pd.DataFrame(rows),
            notes=tuple(_notes(families, compared)),
            numbers=at_both(compared, lambda budget: _numbers(budget, compared.separate)),
        )


def found(compared: BaselineComparison, metric: str) -> str:
    """Return one sentence: the standard deviation of either over random starts, and whether one is larger."""
    hypermorphs = compared.main.hypermorphs.at_optimum[WHOLE_COHORT]
    separate = compared.separate.at_optimum[WHOLE_COHORT]
    ratio, evidence = compared.main.spread_ratios[WHOLE_COHORT]
    of_hypermorph = (
        f"{_deviation(hypermorphs.score_spread)} ({plural(hypermorphs.models, 'start')})"
    )
    of_separate = f"{_deviation(separate.score_spread)} ({plural(separate.models, 'start')})"
    amounts = (
        f"at {setting_text(compared.optimum)}, the standard deviation of {metric_name(metric)} over random starts "
        f"is {of_hypermorph} for hypermorphs and {of_separate} for separate networks"
    )
    if evidence is Evidence.TOO_FEW:
        return f"There are too few random starts to compare them: {amounts}."
    end = "there is no evidence of a difference between the two"
    if evidence is Evidence.FOUND:
        interval = spread(ratio.low, ratio.high, 1)
        times = f"{estimate_value(ratio, 1)} times (95 % interval {interval})"
        end = f"that of hypermorphs is {times} as large"
    return f"{amounts[0].upper()}{amounts[1:]}; {end}."


def _deviation(deviation: Estimate) -> str:
    # deviations are small: one digit more than scores have
    return number(deviation.value, 4)


def _row(compared: BaselineComparison, scope: Scope) -> dict[str, str]:
    hypermorphs = compared.main.hypermorphs
    separate = compared.separate
    row = {
        "": scope_title(scope),
        "SD, hypermorphs": _deviation(hypermorphs.at_optimum[scope].score_spread),
        "SD, separate networks": _deviation(separate.at_optimum[scope].score_spread),
        "ratio (95 % interval)": _ratio(*compared.main.spread_ratios[scope]),
    }
    for name in compared.optimum:
        best = f"SD of {symbol(name)}*"
        row[f"{best}, hypermorphs"] = _optimum_deviation(hypermorphs, scope, name)
        row[f"{best}, separate networks"] = _optimum_deviation(separate, scope, name)
    gain = "gain from averaging"
    row[f"{gain} {hypermorphs.ensemble} hypermorphs"] = _gained(hypermorphs, scope)
    row[f"{gain} {separate.ensemble} separate networks"] = _gained(separate, scope)
    return row


def _ratio(ratio: Estimate, evidence: Evidence) -> str:
    if evidence is Evidence.TOO_FEW:
        return str(evidence.value)
    return estimate_text(ratio, 1)


def _optimum_deviation(family: Replicates, scope: Scope, name: str) -> str:
    if scope not in family.along:
        return MISSING
    deviation = family.along[scope].optimum_spread[name].value
    return setting_value(round(deviation, 3))


def _gained(family: Replicates, scope: Scope) -> str:
    if scope not in family.ensemble_gains:
        return MISSING
    return signed(family.ensemble_gains[scope].value)


def _notes(families: Sequence[Replicates], compared: BaselineComparison) -> list[str]:
    notes = [
        "SD: standard deviation over random starts. The random start determines the initial weights, the order of "
        "pairs and their augmentation. Intervals of standard deviations assume normally distributed scores and "
        "are wide for few starts."
    ]
    curves = [
        f"{number(_along(family), 4)} for {counted(family)}"
        for family in families
        if WHOLE_COHORT in family.along and family.along[WHOLE_COHORT].models > 1
    ]
    if curves:
        notes.append(f"Root mean square of the SD over all compared settings: {', '.join(curves)}.")
    gains: list[str] = []
    for family in families:
        if WHOLE_COHORT in family.ensemble_gains:
            gain = gain_text(family.ensemble_gains[WHOLE_COHORT])
            gains.append(f"{gain} for {family.ensemble} {family_name(family)}")
    if gains:
        best = setting_text(compared.optimum)
        notes.append(f"Gain from averaging velocities at {best}: {'; '.join(gains)}.")
    return notes


def _along(family: Replicates) -> float:
    deviations = family.along[WHOLE_COHORT].curve_spread
    mean_square = np.mean(deviations**2)
    return float(np.sqrt(mean_square))


def _numbers(budget: Budget, separate: Replicates) -> dict[str, Any]:
    if WHOLE_COHORT not in budget.spread_ratios:
        return {}
    ratio, evidence = budget.spread_ratios[WHOLE_COHORT]
    return {
        **_family_numbers(budget.hypermorphs, "hypermorph"),
        **_family_numbers(separate, "separate"),
        **named("initialization_sd_ratio", ratio),
        "initialization_evidence": evidence.value,
    }


def _family_numbers(family: Replicates, name: str) -> dict[str, Any]:
    at_optimum = family.at_optimum[WHOLE_COHORT]
    along = family.along.get(WHOLE_COHORT)
    optima = {}
    if along is not None:
        optima = {key: one.value for key, one in along.optimum_spread.items()}
    gain = family.ensemble_gains.get(WHOLE_COHORT)
    return {
        **named(f"initialization_sd_{name}", at_optimum.score_spread),
        f"initializations_{name}": at_optimum.models,
        f"initialization_sd_along_{name}": None if along is None else _along(family),
        f"optimum_sd_{name}": optima,
        f"ensemble_gain_{name}": None if gain is None else list(gain),
        f"ensemble_{name}": family.ensemble,
    }


def starts_figure(
    families: Sequence[Replicates], space: Space, metric: str, optimum: Setting
) -> Figure:
    """Draw each start's score at one setting, the deviation at each setting, and each start's best setting.

    Deviations and best settings are drawn along the first hyperparameter, where enough settings lie there.

    Parameters
    ----------
    families
        Up to three kinds of training.
    space
        The hyperparameters.
    metric
        What scores are of.
    optimum
        The setting of the scores.
    """
    height = 0.45 * len(families) + 2.2
    along = [one.along[WHOLE_COHORT] for one in families if WHOLE_COHORT in one.along]
    if any(has_curve(one.settings, space) for one in along):
        figure = new_figure(10.4, height)
        scores, deviations, optima = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
        _draw_deviations(deviations, families, space)
        _draw_optima(optima, families)
        first = space.hyperparameters[0]
        for axes in (deviations, optima):
            unit_axis(axes, symbol(first.name), first.low, first.high)
        deviations.set_title("SD over random starts")
        optima.set_title(f"{symbol(first.name)}* of each random start")
    else:
        figure = new_figure(6.4, height)
        scores = figure.subplots()
    _draw_scores(scores, families, metric)
    scores.set_xlabel(f"{metric_name(metric)} at {setting_text(optimum)}")
    scores.set_title("Random starts")
    figure.legend(
        handles=_marks(),
        loc="outside lower left",
        ncols=2,
        handlelength=2.2,
    )
    return figure


def _marks() -> list[Line2D]:
    """Return the legend's entries for what is drawn alike of every family."""
    mean = Line2D(
        [],
        [],
        color=INK,
        marker="|",
        markersize=11,
        label="mean ± SD",
    )
    ensemble = Line2D(
        [],
        [],
        color=INK,
        marker="*",
        markersize=11,
        linestyle="",
    )
    ensemble.set_label("average of their velocities")
    return [mean, ensemble]


def _draw_scores(axes: Axes, families: Sequence[Replicates], metric: str) -> None:
    sign = 1 if find_metric(metric).direction == "maximize" else -1
    for row, (family, look) in enumerate(zip(families, LOOKS, strict=False)):
        colour, mark, _ = look
        over_starts = family.at_optimum[WHOLE_COHORT]
        scores = over_starts.scores[:, 0]
        deviation = np.nan_to_num(over_starts.score_spread.value)
        axes.errorbar(
            scores.mean(),
            -row,
            xerr=deviation,
            fmt="|",
            color=INK,
            markersize=14,
            capsize=4,
        )
        _draw_marks(axes, scores, row, colour, mark)
        if WHOLE_COHORT in family.ensemble_gains:
            members = scores[: family.ensemble].mean()
            ensemble = members + sign * family.ensemble_gains[WHOLE_COHORT].value
            axes.plot(ensemble, -row, "*", color=colour, markersize=12)
    name_rows(axes, [family_name(family) for family in families])
    axes.locator_params(axis="x", nbins=5)


def _draw_deviations(axes: Axes, families: Sequence[Replicates], space: Space) -> None:
    for family, (colour, mark, line) in zip(families, LOOKS, strict=False):
        if WHOLE_COHORT not in family.along:
            continue
        along = family.along[WHOLE_COHORT]
        places, values = along_first(along.settings, space)
        deviations = along.curve_spread[places]
        look = f"{mark}{line}"
        axes.plot(
            values,
            deviations,
            look,
            color=colour,
            markersize=4,
            linewidth=1.4,
        )
    # the margin is that of the values alone, which is narrow where they are alike
    _, top = axes.get_ylim()
    axes.set_ylim(0, 1.05 * top)


def _draw_optima(axes: Axes, families: Sequence[Replicates]) -> None:
    for row, (family, look) in enumerate(zip(families, LOOKS, strict=False)):
        if WHOLE_COHORT not in family.along:
            continue
        colour, mark, _ = look
        optima = family.along[WHOLE_COHORT].optima
        _draw_marks(axes, optima[:, 0], row, colour, mark)
    name_rows(axes, [""] * len(families))


def _draw_marks(axes: Axes, values: NDArray[np.float64], row: int, colour: str, mark: str) -> None:
    """Draw values of one row, at heights at which their marks do not hide each other."""
    count = len(values)
    apart = np.zeros(1)
    if count > 1:
        apart = np.linspace(APART, -APART, count)
    axes.plot(
        values,
        -row + apart,
        mark,
        color=colour,
        markerfacecolor=PAPER,
        markersize=5.5,
    )
