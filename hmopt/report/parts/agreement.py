"""Agreement of the hypermorph with networks that were trained for one setting each."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hmopt.analysis.agreement import Agreement
from hmopt.analysis.baselines import BaselineComparison, Budget, negligible_gap
from hmopt.analysis.evidence import Evidence
from hmopt.catalogue import find_metric
from hmopt.report.figure import (
    GRID,
    INK,
    MUTED,
    OTHER,
    OWN,
    PAPER,
    legend,
    name_rows,
    new_figure,
    unit_axis,
)
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section, Table
from hmopt.report.summary import at_both, named
from hmopt.report.words import (
    budget_text,
    gain_text,
    interval_text,
    metric_name,
    number,
    rates_text,
    scope_title,
    sentence,
    setting_text,
    setting_value,
    shorten,
    signed,
    signed_value,
    symbol,
)
from hmopt.search.scopes import WHOLE_COHORT
from hmopt.space import Setting, Space

CLOSE = 0.95
"""Rank correlation from which two curves are said to order settings alike."""

WIDE = 4
"""Small figures in a row."""

CURVE = 3
"""Settings along the first hyperparameter from which a curve is drawn; fewer are listed."""


class AgreementPart(ReportPart):
    """Whether the hypermorph scores as separately trained networks do."""

    anchor = "agreement"
    place = Place.CHECKS
    needs = ("compared",)

    def section(self, material: Material) -> Section | None:
        """Return the gap between both, with their curves."""
        compared = material.compared
        assert compared is not None
        space = material.searched.space
        metric = material.searched.search.metric
        agreements = compared.main.agreements
        labels = [agreement for scope, agreement in agreements.items() if scope != WHOLE_COHORT]
        figures = {"agreement": agreement_figure(agreements[WHOLE_COHORT], space, metric)}
        if labels and has_curve(labels[0].settings, space):
            figures["agreement-structures"] = labels_figure(labels, space, metric)
        rows = [_row(agreement) for agreement in agreements.values()]
        return Section(
            title="Agreement with separately trained networks",
            found=found(compared, metric, material.searched.search.margin),
            figures=figures,
            table=pd.DataFrame(rows),
            notes=tuple(_notes(compared, metric)),
            further=_further(compared),
            numbers={
                **at_both(compared, _numbers),
                **_equal_steps_numbers(compared),
                **_full_steps_numbers(compared),
                **_rates_numbers(compared),
            },
            verdicts=_verdicts(compared, metric, material.searched.search.margin),
        )


def _verdicts(
    compared: BaselineComparison, metric: str, margin: float | None = None
) -> dict[str, str]:
    """Return whether both kinds of networks differ: over all, and for each structure."""
    limit = negligible_gap(metric, margin)
    return {
        f"hypermorphs against separate networks, {scope_title(scope)}": _verdict(agreement, limit)
        for scope, agreement in compared.main.agreements.items()
    }


def found(compared: BaselineComparison, metric: str, margin: float | None = None) -> str:
    """Return whether the gap is negligible, what was compared, and the gap, a sentence each."""
    agreement = compared.main.agreements[WHOLE_COHORT]
    limit = negligible_gap(metric, margin)
    gap = agreement.mean_gap
    count = f"{len(agreement.settings)} {_plural(agreement)}"
    size = signed_value(gap.estimate)
    amount = (
        f"the gap ({_gap_name(metric)}) is {size} {metric_name(metric)} on average over {count}"
    )
    sides = budget_text(compared, compared.main)
    verdict = _verdict(agreement, limit)
    bound = _bound(agreement, limit)
    interval = interval_text(gap.estimate)
    clauses = [
        verdict,
        f"the comparison is between {sides}",
        f"{amount} ({interval}){bound}",
        _range(agreement),
    ]
    return " ".join(sentence(clause) for clause in clauses)


def _verdict(agreement: Agreement, limit: float) -> str:
    gap = agreement.mean_gap
    if agreement.evidence is Evidence.TOO_FEW:
        return "There are too few subjects or random starts for a verdict"
    if gap.equivalent(limit):
        return f"The hypermorphs are equivalent to separately trained networks within a margin of {limit:g}"
    if agreement.evidence is Evidence.FOUND:
        better = "better" if gap.value < 0 else "worse"
        return f"The hypermorphs are {better} than separately trained networks"
    return (
        "There is no evidence of a difference between hypermorphs and separately trained networks"
    )


def _bound(agreement: Agreement, limit: float) -> str:
    if agreement.evidence is Evidence.TOO_FEW:
        return ""
    upper = agreement.upper_bound
    if upper <= limit:
        excluded = f"an advantage of separate networks above {limit:g} is excluded"
        return f"; {excluded} with 95 % confidence"
    possible = f"separate networks may be better by {number(upper)} (95 % bound)"
    return f"; {possible}, which is not negligible"


def _range(agreement: Agreement) -> str:
    """Return where the gap is least and largest: a mean of zero can hide that the curves differ."""
    values = [gap.value for gap in agreement.gaps]
    lowest = agreement.settings[np.argmin(values)]
    highest = agreement.settings[np.argmax(values)]
    low = f"{signed(min(values))} at {setting_text(lowest)}"
    high = f"{signed(max(values))} at {setting_text(highest)}"
    return f"the gap ranges from {low} to {high}"


def _plural(agreement: Agreement) -> str:
    """Return the noun of what was compared: values of the one hyperparameter, or settings."""
    first, *others = agreement.settings[0]
    return "settings" if others else f"values of {symbol(first)}"


def ranking(agreement: Agreement) -> str:
    """Return the rank correlation, or why there is none."""
    if agreement.ranking in (Evidence.TOO_FEW, Evidence.FLAT):
        return str(agreement.ranking.value)
    return f"{number(agreement.rank_correlation, 2)} ({agreement.ranked})"


def shift_text(shift: Mapping[str, float]) -> str:
    """Return the best values of separate networks less those of the hypermorph."""
    shifts = []
    for value in shift.values():
        sign = "+" if value > 0 else ""
        shifts.append(f"{sign}{setting_value(value).replace('-', '−')}")
    return ", ".join(shifts)


def _row(agreement: Agreement) -> dict[str, str]:
    symbols = ", ".join(f"Δ{symbol(name)}*" for name in agreement.shift)
    return {
        "": scope_title(agreement.scope),
        "mean gap (95 % interval)": gain_text(agreement.mean_gap.estimate),
        "upper bound (95 %)": signed(agreement.upper_bound),
        "settings within 2 SD over starts": _within(agreement),
        "rank correlation (settings ranked)": ranking(agreement),
        f"{symbols} (separate − hypermorph)": shift_text(agreement.shift),
    }


def _within(agreement: Agreement) -> str:
    if not np.isfinite(agreement.seed_spread).any():
        return "one start"
    return f"{agreement.within_two_spreads.sum()} of {len(agreement.settings)}"


def _gap_name(metric: str) -> str:
    """Return the difference that is positive where separate networks are better."""
    is_gain = find_metric(metric).direction == "maximize"
    return "separate − hypermorph" if is_gain else "hypermorph − separate"


def _notes(compared: BaselineComparison, metric: str) -> list[str]:
    notes = [
        f"The gap is {_gap_name(metric)}, each a mean over random starts: it is positive where separate networks are "
        "better. Bands, or bars of scores, are two standard deviations (SD) over random starts. Bars of gaps, and "
        "intervals, include the variation over subjects (jackknife) and over random starts. Verdicts on structures are "
        "not corrected for their number.",
        _ranks(compared.main),
        _learning_rates(compared),
        _equal_steps(compared),
        _full_steps(compared),
    ]
    return [note for note in notes if note]


def _learning_rates(compared: BaselineComparison) -> str:
    """Return how learning rates were chosen, or both where they differ."""
    theirs = compared.separate.learning_rate
    ours = compared.main.hypermorphs.learning_rate
    chosen = compared.chosen_rates
    if chosen is not None:
        of_hypermorphs = (
            "" if ours is None else f" The learning rate of the hypermorphs was {ours:g}."
        )
        return (
            "The learning rate of separate networks was chosen separately at each setting, by Dice on the tuning "
            f"pairs at the end of training: {rates_text(chosen.rates)} were tried with the first random start, and "
            f"the best rate was used for all starts.{of_hypermorphs}"
        )
    if theirs is None or ours is None or theirs == ours:
        return ""
    return (
        f"The learning rate of separate networks was {theirs:g}, that of the hypermorphs {ours:g}."
    )


def _further(compared: BaselineComparison) -> tuple[Table, ...]:
    """Return the learning rates that were tried at each setting; nothing where one was declared."""
    chosen = compared.chosen_rates
    if chosen is None:
        return ()
    rows = []
    for setting, scores, best in zip(chosen.settings, chosen.tune_dice, chosen.chosen, strict=True):
        row = {"": setting_text(setting), "learning rate": f"{best:g}"}
        for rate, dice in zip(chosen.rates, scores, strict=True):
            row[f"tuning Dice at {rate:g}"] = number(dice)
        rows.append(row)
    title = (
        "Learning rates of separate networks, and Dice on the tuning pairs (–: training diverged)"
    )
    return (Table(title=title, content=pd.DataFrame(rows)),)


def _rates_numbers(compared: BaselineComparison) -> dict[str, Any]:
    chosen = compared.chosen_rates
    if chosen is None:
        return {}
    rows = []
    for setting, scores, best in zip(chosen.settings, chosen.tune_dice, chosen.chosen, strict=True):
        rows.append({**setting, "learning_rate": best, "tune_dice": [float(one) for one in scores]})
    return {"separate_rates_tried": list(chosen.rates), "separate_rates": rows}


def _equal_steps(compared: BaselineComparison) -> str:
    equal = compared.equal
    if equal is None or equal is compared.main:
        return ""
    gap = gain_text(equal.agreements[WHOLE_COHORT].mean_gap.estimate)
    steps = equal.hypermorphs.steps
    return f"For hypermorphs trained for as many steps as one separate network ({steps}), the gap is {gap}."


def _equal_steps_numbers(compared: BaselineComparison) -> dict[str, Any]:
    if compared.equal is None:
        return {}
    agreement = compared.equal.agreements[WHOLE_COHORT]
    return {
        **named("gap_equal_steps", agreement.mean_gap.estimate),
        "gap_equal_steps_upper_bound": agreement.upper_bound,
        "time_ratio_equal_steps": compared.equal.cost_ratio,
    }


def _full_steps(compared: BaselineComparison) -> str:
    if WHOLE_COHORT not in compared.confirmed:
        return ""
    gap = gain_text(compared.confirmed[WHOLE_COHORT].mean_gap.estimate)
    best = setting_text(compared.optimum)
    return (
        f"At {best}, separate networks were also trained for {compared.full_steps} steps; their gap to the "
        f"searched model is {gap}."
    )


def _ranks(budget: Budget) -> str:
    """Return how many structures' curves order settings alike, of those whose order can be told."""
    correlations = [
        agreement.rank_correlation
        for scope, agreement in budget.agreements.items()
        if scope != WHOLE_COHORT and agreement.ranking in (Evidence.FOUND, Evidence.NONE)
    ]
    if not correlations:
        return ""
    alike = sum(correlation >= CLOSE for correlation in correlations)
    return (
        f"Both rank settings alike (rank correlation at least {CLOSE:g}) for {alike} of {len(correlations)} "
        "structures with a response that is not flat. Settings whose scores differ by less than the variation "
        "over starts are not ranked."
    )


def _numbers(budget: Budget) -> dict[str, Any]:
    agreement = budget.agreements[WHOLE_COHORT]
    gaps: dict[str, list[float]] = {}
    correlations: dict[str, float] = {}
    shifts: dict[str, dict[str, float]] = {}
    for scope, one in budget.agreements.items():
        name = scope.label or "cohort"
        correlations[name] = one.rank_correlation
        shifts[name] = one.shift
        if scope.label:
            gaps[name] = list(one.mean_gap.estimate)
    return {
        **named("gap_to_separate", agreement.mean_gap.estimate),
        "gap_upper_bound": agreement.upper_bound,
        "gap_by_setting": _by_setting(agreement),
        "within_two_sd": int(agreement.within_two_spreads.sum()),
        "compared_settings": len(agreement.settings),
        "rank_correlation": correlations,
        "gap_by_label": gaps,
        "shift": shifts,
    }


def _by_setting(agreement: Agreement) -> list[dict[str, Any]]:
    columns = zip(agreement.settings, agreement.gaps, agreement.seed_spread, strict=True)
    return [
        {**setting, "gap": list(gap.estimate), "seed_sd": float(deviation)}
        for setting, gap, deviation in columns
    ]


def _full_steps_numbers(compared: BaselineComparison) -> dict[str, Any]:
    if WHOLE_COHORT not in compared.confirmed:
        return {}
    gap = compared.confirmed[WHOLE_COHORT].mean_gap
    return {**named("gap_at_full_steps", gap.estimate), "full_steps": compared.full_steps}


def agreement_figure(agreement: Agreement, space: Space, metric: str) -> Figure:
    """Draw both scores with two standard deviations over starts, and their gap with its interval.

    As curves along the first hyperparameter, with all others at their default; where too few settings
    lie there, all of them one below the other.
    """
    if has_curve(agreement.settings, space):
        return _curves_figure(agreement, space, metric)
    return _settings_figure(agreement, metric)


def has_curve(settings: Sequence[Setting], space: Space) -> bool:
    """Return whether enough settings lie along the first hyperparameter, with all others at their default."""
    places, _ = along_first(settings, space)
    return len(places) >= min(CURVE, len(settings))


def _settings_figure(agreement: Agreement, metric: str) -> Figure:
    count = len(agreement.settings)
    rows = -np.arange(count)
    figure = new_figure(8.4, 0.4 * count + 1.6)
    scores, gaps = figure.subplots(1, 2, sharey=True)
    _draw_scores(scores, agreement, rows)
    _draw_gaps(gaps, agreement, rows, metric)
    names = [setting_text(setting) for setting in agreement.settings]
    scores.set_xlabel(metric_name(metric))
    gaps.set_xlabel("gap")
    for axes in (scores, gaps):
        name_rows(axes, names)
        axes.locator_params(axis="x", nbins=5)
    legend(figure, columns=3, handlelength=2.2)
    return figure


def _draw_scores(axes: Axes, agreement: Agreement, rows: NDArray[np.intp]) -> None:
    apart = 0.12  # of rows, so that neither mark hides the other
    kinds = (
        ("hypermorph", agreement.amortized, agreement.amortized_spread, "o", OWN, apart),
        ("separate networks", agreement.separate, agreement.seed_spread, "s", OTHER, -apart),
    )
    for label, values, deviations, mark, colour, offset in kinds:
        axes.errorbar(
            values,
            rows + offset,
            xerr=2 * np.nan_to_num(deviations),
            fmt=mark,
            color=colour,
            markerfacecolor=PAPER,
            capsize=2.5,
            label=label,
        )


def _draw_gaps(axes: Axes, agreement: Agreement, rows: NDArray[np.intp], metric: str) -> None:
    estimates = np.array([gap.estimate for gap in agreement.gaps])
    axes.axvline(0, color=INK, linewidth=1)
    axes.errorbar(
        estimates[:, 0],
        rows,
        xerr=np.abs(estimates[:, 1:] - estimates[:, :1]).T,
        fmt="o",
        color=MUTED,
        markersize=4.5,
        capsize=2.5,
        label=_gap_name(metric),
    )


def _curves_figure(agreement: Agreement, space: Space, metric: str) -> Figure:
    figure = new_figure(5.6, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    _draw_curves(upper, agreement, space)
    _draw_gap(lower, agreement, space, metric)
    upper.set_ylabel(metric_name(metric))
    lower.set_ylabel("gap")
    first = space.hyperparameters[0]
    unit_axis(lower, symbol(first.name), first.low, first.high)
    figure.align_ylabels()
    legend(figure, handlelength=2.2)
    return figure


def labels_figure(agreements: Sequence[Agreement], space: Space, metric: str) -> Figure:
    """Draw both curves of each label in a small figure of its own."""
    count = len(agreements)
    columns = min(WIDE, count)
    rows = math.ceil(count / WIDE)
    figure = new_figure(2.4 * columns, 1.75 * rows + 0.6)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    first = space.hyperparameters[0]
    for panel, agreement in zip(panels, agreements, strict=False):
        _draw_curves(panel, agreement, space, size=3.0)
        panel.set_title(shorten(scope_title(agreement.scope), 26), fontsize=9)
        panel.tick_params(labelsize=8, labelbottom=False)
        unit_axis(panel, "", first.low, first.high)
    for panel in panels[max(0, count - columns) : count]:
        panel.tick_params(labelbottom=True)
        panel.set_xlabel(symbol(first.name))
    for panel in panels[count:]:
        panel.remove()
    figure.supylabel(metric_name(metric), fontsize=10)
    legend(figure, panels[0], handlelength=2.2)
    return figure


def _draw_curves(axes: Axes, agreement: Agreement, space: Space, size: float = 5.0) -> None:
    """Draw the curve of the hypermorph as a line and that of separate networks as marks, each with its band."""
    places, values = along_first(agreement.settings, space)

    def band(scores: NDArray[np.float64], spread: NDArray[np.float64], colour: str) -> None:
        mean = scores[places]
        half_width = 2 * np.nan_to_num(spread[places])
        low = mean - half_width
        high = mean + half_width
        if half_width.any():
            axes.fill_between(
                values,
                low,
                high,
                color=colour,
                alpha=0.15,
                linewidth=0,
            )

    amortized = agreement.amortized
    separate = agreement.separate
    band(amortized, agreement.amortized_spread, OWN)
    band(separate, agreement.seed_spread, OTHER)
    axes.plot(
        values,
        amortized[places],
        "-",
        color=OWN,
        linewidth=1.5,
        label="hypermorph",
    )
    look: dict[str, Any] = {
        "color": OTHER,
        "markersize": size,
        "markerfacecolor": PAPER,
        "linewidth": 1.5,
    }
    axes.plot(values, separate[places], "s--", label="separate networks", **look)


def along_first(
    settings: Sequence[Setting], space: Space
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the positions of the settings with all hyperparameters but the first at their default, and its values."""
    first, *others = space.names
    default = space.setting(space.index(space.default))
    places = []
    values = []
    for place, setting in enumerate(settings):
        if all(setting[name] == default[name] for name in others):
            places.append(place)
            values.append(setting[first])
    return np.array(places, dtype=np.intp), np.array(values)


def _draw_gap(axes: Axes, agreement: Agreement, space: Space, metric: str) -> None:
    places, values = along_first(agreement.settings, space)
    estimates = np.array([gap.estimate for gap in agreement.gaps])[places]
    gaps = estimates[:, 0]
    bars = np.abs(estimates[:, 1:] - estimates[:, :1]).T
    band = 2 * np.nan_to_num(agreement.seed_spread[places])
    axes.axhline(0, color=INK, linewidth=1)
    if band.any():
        label = "2 SD over random starts"
        axes.fill_between(
            values,
            -band,
            band,
            color=GRID,
            linewidth=0,
            label=label,
        )
    look: dict[str, Any] = {"color": MUTED, "markersize": 4.5, "capsize": 2.5}
    axes.errorbar(
        values,
        gaps,
        yerr=bars,
        fmt="o",
        label=_gap_name(metric),
        **look,
    )
