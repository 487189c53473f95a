"""Curves: score and folding of a scope along each hyperparameter, and the loss during training."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hmopt.analysis.optimum import CurveAnalysis, Optimum
from hmopt.analysis.scope_result import ScopeResult
from hmopt.catalogue.metrics import FOLDING
from hmopt.report.figure import GRID, MUTED, OTHER, OWN, THIRD, new_figure, value_axis
from hmopt.report.words import metric_name, symbol
from hmopt.space import Hyperparameter, Setting

POINTS = 400
"""Most rows of a training log that are drawn or kept with the results."""

AXIS_TITLES = {"hspace": 0.12, "wspace": 0.08}


def response_figure(finding: ScopeResult, folding_limit: float) -> Figure:
    """Draw the score with its 95 % band over the folding, one column for each hyperparameter.

    With several hyperparameters, each value stands for the best setting that has it. Choices of a
    categorical one stand side by side; settings at which a hyperparameter is inactive are not in
    its column.
    """
    hyperparameters = finding.full.response.space.hyperparameters
    columns = len(hyperparameters)
    width = 0.8 + 4.4 * columns
    left = 0.7 / width
    right = 1 - 0.1 / width
    figure = Figure(figsize=(width, 3.9))
    figure.subplots_adjust(
        left=left,
        right=right,
        bottom=0.13,
        top=0.98,
        **AXIS_TITLES,
    )
    rows = figure.subplots(
        2,
        columns,
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=(2.2, 1),
    )
    for column, hyperparameter in enumerate(hyperparameters):
        scores, folding = rows[:, column]
        _draw_scores(scores, finding, column)
        _draw_folding(folding, finding.full, column, folding_limit)
        value_axis(folding, hyperparameter)
    scores, folding = rows[:, 0]
    scores.set_ylabel(metric_name(finding.full.response.metric.name))
    folding.set_ylabel("folding, %")
    figure.align_ylabels(rows[:, 0])
    scores.legend(loc="best", handlelength=1.8)
    return figure


def profile(view: CurveAnalysis, column: int) -> NDArray[np.intp]:
    """Return the positions of the best setting for each value of one hyperparameter, by that value."""
    response = view.response
    values = response.values[:, column]
    order = np.lexsort((response.losses, values))
    order = order[np.isfinite(values[order])]
    steps = np.diff(values[order])
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = steps > 0
    return np.asarray(order[is_first])


def _draw_scores(axes: Axes, finding: ScopeResult, column: int) -> None:
    view = finding.full
    positions = profile(view, column)
    values = view.response.values[positions, column]
    means = view.response.means[positions]
    low, high = view.band[:, positions]
    hyperparameter = view.response.space.hyperparameters[column]
    if hyperparameter.is_ordered:
        axes.fill_between(
            values,
            low,
            high,
            color=OWN,
            alpha=0.15,
            linewidth=0,
            label="95 % interval",
        )
    else:
        axes.vlines(values, low, high, color=OWN, linewidth=1.6, label="95 % interval")
    axes.plot(
        values,
        means,
        f"o{_line('-', hyperparameter)}",
        color=OWN,
        markersize=3.5,
        linewidth=1.6,
        label="mean" if finding.half is None else "full training",
    )
    if finding.half is not None:
        _draw_half(axes, finding.half, column)
    _draw_best(axes, view, column)


def _draw_half(axes: Axes, half: CurveAnalysis, column: int) -> None:
    positions = profile(half, column)
    values = half.response.values[positions, column]
    means = half.response.means[positions]
    axes.plot(
        values,
        means,
        "--",
        color=MUTED,
        linewidth=1.3,
        label="half training",
    )


def _line(style: str, hyperparameter: Hyperparameter) -> str:
    """Return the style of a line between values; none between choices."""
    return style if hyperparameter.is_ordered else ""


def _draw_best(axes: Axes, view: CurveAnalysis, column: int) -> None:
    optimum = view.optimum
    hyperparameter = view.response.space.hyperparameters[column]
    name = hyperparameter.name
    if name not in optimum.setting:
        return
    best = _coordinate(hyperparameter, optimum.setting)
    score = optimum.score.value
    look: dict[str, Any] = {"color": THIRD, "markersize": 14, "zorder": 5}
    axes.plot(best, score, "*", label=f"{symbol(name)}*", **look)
    constrained = optimum.constrained
    if constrained is None or constrained == optimum.setting or name not in constrained:
        return
    label = under_limits(optimum)
    axes.plot(
        _coordinate(hyperparameter, constrained),
        optimum.score_constrained,
        "D",
        color=OTHER,
        zorder=5,
        label=label,
    )


def under_limits(optimum: Optimum) -> str:
    """Return what a figure calls the best setting that obeys the limits."""
    has_further = any(name != FOLDING for name in optimum.limited)
    return "under the limits" if has_further else "under the folding limit"


def _coordinate(hyperparameter: Hyperparameter, setting: Setting) -> float:
    """Return where a setting lies on a hyperparameter's axis: of a choice its place."""
    place = hyperparameter.index(setting[hyperparameter.name])
    return hyperparameter.coordinate(place)


def _draw_folding(axes: Axes, view: CurveAnalysis, column: int, folding_limit: float) -> None:
    positions = profile(view, column)
    response = view.response
    values = response.values[positions, column]
    percentages = 100 * response.folding[positions]
    hyperparameter = response.space.hyperparameters[column]
    axes.plot(
        values,
        percentages,
        f"s{_line('-', hyperparameter)}",
        color=OTHER,
        markersize=3,
        linewidth=1.3,
    )
    axes.axhline(
        100 * folding_limit,
        color=MUTED,
        linewidth=1,
        linestyle=":",
    )
    axes.set_ylim(bottom=0)


def thinned(training: pd.DataFrame) -> pd.DataFrame:
    """Return at most about `POINTS` rows: means of consecutive steps, and every checkpoint of the tuning subjects.

    Examples
    --------
    >>> len(thinned(pd.DataFrame({"step": range(10_000), "loss": 1.0})))
    400
    """
    count = len(training)
    if count <= POINTS:
        return training
    block = np.arange(count) * POINTS // count
    blocks = training.groupby(block)
    thin = blocks.mean(numeric_only=True)
    for clock in ("step", "minutes"):
        if clock in training:
            thin[clock] = blocks[clock].max()
    return thin.reset_index(drop=True)


def training_figure(training: pd.DataFrame) -> Figure | None:
    """Draw the loss over steps, and the Dice of the tuning subjects where it was measured; None without a loss."""
    if "loss" not in training or training["loss"].isna().all():
        return None
    tuning = training.iloc[:0]
    if "tune_dice" in training:
        tuning = training.dropna(subset=["tune_dice"])
    if tuning.empty:
        figure = new_figure(5.4, 2.9)
        _draw_loss(figure.subplots(), training)
        return figure
    figure = new_figure(9.6, 2.9)
    left, right = figure.subplots(1, 2)
    _draw_loss(left, training)
    right.plot(tuning["step"], tuning["tune_dice"], "o-", color=OTHER, markersize=4)
    right.set(title="Dice on tuning subjects", xlabel="step")
    return figure


def _draw_loss(axes: Axes, training: pd.DataFrame) -> None:
    steps = training["step"]
    loss = training["loss"]
    span = max(2, len(training) // 25)
    running_mean = loss.ewm(span=span).mean()
    axes.plot(
        steps,
        loss,
        color=GRID,
        linewidth=0.8,
        label="each step",
    )
    axes.plot(
        steps,
        running_mean,
        color=OWN,
        linewidth=1.8,
        label="running mean",
    )
    low, high = np.nanquantile(loss, [0.005, 0.995])
    if low < high:  # a log of a single row has no range
        axes.set_ylim(low, high)
    axes.set(title="Loss", xlabel="step")
    axes.legend()
