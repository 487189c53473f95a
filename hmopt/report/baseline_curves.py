"""Curves of the hypermorph over those of separately trained networks."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hmopt.analysis.agreement import Agreement
from hmopt.report.figure import GRID, INK, MUTED, OTHER, OWN, PAPER, new_figure, unit_axis
from hmopt.report.words import metric_name, scope_title, shorten, symbol
from hmopt.space import Space

WIDE = 4
"""Small figures in a row."""


def agreement_figure(agreement: Agreement, space: Space, metric: str) -> Figure:
    """Give both curves with two standard deviations over seeds, and their gap with its interval below.

    Along the first hyperparameter, where all others are at their default.
    """
    figure = new_figure(5.6, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    draw_curves(upper, agreement, space)
    _draw_gap(lower, agreement, space)
    upper.set_ylabel(metric_name(metric))
    lower.set_ylabel("gap")
    first = space.hyperparameters[0]
    unit_axis(lower, symbol(first.name), first.low, first.high)
    figure.align_ylabels()
    _legend(figure, upper, lower)
    return figure


def labels_figure(agreements: Sequence[Agreement], space: Space, metric: str) -> Figure:
    """Give a small figure of both curves for each label."""
    rows, columns = math.ceil(len(agreements) / WIDE), min(WIDE, len(agreements))
    figure = new_figure(2.4 * columns, 1.75 * rows + 0.6)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    first = space.hyperparameters[0]
    for place, axes in enumerate(grid.flat):
        if place >= len(agreements):
            axes.remove()
            continue
        draw_curves(axes, agreements[place], space, size=3.0)
        axes.set_title(shorten(scope_title(agreements[place].scope), 26), fontsize=9)
        axes.tick_params(labelsize=8, labelbottom=place + columns >= len(agreements))
        unit_axis(
            axes,
            symbol(first.name) if place + columns >= len(agreements) else "",
            first.low,
            first.high,
        )
    figure.supylabel(metric_name(metric), fontsize=10)
    _legend(figure, grid[0, 0])
    return figure


def draw_curves(axes: Axes, agreement: Agreement, space: Space, size: float = 5.0) -> None:
    """Draw the curve of the hypermorph as a line and that of separate networks as marks, each with its seeds' band."""
    places, values = along_first(agreement, space)
    for scores, spread, colour, look, name in (
        (agreement.amortized, agreement.amortized_spread, OWN, "-", "hypermorph"),
        (agreement.separate, agreement.seed_spread, OTHER, "s--", "separate networks"),
    ):
        mean, wide = scores[places], 2 * np.nan_to_num(spread[places])
        if wide.any():
            axes.fill_between(
                values, mean - wide, mean + wide, color=colour, alpha=0.15, linewidth=0
            )
        face = PAPER if colour == OTHER else colour
        axes.plot(
            values,
            mean,
            look,
            color=colour,
            linewidth=1.5,
            markersize=size,
            markerfacecolor=face,
            label=name,
        )


def along_first(agreement: Agreement, space: Space) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Give the places of the settings where all hyperparameters but the first are at their default, and its values."""
    first, *others = space.names
    default = space.setting(space.index(space.default))
    on_line = [
        all(setting[name] == default[name] for name in others) for setting in agreement.settings
    ]
    places = np.flatnonzero(on_line)
    return places, np.array([agreement.settings[place][first] for place in places])


def _draw_gap(axes: Axes, agreement: Agreement, space: Space) -> None:
    places, values = along_first(agreement, space)
    gaps = np.array([gap.estimate for gap in agreement.gaps])[places]
    spread = 2 * np.nan_to_num(agreement.seed_spread[places])
    axes.axhline(0, color=INK, linewidth=1)
    if spread.any():
        axes.fill_between(
            values, -spread, spread, color=GRID, linewidth=0, label="two deviations over seeds"
        )
    ends = np.abs(gaps[:, 1:] - gaps[:, :1]).T
    axes.errorbar(
        values,
        gaps[:, 0],
        yerr=ends,
        fmt="o",
        color=MUTED,
        markersize=4.5,
        capsize=2.5,
        label="separate − hypermorph",
    )


def _legend(figure: Figure, *drawn: Axes) -> None:
    marks = [axes.get_legend_handles_labels() for axes in drawn]
    named = {
        label: handle
        for handles, labels in marks
        for handle, label in zip(handles, labels, strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="outside lower left", ncols=2, handlelength=2.2)
