"""Trade-offs: the front of several metrics of each scope, and where its knee is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hmopt.analysis.pareto import SURE, Front
from hmopt.analysis.resampling import NOTHING
from hmopt.catalogue.metrics import FOLDING
from hmopt.files import slug
from hmopt.report.figure import GRID, MUTED, OTHER, OWN, THIRD, new_figure
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section, Table
from hmopt.report.words import (
    MISSING,
    best_name,
    listed,
    metric_name,
    number,
    percent,
    plural,
    scope_phrase,
    scope_title,
    sentence,
    setting_text,
    setting_value,
    symbol,
    value_and_interval,
    value_name,
    whole_percent,
)
from hmopt.search.tradeoff import Axis, Tradeoff
from hmopt.space import Setting, Space

FRONT_FILE = "fronts.csv"
"""Name of the table of every setting of every front."""


class TradeOffPart(ReportPart):
    """Fronts of the declared metrics of each scope but those of single subjects."""

    anchor = "trade-offs"
    place = Place.RESULTS
    needs = ("fronts",)

    def section(self, material: Material) -> Section:
        """Return the front of the whole cohort, and a row for each front of each scope."""
        space = material.searched.space
        by_axes: dict[str, list[Front]] = {}
        for front in material.fronts:
            by_axes.setdefault(_title(front.tradeoff), []).append(front)
        first, *others = by_axes.items()
        tables = [Table(title=name, content=_table(fronts, material)) for name, fronts in others]
        sentences = [_found(fronts[0]) for fronts in by_axes.values()]
        return Section(
            title="Trade-offs between metrics",
            found=" ".join(sentences),
            figures={
                f"front-{slug(name)}": front_figure(fronts[0], _best_of(fronts[0], material))
                for name, fronts in by_axes.items()
                if _is_drawn(fronts[0])
            },
            table=_table(first[1], material),
            remarks=(f"{first[0]}.",),
            further=tuple(tables),
            notes=_notes(space),
            numbers={"fronts": _numbers(by_axes)},
            files={FRONT_FILE: _every_setting(material.fronts)},
        )


def _is_drawn(front: Front) -> bool:
    """Tell whether a front has two axes along which settings differ, unlike folding where nothing folds."""
    ranges = np.ptp(front.tradeoff.means, axis=0)
    return len(ranges) == 2 and bool((ranges > 0).all())


def axis_name(axis: Axis) -> str:
    """Return the name of an axis as a page writes it.

    Examples
    --------
    >>> from hmopt.search.tradeoff import parse_axis
    >>> axis_name(parse_axis("dice:thalamus")), axis_name(parse_axis("folding"))
    ('Dice of thalamus', 'share of folded voxels')
    """
    name = metric_name(axis.metric.name)
    return name if axis.label is None else f"{name} of {axis.label}"


def _title(tradeoff: Tradeoff) -> str:
    names = [axis_name(axis) for axis in tradeoff.axes]
    return sentence(" against ".join(names)).removesuffix(".")


def _value_text(axis: Axis, value: float) -> str:
    return percent(value) if axis.metric.name == FOLDING else number(value)


def _point_text(front: Front, place: int) -> str:
    """Return the values of all axes at a setting."""
    parts = []
    for axis, value in zip(front.tradeoff.axes, front.tradeoff.means[place], strict=True):
        parts.append(f"{axis_name(axis)} {_value_text(axis, float(value))}")
    return listed(parts)


def _found(front: Front) -> str:
    tradeoff = front.tradeoff
    members = front.members
    names = listed([axis_name(axis) for axis in tradeoff.axes], "and")
    whom = scope_phrase(front.scope)
    best, last = members[0], members[-1]
    if len(members) == 1:
        return (
            f"{setting_text(front.setting(best))} is best in all metrics ({names}) for {whom}, so there is no "
            "trade-off."
        )
    first = (
        f"For {whom}, {len(members)} of {plural(len(tradeoff.settings), 'measured setting')} are on the Pareto "
        f"front of {names}: from {setting_text(front.setting(best))} ({_point_text(front, best)}) to "
        f"{setting_text(front.setting(last))} ({_point_text(front, last)})."
    )
    if front.knee is None:
        return f"{first} The front has no knee."
    knee = front.knee
    return f"{first} The knee is at {_knee_text(front)}: {_point_text(front, knee)}."


def _knee_text(front: Front) -> str:
    setting = front.knee_setting
    if setting is None:
        return MISSING
    parts = []
    for name, value in setting.items():
        interval = front.knee_intervals.get(name, NOTHING)
        parts.append(f"{symbol(name)} = {value_and_interval(value, interval)}")
    return ", ".join(parts)


def _table(fronts: Sequence[Front], material: Material) -> pd.DataFrame:
    space = material.searched.space
    best = best_name(space)
    rows = []
    for front in fronts:
        members = front.members
        row = {"": scope_title(front.scope)}
        row["on the front"] = f"{len(members)} of {len(front.tradeoff.settings)}"
        row["from … to"] = _ends(front)
        row[f"in at least {SURE * 100:.0f} % of samples"] = _sure_text(front)
        row["knee (95 %)"] = _knee_text(front)
        row["at the knee"] = MISSING if front.knee is None else _values_text(front, front.knee)
        row["hypervolume (share of the box)"] = _volume_text(front)
        if not any(axis.label for axis in front.tradeoff.axes):
            row[f"{best} under the limits"] = _constrained_text(front, material)
        rows.append(row)
    return pd.DataFrame(rows)


def _values_text(front: Front, place: int) -> str:
    means = front.tradeoff.means[place].tolist()
    axes = front.tradeoff.axes
    return " / ".join(_value_text(axis, value) for axis, value in zip(axes, means, strict=True))


def _ends(front: Front) -> str:
    members = front.members
    ends = [_short(front.setting(place)) for place in (members[0], members[-1])]
    return " … ".join(dict.fromkeys(ends))


_MOST_NAMED = 2
"""Hyperparameters that a figure names at most: more do not fit into its legend."""


def _short(setting: Setting) -> str:
    values = [setting_value(value) for value in setting.values()]
    return ", ".join(values)


def _sure_text(front: Front) -> str:
    if not np.isfinite(front.share).any():
        return "too few subjects"
    return str(int((front.share >= SURE).sum()))


def _volume_text(front: Front) -> str:
    if np.isnan(front.hypervolume_share):
        return MISSING
    return whole_percent(front.hypervolume_share)


def _constrained_text(front: Front, material: Material) -> str:
    for finding in material.findings:
        if finding.scope == front.scope:
            constrained = finding.full.optimum.constrained
            return MISSING if constrained is None else _short(constrained)
    return MISSING


def _best_of(front: Front, material: Material) -> Mapping[str, Setting | None]:
    """Return the settings that a figure marks, by their name."""
    marked: dict[str, Setting | None] = {"knee": front.knee_setting}
    metric = material.searched.search.metric
    if front.tradeoff.names[0] != metric:
        return marked
    for finding in material.findings:
        if finding.scope == front.scope:
            space = material.searched.space
            best = best_name(space) if len(space.names) <= _MOST_NAMED else "best setting"
            marked[best] = finding.full.optimum.setting
            marked["under the limits"] = finding.full.optimum.constrained
    return marked


def front_figure(front: Front, marked: Mapping[str, Setting | None]) -> Figure:
    """Draw the settings of a front of two axes, with the 95 % intervals of its members.

    Parameters
    ----------
    front
        Of two axes; the first is drawn upwards.
    marked
        Settings that are marked, by the name that the legend has for them.
    """
    tradeoff = front.tradeoff
    vertical, horizontal = tradeoff.axes
    scale = [100 if axis.metric.name == FOLDING else 1 for axis in tradeoff.axes]
    means = tradeoff.means * scale
    members = front.members
    figure = new_figure(5.6, 3.6)
    axes = figure.subplots()
    axes.plot(means[:, 1], means[:, 0], "o", color=GRID, markersize=4, label="dominated")
    low, high = front.band * scale
    for place in members:
        x, y = means[place, 1], means[place, 0]
        if np.isfinite(low[place]).all():
            axes.plot([low[place, 1], high[place, 1]], [y, y], color=MUTED, linewidth=0.6)
            axes.plot([x, x], [low[place, 0], high[place, 0]], color=MUTED, linewidth=0.6)
    axes.plot(
        means[members, 1],
        means[members, 0],
        "o-",
        color=OWN,
        markersize=4,
        linewidth=1.4,
        label="on the front",
    )
    # the square is empty: what is best may obey the limits, too
    looks = (("D", OTHER, "full"), ("*", THIRD, "full"), ("s", OTHER, "none"))
    for (name, setting), (shape, colour, fill) in zip(marked.items(), looks, strict=False):
        index = None if setting is None else tradeoff.space.index(setting)
        # at a setting without a point an axis could not be measured on all pairs
        if setting is None or index not in tradeoff.settings:
            continue
        place = tradeoff.settings.index(index)
        axes.plot(
            means[place, 1],
            means[place, 0],
            shape,
            color=colour,
            fillstyle=fill,
            markersize=10,
            zorder=5,
            label=f"{name}: {_short(setting)}" if len(setting) <= _MOST_NAMED else name,
        )
    units = [
        "folding, %" if axis.metric.name == FOLDING else axis_name(axis)
        for axis in (horizontal, vertical)
    ]
    axes.set(xlabel=units[0], ylabel=units[1])
    # small shares have long numbers
    axes.locator_params(axis="x", nbins=5)
    axes.legend(loc="best")
    return figure


def _notes(space: Space) -> tuple[str, ...]:
    value = value_name(space).removeprefix("a ")
    return (
        f"A {value} is on the front if no other measured {value} is at least as good in every metric and better in "
        "one. Shares and intervals are computed over bootstrap samples of the subjects; a low share means that "
        "the membership depends on few subjects.",
        "The knee is the setting farthest from the line between the ends of the front, with each metric scaled to "
        "its range on the front: beyond the knee, a small gain in one metric costs much of the other. The knee "
        "weighs the metrics only by these ranges; if an acceptable limit is known, declare it in search.limits.",
        (
            "Hypervolume: the share of the box between the worst and the best measured means that is dominated by the "
            "front."
        ),
        f"{FRONT_FILE} lists all settings with their intervals.",
    )


def _numbers(by_axes: Mapping[str, Sequence[Front]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for fronts in by_axes.values():
        name = " against ".join(fronts[0].tradeoff.names)
        found[name] = {front.scope.name: front_numbers(front) for front in fronts}
    return found


def front_numbers(front: Front) -> dict[str, Any]:
    """Return the numbers of a front for `summary.json`."""
    tradeoff = front.tradeoff
    members = front.members
    intervals = {name: list(found) for name, found in front.knee_intervals.items()}
    means = tradeoff.means
    return {
        "directions": tradeoff.directions,
        "settings": [dict(front.setting(place)) for place in members],
        "values": [means[place].tolist() for place in members],
        "share_of_samples": front.share[members].tolist(),
        "knee": None if front.knee_setting is None else dict(front.knee_setting),
        "knee_interval": intervals,
        "at_knee": None if front.knee is None else means[front.knee].tolist(),
        "reference": front.reference.tolist(),
        "hypervolume": front.hypervolume.value,
        "hypervolume_interval": [front.hypervolume.low, front.hypervolume.high],
        "hypervolume_share": front.hypervolume_share,
        "pairs": len(tradeoff.pairs),
    }


def _every_setting(fronts: Sequence[Front]) -> pd.DataFrame:
    """Return a row for every setting, scope and axis of every front."""
    rows = []
    for front in fronts:
        tradeoff = front.tradeoff
        for place in range(len(tradeoff.settings)):
            for axis, name in enumerate(tradeoff.names):
                low, high = front.band[:, place, axis].tolist()
                row: dict[str, object] = {
                    "front": " against ".join(tradeoff.names),
                    "scope": front.scope.name,
                    **front.setting(place),
                    "metric": name,
                    "mean": float(tradeoff.means[place, axis]),
                    "low": low,
                    "high": high,
                    "on_front": bool(front.on_front[place]),
                    "share_of_samples": float(front.share[place]),
                    "knee": place == front.knee,
                }
                rows.append(row)
    return pd.DataFrame(rows)
