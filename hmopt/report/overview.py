"""Figures of best settings and held-out gains, one row for each scope."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.gain import Gain
from hmopt.analysis.optimum import Optimum
from hmopt.analysis.scope_result import ScopeResult
from hmopt.report.curves import under_limits
from hmopt.report.figure import (
    GRID,
    INK,
    MUTED,
    OTHER,
    OWN,
    PAPER,
    THIRD,
    legend,
    new_figure,
    value_axis,
)
from hmopt.report.material import Material
from hmopt.report.words import metric_name, scope_title, shorten, symbol
from hmopt.space import Hyperparameter, Setting

ROW = 0.27
"""Height of a row, in inches."""

GAP = 0.6
"""Space between two families, in rows."""

DASHED: Any = (0, (4, 3))

Groups = Sequence[Sequence[ScopeResult]]
"""Families of scopes, drawn from the top with a gap between them."""


def front_groups(material: Material) -> list[list[ScopeResult]]:
    """Return the families of the first page, each in the order of reading."""
    return [
        sorted_for_reading(kinds, found)
        for kinds, found in by_kinds(material.findings).items()
        if on_front(kinds)
    ]


def on_front(kinds: tuple[str, ...]) -> bool:
    """Return whether a family stands on the first page: single criteria other than subjects."""
    return len(kinds) <= 1 and "subject" not in kinds


def sorted_for_reading(kinds: tuple[str, ...], findings: list[ScopeResult]) -> list[ScopeResult]:
    """Return structures by their best values; other families in the order of the table."""
    if kinds != ("label",):
        return findings

    def by_best_value(finding: ScopeResult) -> tuple[tuple[float, ...], str]:
        index = finding.full.optimum.index
        best = tuple(finding.full.response.space.coordinates(index))
        return best, finding.scope.name

    return sorted(findings, key=by_best_value)


def overview_figure(
    material: Material, hyperparameter: Hyperparameter, groups: Groups | None = None
) -> Figure:
    """Draw best values and held-out gains side by side.

    Parameters
    ----------
    material
        The analysed study.
    hyperparameter
        Whose values are drawn.
    groups
        Families of scopes; None: those of the first page.
    """
    groups = groups or front_groups(material)
    figure = new_figure(11.5, _height(groups))
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_optima(left, material, hyperparameter, groups)
    _draw_gains(right, material, groups)
    left.set_title(f"Best {symbol(hyperparameter.name)}")
    right.set_title("Held-out gain over the single best setting")
    right.tick_params(labelleft=False)
    legend(figure, columns=4)
    return figure


def optima_figure(
    material: Material, hyperparameter: Hyperparameter, groups: Groups | None = None
) -> Figure:
    """Draw the best values alone; parameters as of `overview_figure`."""
    groups = groups or front_groups(material)
    figure = new_figure(5.4, _height(groups))
    axes = figure.subplots()
    _draw_optima(axes, material, hyperparameter, groups)
    axes.set_title(f"Best {symbol(hyperparameter.name)}")
    legend(figure, columns=2)
    return figure


def gains_figure(material: Material, findings: Sequence[ScopeResult]) -> Figure:
    """Draw the held-out gains of one family of scopes."""
    figure = new_figure(7.2, _height([findings]))
    axes = figure.subplots()
    _draw_gains(axes, material, [findings])
    legend(figure, columns=2)
    return figure


def subjects_figure(material: Material, findings: Sequence[ScopeResult]) -> Figure:
    """Draw a histogram of the subjects' best values over a strip of their gains, along the first hyperparameter.

    All subjects have the same mark: no interval is corrected for the number of subjects, so that some leave out 0 by
    chance.

    Parameters
    ----------
    material
        The analysed study.
    findings
        The scopes of one family of subjects.
    """
    hyperparameter = material.searched.space.hyperparameters[0]
    name = hyperparameter.name
    places = [_place(finding.full.optimum.setting, hyperparameter) for finding in findings]
    best = np.array(places, dtype=float)  # NaN where the hyperparameter is inactive
    figure = new_figure(5.4, 4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.4))
    edges: NDArray[np.floating] = np.linspace(hyperparameter.low, hyperparameter.high, 21)
    if not hyperparameter.is_ordered:  # a bar for each choice
        edges = np.arange(hyperparameter.points + 1) - 0.5
    upper.hist(
        best[np.isfinite(best)],
        bins=edges.tolist(),
        color=OWN,
        edgecolor=PAPER,
    )
    upper.set(title=f"{symbol(name)}* of {len(findings)} subjects", ylabel="subjects")
    _draw_subject_gains(lower, findings, best)
    common = _common(material, hyperparameter)
    if common is not None:
        for axes in (upper, lower):
            axes.axvline(
                common,
                color=MUTED,
                linewidth=1.2,
                linestyle=DASHED,
            )
    metric = metric_name(material.searched.search.metric)
    lower.set_ylabel(f"held-out gain,\n{metric}")
    value_axis(lower, hyperparameter)
    lower.set_xlabel(f"{symbol(name)}* (dashed: single best)")
    return figure


def _draw_subject_gains(
    axes: Axes, findings: Sequence[ScopeResult], best: NDArray[np.float64]
) -> None:
    axes.axhline(0, color=MUTED, linewidth=1)
    for value, finding in zip(best, findings, strict=True):
        if finding.held_out is None:
            continue
        gained = finding.held_out.over_common.value
        axes.plot(
            value,
            gained,
            "o",
            color=OWN,
            markerfacecolor=PAPER,
            markersize=5,
        )


def _common(material: Material, hyperparameter: Hyperparameter) -> float | None:
    common = material.findings[0].common
    return _place(common, hyperparameter)


def _place(setting: Setting | None, hyperparameter: Hyperparameter) -> float | None:
    """Return where a setting lies on a hyperparameter's axis: of a choice its place; None where it is inactive."""
    value = None if setting is None else setting.get(hyperparameter.name)
    if value is None:
        return None
    return hyperparameter.coordinate(hyperparameter.index(value))


def _draw_optima(
    axes: Axes, material: Material, hyperparameter: Hyperparameter, groups: Groups
) -> None:
    """Draw each scope's best value with its interval, and the values that are equivalent to it."""
    common = _common(material, hyperparameter)
    if common is not None:
        label = "single best for all scopes"
        axes.axvline(
            common,
            color=MUTED,
            linewidth=1.2,
            linestyle=DASHED,
            label=label,
        )
    for height, finding in _name_rows(axes, groups):
        _draw_optimum(axes, height, finding, hyperparameter, material.margin)
    value_axis(axes, hyperparameter)


def _draw_optimum(
    axes: Axes, height: float, finding: ScopeResult, hyperparameter: Hyperparameter, margin: float
) -> None:
    optimum = finding.full.optimum
    name = hyperparameter.name
    best = _place(optimum.setting, hyperparameter)
    if best is None:
        return
    if hyperparameter.is_ordered:
        _draw_ranges(axes, height, optimum, name, margin)
    else:
        _draw_choices(axes, height, optimum, hyperparameter, margin)
    axes.plot(
        best,
        height,
        "o",
        color=OWN,
        markersize=7,
        zorder=4,
        label=f"{symbol(name)}*",
    )
    constrained = _place(optimum.constrained, hyperparameter)
    if constrained is None or constrained == best:
        return
    look: dict[str, Any] = {
        "color": OTHER,
        "markerfacecolor": PAPER,
        "markersize": 5.5,
        "zorder": 3,
    }
    axes.plot(constrained, height, "D", label=under_limits(optimum), **look)


def _draw_ranges(axes: Axes, height: float, optimum: Optimum, name: str, margin: float) -> None:
    """Draw the values that are equivalent to the best one, and its interval."""
    rows = [height, height]
    axes.plot(
        optimum.equals[name],
        rows,
        color=GRID,
        linewidth=9,
        zorder=1,
        label=f"equivalent (margin {margin:g})",
    )
    axes.plot(
        optimum.intervals[name],
        rows,
        color=OWN,
        linewidth=2,
        zorder=2,
        label="95 % interval",
    )


def _draw_choices(
    axes: Axes, height: float, optimum: Optimum, hyperparameter: Hyperparameter, margin: float
) -> None:
    """Mark the choices that are equivalent to the best one, and those that may be best: nothing lies between."""
    look: dict[str, Any] = {"linestyle": "", "marker": "s", "markersize": 9}
    sets = [
        (optimum.equal_choices, GRID, GRID, f"equivalent (margin {margin:g})"),
        (optimum.choices, OWN, "none", "95 % confidence set"),
    ]
    for zorder, (choices, edge, face, label) in enumerate(sets, start=1):
        places = [hyperparameter.index(choice) for choice in choices[hyperparameter.name]]
        heights = [height] * len(places)
        axes.plot(
            places,
            heights,
            markeredgecolor=edge,
            markerfacecolor=face,
            zorder=zorder,
            label=label,
            **look,
        )


def _draw_gains(axes: Axes, material: Material, groups: Groups) -> None:
    """Draw what each scope's own setting gains over the best single one, on held-out subjects."""
    axes.axvline(0, color=INK, linewidth=1)
    for height, finding in _name_rows(axes, groups):
        gain = material.gains.get(finding.scope.name)
        if gain is not None:
            _draw_gain(axes, height, gain)
    metric = metric_name(material.searched.search.metric)
    axes.set_xlabel(f"gain in held-out {metric}, 95 % interval")
    axes.locator_params(axis="x", nbins=5)


def _draw_gain(axes: Axes, height: float, gain: Gain) -> None:
    colour, face, meaning = _look(gain)
    value, low, high = gain.gain
    axes.plot(
        [low, high],
        [height, height],
        color=colour,
        linewidth=2,
        zorder=2,
    )
    look: dict[str, Any] = {"color": colour, "markerfacecolor": face, "markersize": 7, "zorder": 3}
    axes.plot(value, height, "o", label=meaning, **look)


def _look(gain: Gain) -> tuple[str, str, str]:
    """Return the colour of a gain's mark, its inside, and its meaning in the legend."""
    if gain.improves:
        return THIRD, THIRD, "improvement"
    if gain.harms:
        return OTHER, OTHER, "loss"
    return MUTED, PAPER, "no evidence of a difference, or negligible difference"


def _name_rows(axes: Axes, groups: Groups) -> list[tuple[float, ScopeResult]]:
    """Set the names of the rows, and return the height of each."""
    rows: list[tuple[float, ScopeResult]] = []
    for gaps, group in enumerate(groups):
        for finding in group:
            height = -len(rows) - GAP * gaps
            rows.append((height, finding))
    heights = [height for height, _ in rows]
    names = [shorten(scope_title(finding.scope)) for _, finding in rows]
    axes.set_yticks(heights, names)
    axes.set_ylim(min(heights) - 0.7, 0.7)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return rows


def _height(groups: Groups) -> float:
    scopes = sum(len(group) for group in groups)
    return ROW * (scopes + GAP * len(groups)) + 1.3
