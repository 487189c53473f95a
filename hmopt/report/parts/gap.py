"""How far the model's registrations are from the minimum of their loss, and whether its best settings carry over."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gap import (
    CONVERGED,
    MODEL,
    REFINED,
    GapResult,
    ScopeGap,
    SettingGap,
)
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.optimum import CurveAnalysis, within_range
from hmopt.analysis.resampling import Estimate
from hmopt.analysis.transfer import Answer, Transfer
from hmopt.report.curves import profile
from hmopt.report.figure import OTHER, OWN, THIRD, legend, new_figure, value_axis
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section, Table
from hmopt.report.summary import named
from hmopt.report.words import (
    MISSING,
    best_name,
    changes,
    gain_text,
    interval_text,
    metric_name,
    number,
    percent,
    plural,
    scope_phrase,
    scope_title,
    sentence,
    setting_text,
    signed_value,
    symbol,
    value_and_interval,
    value_name,
)
from hmopt.space import Hyperparameter, Space

COLOURS = (OWN, OTHER, THIRD)
"""Of the three stages."""
TENS = 10
"""Seconds from which fractions are not told."""


class AmortizationGapPart(ReportPart):
    """The model alone beside its registrations after refinement."""

    anchor = "amortization-gap"
    place = Place.CHECKS
    needs = ("gap",)

    def section(self, material: Material) -> Section:
        """Return the gap at the best setting, a row for each scope, and a row for each setting."""
        gap = material.gap
        assert gap is not None
        space = material.searched.space
        metric = metric_name(gap.metric.name)
        found = " ".join(_found(gap, space))
        held_out = Table(title=f"Held-out {metric} in each stage", content=_held_out(gap, space))
        settings = Table(title=f"At each {_value(space)}", content=_settings(gap, space))
        return Section(
            title="Amortization gap",
            found=found,
            figures=_figures(gap, space),
            table=_scopes(gap, space),
            notes=_notes(gap, space),
            further=(held_out, settings),
            numbers=_numbers(gap, found),
        )


def _value(space: Space) -> str:
    return value_name(space).removeprefix("a ")


def _stages(gap: GapResult) -> tuple[str, str, str]:
    return "model alone", plural(gap.iterations[REFINED], "iteration"), "converged"


def _found(gap: GapResult, space: Space) -> list[str]:
    here = gap.at_recommended
    _, refined, _ = _stages(gap)
    metric = metric_name(gap.metric.name)
    change = gain_text(here.shortfall[MODEL].estimate)
    model, left = (_above(here, stage) for stage in (MODEL, REFINED))
    found = [
        f"At {setting_text(here.setting)}, best for {scope_phrase(gap.cohort.scope)}, the loss of the model's "
        f"registrations is {model} its minimum. At the minimum, {metric} {changes(gap.metric.name)} by {change}.",
        f"After {refined} of refinement, it is {left} the minimum{_time(here)}.",
        _verdict(gap, space),
    ]
    others = [one for one in gap.scopes if one is not gap.cohort]
    if others:
        found.append(_counted(others))
    return found


def _above(here: SettingGap, stage: int) -> str:
    """Return how far the loss of a stage is above the minimum: as a share, or where that is 0, by how much."""
    excess = here.excess[stage]
    if np.isnan(excess.value):
        return f"{number(here.loss[stage] - here.loss[CONVERGED])} above"
    return f"{_percent_text(excess)} above"


def _time(here: SettingGap) -> str:
    model, refined, _ = here.seconds
    if not np.isfinite([model, refined]).all():
        return ""
    return f", at {_seconds(refined)} per pair instead of {_seconds(model)}"


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= TENS else f"{value:.2g} s"


def _percent_text(share: Mean) -> str:
    """Return a share in percent with its interval, where there is one."""
    if np.isnan(share.value):
        return MISSING
    value, low, high = (100 * one for one in share.estimate)
    text = f"{number(value, 1)} %"
    if np.isnan(low):
        return text
    return f"{text} ({number(low, 1)} to {number(high, 1)} %)"


def _verdict(gap: GapResult, space: Space) -> str:
    """Return whether the best setting of the whole cohort carries over to refined registrations."""
    transfer = gap.cohort.transfers[REFINED]
    answer, _ = gap.cohort.answers
    _, refined, _ = _stages(gap)
    best = f"{best_name(space)} of the model"
    if transfer is None or answer is Answer.TOO_FEW:
        return f"There are too few subjects to test whether {best} carries over to {refined}."
    metric = metric_name(gap.metric.name)
    change = (
        f"{metric} {changes(gap.metric.name)} by {signed_value(transfer.change)} "
        f"({interval_text(transfer.change)})"
    )
    if answer is Answer.CARRIES_OVER:
        carries_over = f"{best} carries over to {refined}"
        if transfer.is_same:
            return f"{carries_over}: both select the same setting in every split."
        if transfer.evidence is Evidence.FOUND:
            return f"{carries_over}: held-out {change}, an improvement."
        return (
            f"{carries_over}: held-out {change}; it loses less than {gap.margin:g} with confidence."
        )
    if answer is Answer.DOES_NOT:
        return f"{best} does not carry over to {refined}: held-out {change}."
    return sentence(
        f"it is inconclusive whether {best} carries over to {refined}: held-out {change}, which is neither a "
        f"significant loss nor shown to be a loss of less than {gap.margin:g}"
    )


def _counted(scopes: Sequence[ScopeGap]) -> str:
    """Return for how many further scopes the best setting carries over to refined registrations."""
    times = Counter(scope.answers[0] for scope in scopes)
    few = times[Answer.TOO_FEW]
    if few == len(scopes):
        return f"The other {plural(few, 'scope')} {'has' if few == 1 else 'have'} too few subjects for a test."
    end = f"; {few} have too few subjects" if few else ""
    return (
        f"Of {plural(len(scopes), 'further scope')}, it carries over for {times[Answer.CARRIES_OVER]}, does not "
        f"carry over for {times[Answer.DOES_NOT]}, and is inconclusive for {times[Answer.OPEN]}{end}."
    )


def _scopes(gap: GapResult, space: Space) -> pd.DataFrame:
    """Return the best setting of each scope in each stage, and whether that of the model carries over."""
    stages = _stages(gap)
    best = best_name(space)
    rows = []
    for scope in gap.scopes:
        row = {"": scope_title(scope.scope)}
        for stage, view in zip(stages, scope.views, strict=True):
            row[f"{best}, {stage} (95 %)"] = _best(view)
        row[_change_of(stages[REFINED], best)] = _change(scope.transfers[REFINED])
        for place in (REFINED, CONVERGED):
            row[f"carries over? {stages[place]}"] = scope.answers[place - 1].value
        rows.append(row)
    return pd.DataFrame(rows)


def _best(view: CurveAnalysis) -> str:
    optimum = view.optimum
    values = []
    for name, value in optimum.setting.items():
        text = value_and_interval(value, optimum.intervals[name])
        values.append(text if len(optimum.setting) == 1 else f"{symbol(name)} = {text}")
    return ", ".join(values)


def _change_of(stage: str, best: str) -> str:
    return f"change with {best} of the model, {stage} (95 %)"


def _change(transfer: Transfer | None) -> str:
    return MISSING if transfer is None else gain_text(transfer.change)


def _held_out(gap: GapResult, space: Space) -> pd.DataFrame:
    stages = _stages(gap)
    rows = []
    for scope in gap.scopes:
        row = {"": scope_title(scope.scope)}
        for stage, score in zip(stages, scope.held_out, strict=True):
            row[f"{stage} (95 %)"] = MISSING if score is None else _score_text(gap, score)
        converged = scope.transfers[CONVERGED]
        row[_change_of(stages[CONVERGED], best_name(space))] = _change(converged)
        rows.append(row)
    return pd.DataFrame(rows)


def _score_text(gap: GapResult, score: Mean) -> str:
    estimate = within_range(gap.metric, score.estimate)
    value = number(estimate.value)
    if np.isnan(estimate.low):
        return value
    return f"{value} ({number(estimate.low)} to {number(estimate.high)})"


def _settings(gap: GapResult, space: Space) -> pd.DataFrame:
    stages = _stages(gap)
    metric = metric_name(gap.metric.name)
    rows = []
    for one in gap.settings:
        row = {"": setting_text(one.setting)}
        row["loss"] = _of_stages([number(loss) for loss in one.loss])
        for place in (MODEL, REFINED):
            row[f"above the minimum, {stages[place]} (95 %)"] = _percent_text(one.excess[place])
        row[metric] = _of_stages([number(score) for score in one.score])
        row[f"gain in {metric} at the minimum (95 %)"] = gain_text(one.shortfall[MODEL].estimate)
        row["folded voxels"] = _of_stages([percent(share) for share in one.folding])
        row["not converged"] = percent(1 - one.converged[CONVERGED])
        rows.append(row)
    return pd.DataFrame(rows)


def _of_stages(texts: Sequence[str]) -> str:
    """Return a cell with what holds for the three stages."""
    return " / ".join(texts)


def _notes(gap: GapResult, space: Space) -> tuple[str, ...]:
    stages = _stages(gap)
    best = best_name(space)
    value = _value(space)
    return (
        f"All three stages were measured on the same {plural(len(gap.record.pairs), 'pair')} of "
        f"{plural(gap.subjects, 'subject')}, at {plural(len(gap.settings), 'setting')}. {best} is the best of "
        "these settings and may differ from that of the search. The refinement of a pair stops when five "
        "iterations lower its loss by less than 0.1 %; for the converged stage, after at most "
        f"{gap.iterations[CONVERGED]} iterations. The loss is the training loss without terms that need labels. "
        "Losses at different settings are not comparable. Cells with three values give the model alone, after "
        "refinement, and converged.",
        f"Does {best} carry over? In each split, {value} is chosen on part of the subjects, once by the scores of "
        f"the model alone and once by those of refined registrations ({stages[REFINED]}, or converged); both are "
        "evaluated by the refined scores of the other subjects. The change is their difference; its 95 % interval "
        "combines a jackknife over subjects with the variation of both chosen settings. P-values are corrected "
        f"within each family of scopes (Holm). {best} carries over if it loses less than {gap.margin:g} "
        f"{metric_name(gap.metric.name)} with confidence (one-sided test at 5 %), whatever it may gain.",
    )


def _numbers(gap: GapResult, found: str) -> dict[str, Any]:
    metric = gap.metric.name
    here = gap.at_recommended
    change = {}
    for scope in gap.scopes:
        transfer = scope.transfers[REFINED]
        change[scope_title(scope.scope)] = None if transfer is None else list(transfer.change)
    numbers: dict[str, Any] = {
        "setting": dict(here.setting),
        "iterations": list(gap.iterations),
        "pairs": len(gap.record.pairs),
        "subjects": gap.subjects,
        "settings": len(gap.settings),
        "loss": list(here.loss),
        "folding": list(here.folding),
        "not_converged": 1 - here.converged[CONVERGED],
        **named("loss_gap", here.excess[MODEL].estimate),
        **named("loss_gap_refined", here.excess[REFINED].estimate),
        **named(f"{metric}_gap", here.shortfall[MODEL].estimate),
        **named(f"{metric}_gap_refined", here.shortfall[REFINED].estimate),
        "carries_over": _answers(gap, REFINED),
        "carries_over_converged": _answers(gap, CONVERGED),
        "change": change,
        "sentence": found,
    }
    refined = gap.cohort.held_out[REFINED]
    score = Estimate(np.nan, np.nan, np.nan)
    if refined is not None:
        score = within_range(gap.metric, refined.estimate)
    refined_numbers = {
        **named(f"{metric}_held_out_refined", score),
        "seconds_per_pair_refined": here.seconds[REFINED],
    }
    return {
        "amortization_gap": {**numbers, **refined_numbers},
        "seconds_per_pair": here.seconds[MODEL],
    }


def _answers(gap: GapResult, stage: int) -> dict[str, str]:
    return {scope_title(scope.scope): scope.answers[stage - 1].value for scope in gap.scopes}


def _figures(gap: GapResult, space: Space) -> dict[str, Figure]:
    figures = {}
    for column, hyperparameter in enumerate(space.hyperparameters):
        figures[f"amortization-gap-{hyperparameter.name}"] = _figure(gap, column, hyperparameter)
    return figures


def _figure(gap: GapResult, column: int, hyperparameter: Hyperparameter) -> Figure:
    """Draw the score in each stage, and how far losses are above the minimum, over one hyperparameter."""
    figure = new_figure(9.6, 3.4)
    scores, excess = figure.subplots(1, 2)
    for view, stage, colour in zip(gap.cohort.views, _stages(gap), COLOURS, strict=True):
        positions = profile(view, column)
        values = view.response.values[positions, column]
        _draw(
            scores,
            values,
            view.response.means[positions],
            view.band[:, positions],
            colour,
            stage,
        )
    at = {one.index: one for one in gap.settings}
    model = gap.cohort.views[MODEL]
    positions = profile(model, column)
    values = model.response.values[positions, column]
    drawn = [at[model.response.settings[position]] for position in positions]
    for place in (MODEL, REFINED):
        estimates = 100 * np.array([one.excess[place].estimate for one in drawn])
        _draw(
            excess,
            values,
            estimates[:, 0],
            estimates[:, 1:].T,
            COLOURS[place],
            _stages(gap)[place],
        )
    scores.set_title(f"{metric_name(gap.metric.name)}, 95 % intervals")
    excess.set_title("Loss above its minimum, %")
    excess.set_ylim(bottom=0)
    for axes in (scores, excess):
        value_axis(axes, hyperparameter)
    legend(figure, scores, columns=3)
    return figure


def _draw(
    axes: Axes, values: np.ndarray, means: np.ndarray, band: np.ndarray, colour: str, title: str
) -> None:
    axes.fill_between(values, *band, color=colour, alpha=0.15, linewidth=0)
    axes.plot(values, means, "o-", color=colour, markersize=3.5, linewidth=1.6, label=title)
