"""Response curves of a scope: score and folding along each hyperparameter."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hmopt.analysis.optimum import CurveAnalysis
from hmopt.analysis.scope_result import ScopeResult
from hmopt.report.figure import MUTED, OTHER, OWN, THIRD, unit_axis
from hmopt.report.words import metric_name, symbol


def response_figure(finding: ScopeResult, folding_limit: float) -> Figure:
    """Give score (with its points and 95 % band) over folding, a column for each hyperparameter.

    Where there are several hyperparameters, each value stands for the best setting that has it.
    """
    hyperparameters = finding.full.response.space.hyperparameters
    width = 0.8 + 4.4 * len(hyperparameters)
    figure = Figure(figsize=(width, 3.9))
    figure.subplots_adjust(
        left=0.7 / width, right=1 - 0.1 / width, bottom=0.13, top=0.98, hspace=0.12, wspace=0.08
    )
    grid = figure.subplots(
        2, len(hyperparameters), sharex="col", sharey="row", squeeze=False, height_ratios=(2.2, 1)
    )
    for column, hyperparameter in enumerate(hyperparameters):
        upper, lower = grid[0, column], grid[1, column]
        _draw_scores(upper, finding, column)
        _draw_folding(lower, finding.full, column, folding_limit)
        unit_axis(lower, symbol(hyperparameter.name), hyperparameter.low, hyperparameter.high)
    metric = finding.full.response.metric.name
    grid[0, 0].set_ylabel(metric_name(metric))
    grid[1, 0].set_ylabel("folding, %")
    figure.align_ylabels(grid[:, 0])
    grid[0, 0].legend(loc="best", handlelength=1.8)
    return figure


def profile(view: CurveAnalysis, column: int) -> NDArray[np.intp]:
    """Give the places of the settings to draw along one hyperparameter, the best one for each of its values."""
    values, losses = view.response.values[:, column], view.response.losses
    order = np.lexsort((losses, values))
    first = np.append(True, np.diff(values[order]) > 0)
    return np.asarray(order[first])


def _draw_scores(axes: Axes, finding: ScopeResult, column: int) -> None:
    view, half = finding.full, finding.half
    places = profile(view, column)
    values, curve = view.response.values[places, column], view.response.means[places]
    axes.fill_between(values, *view.band[:, places], color=OWN, alpha=0.15, linewidth=0)
    axes.plot(values, curve, "o-", color=OWN, markersize=3.5, linewidth=1.6, label="full training")
    if half is not None:
        rows = profile(half, column)
        halfway = half.response.values[rows, column], half.response.means[rows]
        axes.plot(*halfway, "--", color=MUTED, linewidth=1.3, label="half training")
    optimum = view.optimum
    name = view.response.space.names[column]
    axes.plot(
        optimum.setting[name],
        optimum.score.value,
        "*",
        color=THIRD,
        markersize=14,
        zorder=5,
        label=f"{symbol(name)}*",
    )
    if optimum.constrained is not None and optimum.constrained != optimum.setting:
        place = optimum.constrained[name]
        axes.plot(
            place,
            optimum.score_constrained,
            "D",
            color=OTHER,
            zorder=5,
            label="under folding limit",
        )


def _draw_folding(axes: Axes, view: CurveAnalysis, column: int, folding_limit: float) -> None:
    places = profile(view, column)
    values = view.response.values[places, column]
    axes.plot(
        values, 100 * view.response.folding[places], "s-", color=OTHER, markersize=3, linewidth=1.3
    )
    axes.axhline(100 * folding_limit, color=MUTED, linewidth=1, linestyle=":")
    axes.set_ylim(bottom=0)
