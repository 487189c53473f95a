"""Whether the best setting still moves at the end of training."""

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
from hmopt.report.section import Section
from hmopt.report.words import (
    listed,
    metric_name,
    number,
    scope_title,
    setting_value,
    shorten,
    signed,
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


def drift_section(material: Material) -> Section | None:
    """Return the section; None where too few checkpoints of the training were measured."""
    drifts = [drift for drift in material.drifts if "subject" not in dict(drift.scope.criteria)]
    if not drifts:
        return None
    steps = material.searched.steps
    figures = {
        f"drift-{hyperparameter.name}": drift_figure(
            [drift for drift in drifts if drift.hyperparameter == hyperparameter.name],
            hyperparameter,
            steps,
        )
        for hyperparameter in material.searched.space.hyperparameters
    }
    metric = material.searched.search.metric
    names = listed([f"{symbol(name)}*" for name in material.searched.space.names])
    return Section(
        anchor="drift",
        title=f"{'Do' if len(material.searched.space.names) > 1 else 'Does'} {names} still drift with training?",
        found=found(drifts, metric, _equally_good(material)),
        figures=figures,
        table=pd.DataFrame([_row(drift, steps, metric, material.margin) for drift in drifts]),
        notes=tuple(_notes(drifts, metric, material.margin)),
        numbers={
            "drift": _numbers(drifts),
            "drift_of": {"checked": len(drifts), "drifting": _count(drifts)},
        },
    )


def found(
    drifts: Sequence[Drift],
    metric: str,
    equally_good: Mapping[tuple[Scope, str], tuple[float, float]],
) -> str:
    """Return what holds for all together, with what to do, and for how many others the best setting drifts.

    Parameters
    ----------
    drifts
        Of all together and of other scopes, a drift for each hyperparameter.
    metric
        What decides which setting is best.
    equally_good
        By scope and hyperparameter: the lowest and the highest of the values that are as good as the best one.
    """
    together = [drift for drift in drifts if not drift.scope.criteria]
    others = [drift for drift in drifts if len(drift.scope.criteria) == 1]
    sentences = [
        _of_one(drift, metric, equally_good.get((drift.scope, drift.hyperparameter)))
        for drift in together
    ]
    if others:
        sentences.append(_of_others(others))
    return " ".join(sentences)


def _of_one(drift: Drift, metric: str, equal: tuple[float, float] | None) -> str:
    best, title = f"{symbol(drift.hyperparameter)}*", scope_title(drift.scope)
    path = listed([setting_value(value) for value in drift.values])
    if drift.trend is Trend.TOO_FEW:
        return (
            f"Too few subjects to say whether {best} for {title} still drifts ({drift.subjects}): over the checkpoints "
            f"of the training it was {path}."
        )
    late = _with_interval(drift.late_change)
    if drift.trend is Trend.SETTLED:
        return (
            f"{best} for {title} settled: over the checkpoints of the training it was {path}, and at the end that of "
            f"half training loses at most {number(drift.loss.high, 4)} {metric_name(metric)}, which is negligible."
        )
    if drift.trend is Trend.NONE:
        return (
            f"There is no evidence that {best} for {title} still drifts: over the checkpoints of the training it was "
            f"{path}; from half to full training it changed by {late}."
        )
    fell = (
        drift.change.value < 0 if drift.trend is Trend.THROUGHOUT else drift.late_change.value < 0
    )
    verb = "fell" if fell else "rose"
    if drift.trend is Trend.STILL:
        said = f"{best} for {title} {verb} {_from_to(drift.late_values)} in the second half of training ({late})"
    else:
        whole = _with_interval(drift.change)
        said = (
            f"{best} for {title} {verb} all through training, {_from_to(drift.values)} ({whole}), in its second half "
            f"by no more than subjects explain ({late})"
        )
    return f"{said}: train longer{_or_take(drift, fell, equal)}."


def _from_to(values: Sequence[float]) -> str:
    """Return a path in words.

    Examples
    --------
    >>> _from_to([0.7, 0.62, 0.5])
    'from 0.70 over 0.62 to 0.50'
    """
    first, *middle, last = [setting_value(value) for value in values]
    return f"from {first} over {listed(middle)} to {last}"


def _or_take(drift: Drift, fell: bool, equal: tuple[float, float] | None) -> str:
    """Return which value to take without a longer training: the end of the equally good ones to which it moves."""
    if equal is None:
        return ""
    low, high = equal
    end = low if fell else high
    beyond = end < drift.values[-1] if fell else end > drift.values[-1]
    if not beyond:
        return ""
    return f", or take {setting_value(end)}, the {'lowest' if fell else 'highest'} value that is as good"


def _of_others(drifts: Sequence[Drift]) -> str:
    told = [drift for drift in drifts if drift.trend is not Trend.TOO_FEW]
    drifting = [drift for drift in told if drift.trend.drifts]
    what = _plural(drifts)
    if not told:
        return f"For {what} there are too few subjects to say."
    settled = sum(drift.trend is Trend.SETTLED for drift in told)
    if not drifting:
        return f"There is no evidence of drift for any of the {len(told)} {what}; for {settled} it settled."
    several = len({drift.hyperparameter for drift in drifts}) > 1
    names = [
        f"{scope_title(drift.scope)} ({f'{symbol(drift.hyperparameter)}* ' if several else ''}{_from_to(drift.values)})"
        for drift in drifting[:NAMED]
    ]
    if len(drifting) > NAMED:
        names.append(f"{len(drifting) - NAMED} more")
    return f"It drifts for {len(drifting)} of {len(told)} {what}: {listed(names)}. For {settled} it settled."


def _plural(drifts: Sequence[Drift]) -> str:
    """Return what scopes are called together."""
    if all(drift.scope.label is not None and len(drift.scope.criteria) == 1 for drift in drifts):
        return "structures"
    return "structures and groups"


def _equally_good(material: Material) -> dict[tuple[Scope, str], tuple[float, float]]:
    return {
        (finding.scope, name): (equal.low, equal.high)
        for finding in material.findings
        for name, equal in finding.full.optimum.equals.items()
    }


def _row(drift: Drift, steps: int | None, metric: str, margin: float) -> dict[str, str]:
    optima = {
        _after(checkpoint, steps): _optimum(optimum)
        for checkpoint, optimum in zip(drift.checkpoints, drift.optima, strict=True)
    }
    return {
        "": scope_title(drift.scope),
        "of": f"{symbol(drift.hyperparameter)}*",
        **optima,
        "change from half to full": _with_interval(drift.late_change),
        f"{metric_name(metric)} lost by that of half training": _loss(drift.loss, margin),
        "drifts?": drift.trend.value,
    }


def _after(checkpoint: Checkpoint, steps: int | None) -> str:
    if steps is None:
        return f"after {SHARES[checkpoint]} of training"
    return f"after {steps_at(checkpoint, steps):,} steps"


def _optimum(optimum: Estimate) -> str:
    if np.isnan(optimum.low):
        return setting_value(optimum.value)
    return f"{setting_value(optimum.value)} ({setting_value(optimum.low)} to {setting_value(optimum.high)})"


def _with_interval(change: Estimate) -> str:
    """Return a change with its interval, in digits that a step of the lattice needs."""
    value = signed(change.value)
    return (
        value
        if np.isnan(change.low)
        else f"{value}, 97.5 % interval {spread(change.low, change.high)}"
    )


def _loss(loss: Estimate, margin: float) -> str:
    value = number(loss.value, 4)
    if np.isnan(loss.high):
        return value
    negligible = loss.high < margin
    return f"{value} (at most {number(loss.high, 4)}{', negligible' if negligible else ''})"


def _notes(drifts: Sequence[Drift], metric: str, margin: float) -> list[str]:
    judged = [drift for drift in drifts if drift.trend is not Trend.TOO_FEW]
    few = len(drifts) - len(judged)
    notes = [
        "The checkpoints are of one training: the running average of the weights after a quarter, half, three quarters "
        "and all of the steps. The learning rate falls to zero towards the end, so that little moves there: that the "
        "best value stands still in the last quarter does not say that a longer training would give the same one.",
        "It drifts where it moves the same way from each checkpoint to the next, in the second half of training or in "
        "the whole of it, and the 97.5 % interval of that change leaves out 0 (the two ways share 5 % of false "
        "alarms). Changes are within the same samples of the subjects. Between the values that were measured, scores "
        "follow a smooth curve: the last best value here "
        "can differ a little from the best measured one.",
        f"What is lost is {metric_name(metric)} at the end of training, if the best value of half training is taken. "
        f"Where it is surely less than {margin:g}, the best value settled, unless it still "
        "moves by more than subjects explain: then longer training gives another value, of little consequence here.",
    ]
    if len(judged) > 1:
        notes.append(
            f"{len(judged)} questions were asked without correction: up to one of twenty says yes by chance, where "
            "scopes share subjects several of them together."
        )
    if few:
        notes.append(
            f"For {few} of {len(drifts)} fewer than {FEWEST_SUBJECTS} subjects are too few for an interval."
        )
    simple = {drift.scope for drift in drifts if len(drift.scope.criteria) <= 1}
    if len(simple) > PANELS:
        notes.append(
            f"Of {len(simple)} structures and groups {PANELS} are drawn, those that drift first."
        )
    return notes


def _count(drifts: Sequence[Drift]) -> int:
    return sum(drift.trend.drifts for drift in drifts)


def _numbers(drifts: Sequence[Drift]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for drift in drifts:
        of_scope = numbers.setdefault(drift.scope.name, {})
        optima = zip(drift.checkpoints, drift.optima, strict=True)
        of_scope[drift.hyperparameter] = {
            "optima": {checkpoint: list(optimum) for checkpoint, optimum in optima},
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
    """Return the best value against steps, a panel for each scope: all together first, then those that drift.

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
    in_order = sorted(
        simple, key=lambda drift: (bool(drift.scope.criteria), not drift.trend.drifts)
    )
    drawn = in_order[:PANELS]
    columns = min(COLUMNS, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = new_figure(2.55 * columns + 0.5, 1.75 * rows + 0.6)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, drift in zip(panels.flat, drawn, strict=False):
        _draw(axes, drift, hyperparameter, steps)
    for axes in panels.flat[len(drawn) :]:
        axes.set_visible(False)
    for axes in panels.flat[max(len(drawn) - columns, 0) : len(drawn)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel(
        "share of the training, %" if steps is None else "optimizer steps", fontsize=10
    )
    figure.supylabel(f"{symbol(hyperparameter.name)}*, 95 % interval", fontsize=10)
    return figure


def _draw(axes: Axes, drift: Drift, hyperparameter: Hyperparameter, steps: int | None) -> None:
    total = 100 if steps is None else steps
    places = [steps_at(checkpoint, total) for checkpoint in drift.checkpoints]
    values = np.array(drift.values)
    colour, said = (OTHER, OTHER) if drift.trend.drifts else (OWN, MUTED)
    for place, optimum in zip(places, drift.optima, strict=True):
        axes.plot(
            [place, place], [optimum.low, optimum.high], color=colour, linewidth=2, alpha=0.45
        )
    axes.plot(places, values, "-", color=colour, linewidth=1.4)
    face = colour if drift.trend.drifts else PAPER
    axes.plot(places, values, "o", color=colour, markerfacecolor=face, markersize=6)
    margin = 0.05 * (hyperparameter.high - hyperparameter.low)
    axes.set_ylim(hyperparameter.low - margin, hyperparameter.high + margin)
    axes.set_xlim(0, 1.08 * total)
    axes.set_xticks(
        [steps_at(checkpoint, total) for checkpoint in CHECKPOINTS if checkpoint != "quarter"]
    )
    axes.set_title(shorten(scope_title(drift.scope), PANEL_TITLE))
    last = hyperparameter.to_unit_interval(drift.values[-1])
    height = 0.05 if last > 0.5 else 0.88  # where the line does not end
    axes.text(
        0.97,
        height,
        drift.trend.value,
        transform=axes.transAxes,
        ha="right",
        fontsize=8,
        color=said,
    )
