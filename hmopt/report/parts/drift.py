"""Drift: whether the best setting still moves at the end of training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hmopt.analysis.drift import Drift, Trend
from hmopt.analysis.resampling import FEWEST_SUBJECTS, Estimate
from hmopt.records import CHECKPOINTS, Checkpoint, steps_at
from hmopt.report.figure import MUTED, OTHER, OWN, PAPER, new_figure
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.words import (
    best_name,
    gain_text,
    listed,
    metric_name,
    number,
    scope_phrase,
    scope_title,
    setting_value,
    shorten,
    signed_value,
    spread,
    symbol,
)
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter

PANELS = 24
"""Most scopes that are drawn."""

COLUMNS = 4
"""Panels side by side."""

NAMED = 6
"""Most drifting scopes that the sentence names."""

PANEL_TITLE = 26
"""Most characters of a panel's title."""

SHARES: dict[Checkpoint, str] = {
    "quarter": "a quarter",
    "half": "half",
    "three-quarters": "three quarters",
    "full": "all",
}

AsGood = Mapping[tuple[Scope, str], tuple[float, float]]
"""By scope and hyperparameter: the lowest and the highest of the values that are as good as the best one."""


class DriftPart(ReportPart):
    """The best setting of each scope at the checkpoints of training."""

    anchor = "drift"
    place = Place.CHECKS
    needs = ("drifts",)

    def section(self, material: Material) -> Section | None:
        """Return the drifts of all scopes but single subjects; None where too few checkpoints were measured."""
        drifts = [drift for drift in material.drifts if "subject" not in dict(drift.scope.criteria)]
        if not drifts:
            return None
        space = material.searched.space
        metric = material.searched.search.metric
        steps = material.searched.steps
        does = "Do" if len(space.names) > 1 else "Does"
        best = best_name(space).replace(", ", " and ")
        figures = {}
        for hyperparameter in space.hyperparameters:
            own = [drift for drift in drifts if drift.hyperparameter == hyperparameter.name]
            figures[f"drift-{hyperparameter.name}"] = drift_figure(own, hyperparameter, steps)
        counts = {"checked": len(drifts), "drifting": _count(drifts)}
        return Section(
            title=f"{does} {best} still drift with training?",
            found=found(drifts, metric, _as_good(material)),
            figures=figures,
            table=pd.DataFrame([_row(drift, steps, metric, material.margin) for drift in drifts]),
            notes=tuple(_notes(drifts, metric, material.margin)),
            numbers={"drift": _numbers(drifts), "drift_of": counts},
        )


def found(drifts: Sequence[Drift], metric: str, as_good: AsGood) -> str:
    """Return what holds for the whole cohort, with what to do, and for how many other scopes the best setting drifts.

    Parameters
    ----------
    drifts
        Of the whole cohort and of other scopes, a drift for each hyperparameter.
    metric
        What decides which setting is best.
    as_good
        The values that are equivalent to the best one.
    """
    whole = [drift for drift in drifts if not drift.scope.criteria]
    others = [drift for drift in drifts if len(drift.scope.criteria) == 1]
    sentences: list[str] = []
    for drift in whole:
        equivalent = as_good.get((drift.scope, drift.hyperparameter))
        sentences.append(_of_one(drift, metric, equivalent))
    if others:
        sentences.append(_of_others(others))
    return " ".join(sentences)


def _of_one(drift: Drift, metric: str, equivalent: tuple[float, float] | None) -> str:
    if drift.trend.drifts:
        return _drifting(drift, equivalent)
    best = f"{symbol(drift.hyperparameter)}* for {scope_phrase(drift.scope)}"
    path = listed([setting_value(value) for value in drift.values])
    was = f"its values at the checkpoints are {path}"
    if drift.trend is Trend.TOO_FEW:
        return f"There are too few subjects ({drift.subjects}) to test whether {best} still drifts; {was}."
    if drift.trend is Trend.SETTLED:
        lost = f"{number(drift.loss.high, 4)} {metric_name(metric)}"
        return (
            f"{best} has settled: {was}, and at the end of training the value from half training loses at most "
            f"{lost}, which is negligible."
        )
    late = _with_interval(drift.late_change)
    return f"There is no evidence that {best} still drifts: {was}, with a change of {late} from half to full training."


def _drifting(drift: Drift, equivalent: tuple[float, float] | None) -> str:
    best = f"{symbol(drift.hyperparameter)}* for {scope_phrase(drift.scope)}"
    throughout = drift.trend is Trend.THROUGHOUT
    change = drift.change if throughout else drift.late_change
    fell = change.value < 0
    verb = "fell" if fell else "rose"
    late = _with_interval(drift.late_change)
    if throughout:
        whole = _with_interval(drift.change)
        said = (
            f"{best} {verb} throughout training, {_from_to(drift.values)} ({whole}); the change in the second half "
            f"alone is within the variation over subjects ({late})"
        )
    else:
        path = _from_to(drift.late_values)
        said = f"{best} {verb} {path} in the second half of training ({late})"
    return f"{said}. Train longer{_or_take(drift, fell, equivalent)}."


def _from_to(values: Sequence[float]) -> str:
    """Return a path in words.

    Examples
    --------
    >>> _from_to([0.7, 0.62, 0.5])
    'from 0.70 via 0.62 to 0.50'
    """
    first, *middle, last = map(setting_value, values)
    between = listed(middle)
    return f"from {first} via {between} to {last}"


def _or_take(drift: Drift, fell: bool, equivalent: tuple[float, float] | None) -> str:
    """Return which value to take without a longer training: the end of the equivalent ones to which it moves."""
    if equivalent is None:
        return ""
    low, high = equivalent
    last = drift.values[-1]
    if fell and low < last:
        return f", or use {setting_value(low)}, the lowest equivalent value"
    if not fell and high > last:
        return f", or use {setting_value(high)}, the highest equivalent value"
    return ""


def _of_others(drifts: Sequence[Drift]) -> str:
    what = _plural(drifts)
    told = [drift for drift in drifts if drift.trend is not Trend.TOO_FEW]
    if not told:
        return f"For {what}, there are too few subjects to test for drift."
    drifting = [drift for drift in told if drift.trend.drifts]
    trends = [drift.trend for drift in told]
    settled = trends.count(Trend.SETTLED)
    if not drifting:
        return f"There is no evidence of drift for any of the {len(told)} {what}; {settled} of them have settled."
    several = len({drift.hyperparameter for drift in drifts}) > 1
    names: list[str] = []
    for drift in drifting[:NAMED]:
        path = _from_to(drift.values)
        if several:
            path = f"{symbol(drift.hyperparameter)}* {path}"
        names.append(f"{scope_title(drift.scope)} ({path})")
    if len(drifting) > NAMED:
        names.append(f"{len(drifting) - NAMED} more")
    count = f"{len(drifting)} of {len(told)} {what}"
    return f"Drift was found for {count}: {listed(names)}. {settled} have settled."


def _plural(drifts: Sequence[Drift]) -> str:
    """Return the noun for several scopes."""
    for drift in drifts:
        kinds = [kind for kind, _ in drift.scope.criteria]
        if kinds != ["label"]:
            return "structures and groups"
    return "structures"


def _as_good(material: Material) -> AsGood:
    found: dict[tuple[Scope, str], tuple[float, float]] = {}
    for finding in material.findings:
        equals = finding.full.optimum.equals
        for name, equivalent in equals.items():
            ends = (equivalent.low, equivalent.high)
            found[finding.scope, name] = ends
    return found


def _row(drift: Drift, steps: int | None, metric: str, margin: float) -> dict[str, str]:
    row = {"": scope_title(drift.scope), "best value of": f"{symbol(drift.hyperparameter)}*"}
    for checkpoint, optimum in zip(drift.checkpoints, drift.optima, strict=True):
        row[_after(checkpoint, steps)] = _optimum(optimum)
    row["change from half to full training, 97.5 % interval"] = gain_text(drift.late_change)
    row[f"loss in {metric_name(metric)} with the best value at half training"] = _loss(
        drift.loss, margin
    )
    row["drifts?"] = drift.trend.title
    return row


def _after(checkpoint: Checkpoint, steps: int | None) -> str:
    if steps is None:
        return f"after {SHARES[checkpoint]} of training"
    return f"after {steps_at(checkpoint, steps):,} steps"


def _optimum(optimum: Estimate) -> str:
    best = setting_value(optimum.value)
    if np.isnan(optimum.low):
        return best
    low = setting_value(optimum.low)
    high = setting_value(optimum.high)
    return f"{best} ({low} to {high})"


def _with_interval(change: Estimate) -> str:
    value = signed_value(change)
    if np.isnan(change.low):
        return value
    return f"{value}, 97.5 % interval {spread(change.low, change.high)}"


def _loss(loss: Estimate, margin: float) -> str:
    value = number(loss.value, 4)
    if np.isnan(loss.high):
        return value
    negligible = ", negligible" if loss.high < margin else ""
    return f"{value} (at most {number(loss.high, 4)}{negligible})"


def _notes(drifts: Sequence[Drift], metric: str, margin: float) -> list[str]:
    judged = [drift for drift in drifts if drift.trend is not Trend.TOO_FEW]
    few = len(drifts) - len(judged)
    notes = [
        "The checkpoints come from a single training: the moving average of the weights after a quarter, half, "
        "three quarters and all of the steps. The learning rate decays to zero, so little changes at the end; a "
        "best value that is stable in the last quarter may still change in a longer training.",
        "A best value drifts if it changes in the same direction from each checkpoint to the next, in the second "
        "half of training or throughout, and the 97.5 % interval of this change excludes 0 (5 % false positives "
        "for both criteria together). Changes are computed within the same bootstrap samples of subjects. Best "
        "values are interpolated between the measured settings, so the last one may differ slightly from the best "
        "measured setting.",
        f"The loss in {metric_name(metric)} is measured at the end of training, with the best value at half "
        f"training. If it is below {margin:g} with confidence, the best value has settled, unless it still changes "
        "by more than the variation over subjects.",
    ]
    if len(judged) > 1:
        notes.append(
            f"{len(judged)} scopes were tested without correction for multiple testing; up to one in twenty drifts "
            "by chance, and chance findings are correlated for scopes that share subjects."
        )
    if few:
        notes.append(
            f"{few} of {len(drifts)} scopes have fewer than {FEWEST_SUBJECTS} subjects, too few for an interval."
        )
    simple = {drift.scope for drift in drifts if len(drift.scope.criteria) <= 1}
    if len(simple) > PANELS:
        notes.append(
            f"{PANELS} of {len(simple)} structures and groups are shown, those with drift first."
        )
    return notes


def _count(drifts: Sequence[Drift]) -> int:
    drifting = [drift for drift in drifts if drift.trend.drifts]
    return len(drifting)


def _numbers(drifts: Sequence[Drift]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for drift in drifts:
        optima = dict(zip(drift.checkpoints, map(list, drift.optima), strict=True))
        of_scope = numbers.setdefault(drift.scope.name, {})
        of_scope[drift.hyperparameter] = {
            "optima": optima,
            "change": list(drift.change),
            "late_change": list(drift.late_change),
            "loss": list(drift.loss),
            "subjects": drift.subjects,
            "says": drift.trend.value,
        }
    return numbers


def drift_figure(
    drifts: Sequence[Drift], hyperparameter: Hyperparameter, steps: int | None
) -> Figure:
    """Draw the best value against steps, a panel for each scope: the whole cohort first, then those that drift.

    Products of scopes are left out.

    Parameters
    ----------
    drifts
        Of one hyperparameter.
    hyperparameter
        Whose range is drawn.
    steps
        Of the whole training; None draws shares of it.
    """
    simple = [drift for drift in drifts if len(drift.scope.criteria) <= 1] or drifts

    def cohort_then_drifting(drift: Drift) -> tuple[bool, bool]:
        return bool(drift.scope.criteria), not drift.trend.drifts

    drawn = sorted(simple, key=cohort_then_drifting)[:PANELS]
    count = len(drawn)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = new_figure(2.55 * columns + 0.5, 1.75 * rows + 0.6)
    panels = figure.subplots(
        rows,
        columns,
        sharex=True,
        sharey=True,
        squeeze=False,
    ).ravel()
    for axes, drift in zip(panels, drawn, strict=False):
        _draw(axes, drift, hyperparameter, steps)
    for axes in panels[max(count - columns, 0) : count]:
        axes.tick_params(labelbottom=True)
    for axes in panels[count:]:
        axes.set_visible(False)
    label = "share of training, %" if steps is None else "optimizer steps"
    figure.supxlabel(label, fontsize=10)
    figure.supylabel(f"{symbol(hyperparameter.name)}*, 95 % interval", fontsize=10)
    return figure


def _draw(axes: Axes, drift: Drift, hyperparameter: Hyperparameter, steps: int | None) -> None:
    total = 100 if steps is None else steps
    places = [steps_at(checkpoint, total) for checkpoint in drift.checkpoints]
    colour = OTHER if drift.trend.drifts else OWN
    face = colour if drift.trend.drifts else PAPER
    for place, optimum in zip(places, drift.optima, strict=True):
        ends = [optimum.low, optimum.high]
        axes.plot(
            [place, place],
            ends,
            color=colour,
            linewidth=2,
            alpha=0.45,
        )
    axes.plot(places, drift.values, "-", color=colour, linewidth=1.4)
    axes.plot(
        places,
        drift.values,
        "o",
        color=colour,
        markerfacecolor=face,
        markersize=6,
    )
    margin = 0.05 * (hyperparameter.high - hyperparameter.low)
    ticks = [steps_at(checkpoint, total) for checkpoint in CHECKPOINTS if checkpoint != "quarter"]
    axes.set_ylim(hyperparameter.low - margin, hyperparameter.high + margin)
    axes.set_xlim(0, 1.08 * total)
    axes.set_xticks(ticks)
    axes.set_title(shorten(scope_title(drift.scope), PANEL_TITLE))
    last = hyperparameter.to_unit_interval(drift.values[-1])
    height = 0.05 if last > 0.5 else 0.88  # where the line does not end
    text_colour = OTHER if drift.trend.drifts else MUTED
    look: dict[str, Any] = {
        "ha": "right",
        "fontsize": 8,
        "color": text_colour,
        "transform": axes.transAxes,
    }
    axes.text(0.97, height, drift.trend.title, **look)
