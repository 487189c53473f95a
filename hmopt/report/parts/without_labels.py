"""What is lost where λ is chosen by a metric that needs no labels."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from hmopt.analysis.cross_validation import by_kinds, kinds_of
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.without_labels import StandIn, StandIns
from hmopt.report.material import Material
from hmopt.report.part import Place, ReportPart, Section, Table
from hmopt.report.words import (
    gain_text,
    kind_name,
    metric_name,
    plural,
    scope_phrase,
    scope_title,
    sentence,
    setting_text,
    value_name,
)
from hmopt.space import Space

SEPARATOR = " × "


class WithoutLabelsPart(ReportPart):
    """How well metrics without labels stand in for the one with labels."""

    anchor = "without-labels"
    place = Place.CHECKS
    needs = ("stand_ins",)

    def section(self, material: Material) -> Section:
        """Return the regret of each metric for the first scope, and those of the others in tables."""
        stand_ins = material.stand_ins
        assert stand_ins is not None
        space = material.searched.space
        metric = metric_name(stand_ins.metric)
        first = [entries[0] for entries in stand_ins.found.values()]
        value = value_name(space)
        rows = [_row(entry, metric) for entry in first]
        rows += [_constant_row(name, metric) for name in stand_ins.constant]
        rows.append(_default_row(first[0], space, metric))
        return Section(
            title=f"How well can {value} be chosen without labels?",
            found=_found(first, metric),
            table=pd.DataFrame(rows),
            notes=_notes(metric, value),
            further=tuple(_tables(stand_ins, metric)),
            numbers={"regret_without_labels": _numbers(stand_ins)},
        )


def _found(first: Sequence[StandIn], metric: str) -> str:
    """Return which metric loses least, and how many would do."""
    best = min(first, key=lambda entry: entry.regret.value)
    where = scope_phrase(best.scope)
    lost = gain_text(best.regret.estimate).removeprefix("+")
    text = (
        f"Among the metrics without labels, {metric_name(best.metric)} loses least for {where}: it selects "
        f"{setting_text(best.setting)}, with a regret of {lost} {metric} on held-out subjects."
    )
    if best.evidence is Evidence.TOO_FEW:
        return f"{text} There are too few subjects for a verdict."
    would_do = [entry for entry in first if entry.evidence is Evidence.NEGLIGIBLE]
    counted = f"{len(would_do) or 'none'} of {plural(len(first), 'metric')}"
    return f"{text} With confidence, the regret is negligible for {counted}."


def _row(entry: StandIn, metric: str) -> dict[str, str]:
    return {
        "": metric_name(entry.metric),
        "chosen setting": setting_text(entry.setting),
        f"regret in {metric} (95 % interval)": gain_text(entry.regret.estimate),
        "conclusion": _conclusion(entry),
    }


def _constant_row(name: str, metric: str) -> dict[str, str]:
    return {
        "": metric_name(name),
        "chosen setting": "none",
        f"regret in {metric} (95 % interval)": "",
        "conclusion": "the same at every setting",
    }


def _default_row(entry: StandIn, space: Space, metric: str) -> dict[str, str]:
    return {
        "": "no search",
        "chosen setting": f"{setting_text(space.default)}, the default",
        f"regret in {metric} (95 % interval)": gain_text(entry.regret_at_default.estimate),
        "conclusion": "",
    }


def _conclusion(entry: StandIn) -> str:
    if entry.evidence is Evidence.FOUND:
        return "loses" if entry.regret.value > 0 else "gains"
    if entry.evidence is Evidence.NEGLIGIBLE:
        return "sufficient"
    return str(entry.evidence.value)


def _tables(stand_ins: StandIns, metric: str) -> list[Table]:
    """Return a table for each family of scopes: a row for each scope, a column for each metric."""
    columns: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for name, entries in stand_ins.found.items():
        for entry in entries:
            kinds = kinds_of(entry)
            # products are many: the summary has them
            if len(kinds) != 1:
                continue
            row = columns.setdefault(kinds, {}).setdefault(scope_title(entry.scope), {})
            row[metric_name(name)] = gain_text(entry.regret.estimate)
    tables = []
    for kinds, rows in columns.items():
        content = [{"": title, **losses} for title, losses in rows.items()]
        title = f"Regret in {metric} for each {kind_name(kinds)}"
        tables.append(Table(title=title, content=pd.DataFrame(content).fillna("–")))
    return tables


def _notes(metric: str, value: str) -> tuple[str, ...]:
    chosen = (
        f"{value} is chosen on part of the subjects, once by the metric without labels and once by {metric}, and "
        f"both are scored by {metric} on the other subjects"
    )
    return (
        f"{sentence(chosen)} The regret is the difference of the two; a negative regret is a gain. Intervals are over "
        "subjects (jackknife).",
        "Consistency and log Jacobians are best without any deformation and therefore tend to select strong "
        "regularization; folding selects the first setting without any. The similarity that the registration optimizes "
        "tends to select weak regularization.",
    )


def _numbers(stand_ins: StandIns) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name, entries in stand_ins.found.items():
        of_metric: dict[str, Any] = {"in": stand_ins.metric, "scopes": {}}
        for kinds, members in by_kinds(entries).items():
            if not kinds:
                of_metric |= _entry_numbers(members[0])
                continue
            of_kind = {scope_title(entry.scope): _entry_numbers(entry) for entry in members}
            of_metric["scopes"][SEPARATOR.join(kinds)] = of_kind
        numbers[name] = of_metric
    return numbers


def _entry_numbers(entry: StandIn) -> dict[str, Any]:
    return {
        "setting": dict(entry.setting),
        "regret": entry.regret.value,
        "interval": [*entry.regret.interval],
        "p_adjusted": entry.p_adjusted,
        "subjects": entry.regret.subjects,
        "regret_at_default": entry.regret_at_default.value,
        "regret_at_default_interval": [*entry.regret_at_default.interval],
        "evidence": entry.evidence.value,
    }
