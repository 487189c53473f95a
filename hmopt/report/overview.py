"""The figure of the first page: which setting for which structure, and what it gains."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hmopt.analysis.gain import Gain
from hmopt.analysis.scope_result import ScopeResult
from hmopt.report.figure import GRID, INK, MUTED, OTHER, OWN, PAPER, new_figure, unit_axis
from hmopt.report.words import metric_name, scope_title, shorten, symbol
from hmopt.space import Hyperparameter

ROW = 0.27
"""Height of a row, in inches."""


def draw_optima(
    axes: Axes,
    groups: Sequence[Sequence[ScopeResult]],
    hyperparameter: Hyperparameter,
    common: float | None,
) -> None:
    """Draw each scope's best value with its interval, and the values that are equivalent to it.

    Parameters
    ----------
    axes
        To draw on.
    groups
        Families of scopes, drawn from the top with a gap between them.
    hyperparameter
        Whose values.
    common
        The best single value for all, if there is one.
    """
    name = hyperparameter.name
    if common is not None:
        axes.axvline(
            common,
            color=MUTED,
            linewidth=1.2,
            linestyle=(0, (4, 3)),
            label="best single one for all",
        )
    for place, finding in _places(axes, groups):
        optimum = finding.full.optimum
        equal, sure, value = optimum.equals[name], optimum.intervals[name], optimum.setting[name]
        axes.plot(
            [equal.low, equal.high],
            [place, place],
            color=GRID,
            linewidth=9,
            zorder=1,
            label="equivalent to the best",
        )
        axes.plot(
            [sure.low, sure.high],
            [place, place],
            color=OWN,
            linewidth=2,
            zorder=2,
            label="95 % interval",
        )
        axes.plot(value, place, "o", color=OWN, markersize=7, zorder=4, label=f"{symbol(name)}*")
        if optimum.constrained is not None and optimum.constrained[name] != value:
            (mark,) = axes.plot(
                optimum.constrained[name],
                place,
                "D",
                color=OTHER,
                markerfacecolor=PAPER,
                markersize=5.5,
            )
            mark.set(zorder=3, label="under folding limit")
    unit_axis(axes, symbol(name), hyperparameter.low, hyperparameter.high)


def draw_gains(
    axes: Axes, groups: Sequence[Sequence[ScopeResult]], tested: Mapping[str, Gain]
) -> None:
    """Draw what each scope's own setting gains over the best single one, on held-out subjects.

    Parameters
    ----------
    axes
        To draw on.
    groups
        Families of scopes, drawn from the top with a gap between them.
    tested
        By the scope's name: its gain.
    """
    axes.axvline(0, color=INK, linewidth=1)
    for place, finding in _places(axes, groups):
        if finding.scope.name not in tested:
            continue
        gain = tested[finding.scope.name]
        value, low, high = gain.gain
        colour = OWN if gain.improves else OTHER if gain.harms else MUTED
        axes.plot([low, high], [place, place], color=colour, linewidth=2, zorder=2)
        label = _meaning(gain)
        face = PAPER if colour == MUTED else colour
        axes.plot(
            value,
            place,
            "o",
            color=colour,
            markerfacecolor=face,
            markersize=7,
            zorder=3,
            label=label,
        )
    metric = next(finding.full.response.metric.name for group in groups for finding in group)
    axes.set_xlabel(f"gain in held-out {metric_name(metric)}, 95 % interval")
    axes.locator_params(axis="x", nbins=5)


def _meaning(gain: Gain) -> str:
    if gain.improves:
        return "evidence of a gain"
    return "evidence of a loss" if gain.harms else "no evidence, negligible, or too few subjects"


def optima_figure(
    groups: Sequence[Sequence[ScopeResult]], hyperparameter: Hyperparameter, common: float | None
) -> Figure:
    """Give the figure of best values; parameters as of `draw_optima`."""
    figure = new_figure(5.4, _height(groups))
    axes = figure.subplots()
    draw_optima(axes, groups, hyperparameter, common)
    axes.set_title(f"Which {symbol(hyperparameter.name)}?")
    _legend(figure, 3)
    return figure


def gains_figure(findings: Sequence[ScopeResult], tested: Mapping[str, Gain]) -> Figure:
    """Give the figure of one family's held-out gains; parameters as of `draw_gains`."""
    figure = new_figure(7.2, _height([findings]))
    axes = figure.subplots()
    draw_gains(axes, [findings], tested)
    _legend(figure, 2)
    return figure


def overview_figure(
    groups: Sequence[Sequence[ScopeResult]],
    hyperparameter: Hyperparameter,
    common: float | None,
    tested: Mapping[str, Gain],
) -> Figure:
    """Give best values and gains side by side; parameters as of `draw_optima` and `draw_gains`."""
    figure = new_figure(9.6, _height(groups))
    left, right = figure.subplots(1, 2, sharey=True)
    draw_optima(left, groups, hyperparameter, common)
    draw_gains(right, groups, tested)
    left.set_title(f"Which {symbol(hyperparameter.name)}?")
    right.set_title("Does it matter?")
    right.tick_params(labelleft=False)
    _legend(figure, 4)
    return figure


def _places(axes: Axes, groups: Sequence[Sequence[ScopeResult]]) -> list[tuple[float, ScopeResult]]:
    """Set the rows' names, and give the height of each."""
    places = [
        (-float(number) - 0.6 * gap, finding)
        for number, (gap, finding) in enumerate(
            (gap, finding) for gap, group in enumerate(groups) for finding in group
        )
    ]
    heights = [height for height, _ in places]
    axes.set_yticks(heights, [shorten(scope_title(finding.scope)) for _, finding in places])
    axes.set_ylim(min(heights) - 0.7, 0.7)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return places


def _height(groups: Sequence[Sequence[ScopeResult]]) -> float:
    return ROW * (sum(len(group) for group in groups) + 0.6 * len(groups)) + 1.3


def _legend(figure: Figure, columns: int) -> None:
    """Name each kind of mark once, under the axes."""
    marks = [axes.get_legend_handles_labels() for axes in figure.axes]
    named = {
        label: handle
        for handles, labels in marks
        for handle, label in zip(handles, labels, strict=True)
    }
    figure.legend(
        named.values(), named.keys(), loc="outside lower left", ncols=columns, handlelength=1.6
    )
