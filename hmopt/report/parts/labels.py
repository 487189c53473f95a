"""The gain of choosing a setting for each structure."""

from collections.abc import Mapping

import pandas as pd

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain
from hmopt.analysis.scope_result import ScopeResult
from hmopt.report.material import Material
from hmopt.report.overview import gains_figure
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.summary import gain_numbers
from hmopt.report.words import (
    gain_text,
    listed,
    metric_name,
    probability,
    scope_title,
    setting_text,
    setting_value,
    signed,
    symbol,
    value_name,
    verdict,
)

KINDS = ("label",)
NAMED = 3
"""How many structures a sentence names."""

Gains = Mapping[str, Gain]
"""By label."""


class LabelsPart(ReportPart):
    """The held-out gain of each structure, all tested together."""

    anchor = "labels"
    place = Place.RESULTS
    needs = ("gains",)

    def section(self, material: Material) -> Section | None:
        """Return the gains of all structures; None where there are fewer than two."""
        findings = _tested(material)
        if not findings:
            return None
        over_common = {str(one.scope.label): material.gains[one.scope.name] for one in findings}
        over_default = {
            str(one.scope.label): material.default_gains[one.scope.name] for one in findings
        }
        value = value_name(material.searched.space)
        metric = metric_name(material.searched.search.metric)
        unseen = [label for label in material.measurements.labels if label not in over_common]
        notes = [_explained(material, len(findings))]
        if unseen:
            notes.append(f"In too few pairs for a held-out score: {listed(unseen)}.")
        return Section(
            title=f"Does choosing {value} per structure improve held-out {metric}?",
            found=f"{_found(material, over_common)} {_found(material, over_default)}",
            figures={"gain-per-label": gains_figure(material, findings)},
            table=pd.DataFrame([_row(material, finding) for finding in findings]),
            notes=tuple(notes),
            numbers={
                "gain_per_label": {
                    label: gain_numbers(gain) for label, gain in over_common.items()
                },
                "gain_per_label_over_default": {
                    label: gain_numbers(gain) for label, gain in over_default.items()
                },
            },
        )


def _tested(material: Material) -> list[ScopeResult]:
    """Return the structures whose gain was tested, the largest gain first."""
    gains = material.gains
    labels = by_kinds(material.findings).get(KINDS, [])
    tested = [finding for finding in labels if finding.scope.name in gains]
    tested.sort(
        key=lambda finding: gains[finding.scope.name].gain.value,
        reverse=True,
    )
    return tested


def _found(material: Material, gains: Gains) -> str:
    over = _over(material, next(iter(gains.values())))
    if all(gain.evidence is Evidence.TOO_FEW for gain in gains.values()):
        return f"There are too few subjects to test which structures improve over {over}."
    better = {label: gain for label, gain in gains.items() if gain.improves}
    worse = {label: gain for label, gain in gains.items() if gain.harms}
    clauses: list[str] = []
    if better:
        verb = "improves" if len(better) == 1 else "improve"
        clauses.append(_clause(better, len(gains), verb))
    if worse:
        verb = "becomes worse" if len(worse) == 1 else "become worse"
        clauses.append(_clause(worse, len(gains), verb))
    if not clauses:
        clauses = [f"there is no evidence that any of {len(gains)} structures improves"]
    return f"Over {over}, {'; '.join(clauses)}."


def _clause(shown: Gains, tested: int, verb: str) -> str:
    named: list[str] = []
    for label, gain in shown.items():
        amount = signed(gain.gain.value)
        named.append(f"{label} ({amount})")
    most = "most " if len(named) > NAMED else ""
    names = listed(named[:NAMED])
    count = f"{len(named)} of {tested} structures"
    return f"{count} {verb} with evidence: {most}{names}"


def _over(material: Material, gain: Gain) -> str:
    if gain.over == "common":
        return "the single best setting for all"
    return f"the default {setting_text(material.searched.space.default)}"


def _row(material: Material, finding: ScopeResult) -> dict[str, str]:
    over_common = material.gains[finding.scope.name]
    over_default = material.default_gains[finding.scope.name]
    row = {"": scope_title(finding.scope)}
    for name, best in finding.full.optimum.setting.items():
        pooled = setting_value(finding.recommended[name])
        row[f"{symbol(name)}* (pooled)"] = f"{setting_value(best)} ({pooled})"
    row["over the single best, 95 % interval"] = gain_text(over_common.gain)
    row["without pooling"] = signed(over_common.unpooled.value)
    row["p, Holm"] = probability(over_common.p_adjusted)
    row["improves?"] = verdict(over_common)
    row["over the default, 95 % interval"] = gain_text(over_default.gain)
    row["p, Holm "] = probability(over_default.p_adjusted)
    row["improves? "] = verdict(over_default)
    row["subjects"] = str(over_common.subjects)
    return row


def _explained(material: Material, count: int) -> str:
    return (
        f"p-values of {count} structures are corrected together (Holm), once for each comparison. "
        "With few subjects and many structures, few gains pass this correction: no evidence of a gain is "
        "not evidence of no gain. "
        f"Negligible: less than {material.margin:g} with confidence."
    )
