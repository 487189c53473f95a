"""What differs from one random start to the next."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from hmopt.analysis.baselines import COHORT, Replicates
from hmopt.catalogue import find_metric
from hmopt.report.budgets import family_name
from hmopt.report.figure import INK, MUTED, OTHER, OWN, PAPER, THIRD, new_figure, unit_axis
from hmopt.report.words import metric_name, setting_text, symbol
from hmopt.space import Setting, Space

LOOKS = ((OWN, "o", "-"), (THIRD, "^", "-."), (OTHER, "s", "--"))
"""Colour, mark and line of each family, apart without colour too."""


def starts_figure(
    families: Sequence[Replicates], space: Space, metric: str, optimum: Setting
) -> Figure:
    """Give each start's score at one setting, the deviation at each setting, and each start's best setting.

    Deviations and best settings are drawn along the first hyperparameter.

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
    figure = new_figure(10.4, 0.45 * len(families) + 2.2)
    scores, deviations, optima = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
    _draw_scores(scores, families, metric)
    _draw_deviations(deviations, families, space)
    _draw_optima(optima, families)
    first = space.hyperparameters[0]
    for axes in (deviations, optima):
        unit_axis(axes, symbol(first.name), first.low, first.high)
    scores.set_xlabel(metric_name(metric))
    scores.set_title(f"Each start at {setting_text(optimum)}")
    deviations.set_title("Deviation over starts")
    optima.set_title(f"Each start's {symbol(first.name)}*")
    figure.legend(handles=_marks(), loc="outside lower left", ncols=2, handlelength=2.2)
    return figure


def _marks() -> list[Line2D]:
    """Give what is drawn of every family alike."""
    mean = Line2D([], [], color=INK, marker="|", markersize=11, label="mean and standard deviation")
    together = Line2D(
        [],
        [],
        color=INK,
        marker="*",
        markersize=11,
        linestyle="",
        label="their velocities averaged",
    )
    return [mean, together]


def _draw_scores(axes: Axes, families: Sequence[Replicates], metric: str) -> None:
    sign = 1 if find_metric(metric).direction == "maximize" else -1
    for row, (family, (colour, mark, _)) in enumerate(zip(families, LOOKS, strict=False)):
        scores = family.at_optimum[COHORT].scores[:, 0]
        deviation = np.nan_to_num(family.at_optimum[COHORT].score_spread.value)
        axes.errorbar(
            scores.mean(), -row, xerr=deviation, fmt="|", color=INK, markersize=14, capsize=4
        )
        axes.plot(
            scores,
            -row + _apart(len(scores)),
            mark,
            color=colour,
            markerfacecolor=PAPER,
            markersize=5.5,
        )
        if COHORT in family.ensemble_gains:
            together = scores[: family.ensemble].mean() + sign * family.ensemble_gains[COHORT].value
            axes.plot(together, -row, "*", color=colour, markersize=12)
    _name_rows(axes, [family_name(family) for family in families])
    axes.locator_params(axis="x", nbins=5)


def _draw_deviations(axes: Axes, families: Sequence[Replicates], space: Space) -> None:
    default = space.setting(space.index(space.default))
    first, *others = space.names
    for family, (colour, mark, line) in zip(families, LOOKS, strict=False):
        if COHORT not in family.along:
            continue
        along = family.along[COHORT]
        places = [
            place
            for place, setting in enumerate(along.settings)
            if all(setting[name] == default[name] for name in others)
        ]
        values = [along.settings[place][first] for place in places]
        axes.plot(
            values,
            along.curve_spread[places],
            f"{mark}{line}",
            color=colour,
            markersize=4,
            linewidth=1.4,
        )
    axes.set_ylim(bottom=0)


def _draw_optima(axes: Axes, families: Sequence[Replicates]) -> None:
    for row, (family, (colour, mark, _)) in enumerate(zip(families, LOOKS, strict=False)):
        if COHORT in family.along:
            values = family.along[COHORT].optima[:, 0]
            axes.plot(
                values,
                -row + _apart(len(values)),
                mark,
                color=colour,
                markerfacecolor=PAPER,
                markersize=5.5,
            )
    _name_rows(axes, ["" for _ in families])


def _apart(count: int) -> NDArray[np.float64]:
    """Heights at which marks of one row do not hide each other."""
    return np.linspace(0.28, -0.28, count) if count > 1 else np.zeros(1)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks([-row for row in range(len(names))], names)
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=INK, color=MUTED)
