"""A model of elsewhere: what is doubtful about it here, and whether its own best settings hold."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import Estimate
from hmopt.analysis.scope_result import ScopeResult
from hmopt.analysis.transfer import Transfer, find_transfers, overlap
from hmopt.report.figure import OTHER, OWN, PAPER, legend, new_figure, unit_axis
from hmopt.report.material import Material
from hmopt.report.origin import ModelOptima, ScopeOptimum, optima_of_origin
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.words import (
    MISSING,
    best_name,
    estimate_value,
    gain_text,
    interval_text,
    metric_name,
    scope_phrase,
    scope_title,
    sentence,
    setting_value,
    shorten,
    signed_value,
    symbol,
    value_and_interval,
)
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Setting, Value

ROW = 0.36
"""Height of a row of the figure, in inches."""

Matched = tuple[ScopeResult, ScopeOptimum]
"""A scope of this cohort, and the optimum of the same one in the model's."""


class DoubtsPart(ReportPart):
    """What `hmopt new --model` found doubtful about the model on these images."""

    anchor = "model-doubts"
    place = Place.RESULTS
    needs = ("study",)

    def section(self, material: Material) -> Section | None:
        """Return the warnings, a row each; None without any."""
        study = material.study
        assert study is not None
        doubts = study.model.warnings
        if not doubts:
            return None
        rows = []
        for doubt in doubts:
            subject, _, rest = doubt.partition(": ")
            rows.append({"": subject, "found": rest or subject})
        count = (
            "is one potential problem"
            if len(doubts) == 1
            else f"are {len(doubts)} potential problems"
        )
        return Section(
            title="Does the model suit these images?",
            found=f"The model was trained on other images; there {count} with its use on these images.",
            table=pd.DataFrame(rows),
            notes=(
                "Reported by `hmopt new --model`, which compares a sample of the images with the description of "
                "the training images stored in the model.",
            ),
            numbers={"model_warnings": list(doubts)},
        )


class OtherCohortPart(ReportPart):
    """Best settings of the same model on its own cohort and on this one, side by side."""

    anchor = "other-cohort"
    place = Place.RESULTS
    needs = ("study",)

    def section(self, material: Material) -> Section | None:
        """Return a row for each scope that both cohorts have; None where the model was trained here."""
        study = material.study
        assert study is not None
        there = optima_of_origin(study, material.folder)
        if there is None or there.metric != material.searched.search.metric:
            return None
        matched = _match(material, there)
        if not matched:
            return None
        settings: dict[Scope, Setting] = {
            finding.scope: dict(optimum.setting) for finding, optimum in matched
        }
        pairs = material.measurements.pairs
        findings = [finding for finding, _ in matched]
        transfers = find_transfers(findings, settings, pairs, material.margin)
        best = best_name(material.searched.space)
        rows = [_row(material, *one, transfers.get(one[0].scope)) for one in matched]
        return Section(
            title=f"Is {best} of the model's training cohort valid for this cohort?",
            found=_found(material, there, matched[0], transfers),
            figures=_figures(material, there, matched),
            table=pd.DataFrame(rows),
            notes=_notes(material, there, matched, transfers),
            numbers={"other_cohort": _numbers(there, matched, transfers)},
        )


def _match(material: Material, there: ModelOptima) -> list[Matched]:
    """Return the scopes of the same criteria in both cohorts, the whole cohort first."""
    matched = []
    for finding in material.findings:
        optimum = there.of(finding.scope)
        names = set(finding.full.optimum.setting)
        if optimum is not None and names == set(optimum.setting):
            matched.append((finding, optimum))
    return matched


def _found(
    material: Material, there: ModelOptima, first: Matched, transfers: dict[Scope, Transfer]
) -> str:
    finding, optimum = first
    best = best_name(material.searched.space)
    here = finding.full.optimum
    of_there = _values_text(optimum.setting)
    of_here = _values_text(here.setting)
    where = scope_phrase(finding.scope)
    start = f"For {where}, {best} is {of_there} on the model's training cohort ({there.name}) and {of_here} here"
    shared = [overlap(optimum.interval(name), here.intervals[name]) for name in here.setting]
    if None in shared:
        start += "; at least one of them has no interval"
    elif all(shared):
        start += ", and their intervals overlap"
    else:
        start += ", and their intervals do not overlap"
    return f"{start}. {_verdict(material, finding.scope, transfers)}"


def _values_text(setting: Mapping[str, Value]) -> str:
    """Return the values of a setting, after the symbols have been told."""
    return ", ".join(setting_value(value) for value in setting.values())


def _verdict(material: Material, scope: Scope, transfers: dict[Scope, Transfer]) -> str:
    """Return what is lost here with the best setting of the model's own cohort."""
    metric = metric_name(material.searched.search.metric)
    if scope not in transfers:
        return sentence(
            "the loss with the former on this cohort was not measured; run `hmopt search` again to measure it"
        )
    transfer = transfers[scope]
    loss = transfer.loss.estimate
    amount = f"{_size(loss)} {metric} ({interval_text(loss)})"
    if transfer.evidence is Evidence.TOO_FEW:
        return f"There are too few subjects to test whether the former is sufficient here: it loses {amount}."
    if transfer.is_same:
        return "The former is sufficient for this cohort: every split of its subjects selects the same setting."
    if transfer.would_do and transfer.evidence is not Evidence.FOUND:
        return (
            "The former is sufficient for this cohort: on held-out subjects it loses less than "
            f"{material.margin:g} {metric}, with confidence ({signed_value(transfer.change)}; "
            f"{interval_text(transfer.change)})."
        )
    if transfer.evidence is Evidence.FOUND and loss.value > 0:
        return (
            f"The former is not sufficient for this cohort: on held-out subjects it loses {amount} compared with a "
            "setting chosen on this cohort."
        )
    if transfer.evidence is Evidence.FOUND:
        return (
            "The former is sufficient for this cohort: on held-out subjects it is better than the setting chosen "
            f"on this cohort by {_size(loss)} {metric} ({interval_text(transfer.change)})."
        )
    change = transfer.change
    return (
        "It is inconclusive whether the former is sufficient for this cohort: on held-out subjects it changes "
        f"{metric} by {signed_value(change)} ({interval_text(change)}), which is neither a significant "
        f"loss nor shown to be a loss of less than {material.margin:g}."
    )


def _size(difference: Estimate) -> str:
    """Return a difference without its sign, with the digits of its interval."""
    return estimate_value(difference._replace(value=abs(difference.value)))


def _row(
    material: Material, finding: ScopeResult, optimum: ScopeOptimum, transfer: Transfer | None
) -> dict[str, str]:
    here = finding.full.optimum
    row = {"": scope_title(finding.scope)}
    for name, value in here.setting.items():
        star = f"{symbol(name)}*"
        apart = overlap(optimum.interval(name), here.intervals[name])
        row[f"{star}, training cohort (95 %)"] = value_and_interval(
            optimum.setting[name], optimum.interval(name)
        )
        row[f"{star}, this cohort (95 %)"] = value_and_interval(value, here.intervals[name])
        which = f" {symbol(name)}" if len(here.setting) > 1 else ""
        row[f"intervals overlap?{which}"] = {True: "yes", False: "no", None: MISSING}[apart]
    change = MISSING if transfer is None else gain_text(transfer.change)
    row["change with the value of the training cohort (95 %)"] = change
    row["sufficient?"] = _answer(transfer)
    over_default = optimum.gain_over_default
    held_out = finding.held_out
    row["gain over default, training cohort"] = (
        MISSING if over_default is None else gain_text(over_default.estimate)
    )
    row["gain over default, this cohort"] = (
        MISSING if held_out is None else gain_text(held_out.over_default.estimate)
    )
    row["subjects, training / this cohort"] = f"{optimum.subjects} / {finding.subjects}"
    return row


def _answer(transfer: Transfer | None) -> str:
    return MISSING if transfer is None else transfer.answer.value


def _notes(
    material: Material,
    there: ModelOptima,
    matched: Sequence[Matched],
    transfers: dict[Scope, Transfer],
) -> tuple[str, ...]:
    margin = f"{material.margin:g} {metric_name(material.searched.search.metric)}"
    notes = [
        f"Training cohort: {there.name}. The change is the held-out score at the best setting of the training "
        "cohort minus that at the setting chosen on other subjects of this cohort. Its 95 % interval combines a "
        "jackknife over subjects with the variation of the chosen setting; p-values are corrected within each "
        f"family of scopes (Holm). The former setting is sufficient if it loses less than {margin} with confidence "
        "(one-sided test at 5 %), whatever it may gain.",
    ]
    if set(there.labels) != set(material.measurements.labels):
        of_there = ", ".join(there.labels)
        notes.append(
            "Rows that are not structures are means over all structures; those of the training cohort are: "
            f"{of_there}."
        )
    if len(transfers) < len(matched):
        notes.append(
            "A dash (–) means that the setting was not measured on this cohort, or that no subjects could be held "
            "out. `hmopt search` measures it."
        )
    return tuple(notes)


def _numbers(
    there: ModelOptima, matched: Sequence[Matched], transfers: dict[Scope, Transfer]
) -> dict[str, Any]:
    scopes: dict[str, Any] = {}
    for finding, optimum in matched:
        transfer = transfers.get(finding.scope)
        here = finding.full.optimum
        scopes[scope_title(finding.scope)] = {
            "there": dict(optimum.setting),
            "there_intervals": {name: list(ends) for name, ends in optimum.intervals.items()},
            "here": dict(here.setting),
            "here_intervals": {name: list(ends) for name, ends in here.intervals.items()},
            "change": None if transfer is None else list(transfer.change),
            "says": None if transfer is None else transfer.evidence.value,
            "would_do": None if transfer is None else transfer.would_do,
        }
    return {"name": there.name, "scopes": scopes}


def _figures(
    material: Material, there: ModelOptima, matched: Sequence[Matched]
) -> dict[str, Figure]:
    figures = {}
    for hyperparameter in material.searched.space.hyperparameters:
        name = f"other-cohort-{hyperparameter.name}"
        figures[name] = _figure(hyperparameter, there, matched)
    return figures


def _figure(
    hyperparameter: Hyperparameter, there: ModelOptima, matched: Sequence[Matched]
) -> Figure:
    """Draw the best values of both cohorts with their intervals, a row for each scope."""
    figure = new_figure(6.4, 1.2 + ROW * len(matched))
    axes = figure.subplots()
    name = hyperparameter.name
    for row, (finding, optimum) in enumerate(matched):
        here = finding.full.optimum
        drawn = [
            (
                optimum.setting[name],
                optimum.interval(name),
                OTHER,
                "s",
                f"training cohort ({there.name})",
                -0.16,
            ),
            (here.setting[name], here.intervals[name], OWN, "o", "here", 0.16),
        ]
        for value, interval, colour, marker, label, offset in drawn:
            height = row + offset
            axes.plot([interval.low, interval.high], [height] * 2, color=colour, linewidth=2)
            axes.plot(
                value,
                height,
                marker,
                color=colour,
                markeredgecolor=PAPER,
                markersize=7,
                label=label,
            )
    titles = [shorten(scope_title(finding.scope)) for finding, _ in matched]
    axes.set_yticks(range(len(matched)), titles)
    axes.set_ylim(len(matched) - 0.5, -0.5)
    axes.set_title(f"Best {symbol(name)} on both cohorts, 95 % intervals")
    unit_axis(axes, symbol(name), hyperparameter.low, hyperparameter.high)
    legend(figure, columns=2)
    return figure
