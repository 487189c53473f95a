"""Whether choosing a setting for each group, label or subject improves held-out scores."""

from collections.abc import Iterator, Mapping

import pandas as pd

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain
from hmopt.analysis.resampling import FEWEST_SUBJECTS
from hmopt.analysis.scope_result import ScopeResult
from hmopt.report.headline import improvements
from hmopt.report.material import OTHER_SEEDS, Material
from hmopt.report.overview import gains_figure
from hmopt.report.part import Place, ReportPart, Section
from hmopt.report.summary import gain_numbers
from hmopt.report.words import (
    criterion_name,
    gain_cells,
    gain_text,
    granularity_name,
    listed,
    metric_name,
    p_text,
    plural,
    probability,
    scope_title,
    setting_text,
    setting_value,
    signed,
    symbol,
    value_name,
    verdict,
)

NAMED = 3
"""How many structures a sentence names."""

Gains = Mapping[str, Gain]
"""By label."""


class GranularityPart(ReportPart):
    """The gain of choosing a setting at each granularity, all tested together."""

    anchor = "granularity"
    place = Place.RESULTS
    needs = ("granularities",)

    def section(self, material: Material) -> Section | None:
        """Return a row for each granularity and group, over the single best setting and over the default."""
        tested = material.granularities
        groups = _group_gains(material)
        return Section(
            title=f"How finely should {value_name(material.searched.space)} be chosen?",
            found=_found(material, tested),
            table=_table(material, tested, groups),
            notes=(_explained(material), _seeds(material), *_too_few(groups)),
            numbers={
                "gain_per_granularity": _by_name(tested),
                "gain_per_group": _by_name(groups),
                "subjects_choosing": tested[0].choosing,
                "agreeing_seeds": material.agreeing_seeds,
            },
            verdicts=dict(_verdicts(material, tested, groups)),
        )


def _verdicts(
    material: Material, tested: list[Gain], groups: list[Gain]
) -> Iterator[tuple[str, str]]:
    """Yield each question of the table with its verdict."""
    for gain in tested:
        yield f"{_row_title(material, gain)} over {_over(material, gain)}", verdict(gain)
    for gain in groups:
        yield f"{_group_title(gain)} over {_over(material, gain)}", verdict(gain)


def _by_name(gains: list[Gain]) -> dict[str, dict[str, object]]:
    """Return numbers by granularity and by what it is compared with."""
    numbers: dict[str, dict[str, object]] = {}
    for gain in gains:
        of_granularity = numbers.setdefault(gain.name, {})
        of_granularity[f"over_{gain.over}"] = gain_numbers(gain)
    return numbers


def _group_gains(material: Material) -> list[Gain]:
    """Return the gains of the groups of every family but that of labels, which have a section of their own."""
    found: list[Gain] = []
    for kinds, members in by_kinds(material.findings).items():
        if len(kinds) != 1 or kinds == ("label",):
            continue
        for finding in members:
            name = finding.scope.name
            if name in material.gains:
                found += [material.gains[name], material.default_gains[name]]
    return found


def _found(material: Material, tested: list[Gain]) -> str:
    metric = metric_name(material.searched.search.metric)
    loses = [gain for gain in tested if gain.harms]
    by_evidence: dict[Evidence, list[Gain]] = {kind: [] for kind in Evidence}
    for gain in tested:
        by_evidence[gain.evidence].append(gain)
    negligible = f"With confidence, held-out {metric} changes by less than {material.margin:g} with"
    clauses = [
        (f"Held-out {metric} improves with", improvements(material)),
        (f"Held-out {metric} worsens with", loses),
        (negligible, by_evidence[Evidence.NEGLIGIBLE]),
        ("There is no evidence of a difference for", by_evidence[Evidence.NONE]),
        ("There are too few subjects to test", by_evidence[Evidence.TOO_FEW]),
    ]
    sentences: list[str] = []
    for start, gains in clauses:
        if gains:
            named = listed([_named(material, gain) for gain in gains])
            sentences.append(f"{start} {named}.")
    return " ".join(sentences)


def _named(material: Material, gain: Gain) -> str:
    title = _row_title(material, gain)
    name = f"{title} over {_over(material, gain)}"
    if gain.evidence is not Evidence.FOUND:
        return name
    amount = signed(gain.gain.value)
    p_value = p_text(gain.p_adjusted)
    return f"{name} ({amount}, {p_value})"


def _table(material: Material, tested: list[Gain], groups: list[Gain]) -> pd.DataFrame:
    rows: list[dict[str, str]] = []
    for gain in (*tested, *groups):
        is_group = "=" in gain.name
        title = _group_title(gain) if is_group else _row_title(material, gain)
        row = {"": title, "over": _over(material, gain)}
        rows.append(row | gain_cells(gain))
    return pd.DataFrame(rows)


def _row_title(material: Material, gain: Gain) -> str:
    value = value_name(material.searched.space).removeprefix("a ")
    if gain.name == "cohort":
        return f"one {value} for all"
    return f"one {value} for each {granularity_name(gain)}"


def _over(material: Material, gain: Gain) -> str:
    if gain.over == "default":
        return f"the default {setting_text(material.searched.space.default)}"
    return "the single best setting for all"


def _group_title(gain: Gain) -> str:
    kind, value = gain.name.split("=", maxsplit=1)
    name = criterion_name(kind, value)
    if kind == "task":
        return f"only {name}"
    return f"only {kind} {name}"


def _explained(material: Material) -> str:
    metric = metric_name(material.searched.search.metric)
    return (
        f"Gains are differences in {metric} on held-out subjects. {_how_divided(material)}; the gains therefore "
        f"refer to settings chosen on {material.divisions.choosing} subjects. Settings are chosen on curves pooled "
        "within each family of scopes; the gain without pooling is given for comparison. Tests are two-sided "
        "t-tests with standard errors from the delete-one-subject jackknife. P-values are corrected (Holm) over the "
        "granularities together, and over the groups of one kind for each comparison. An improvement requires a "
        "significant corrected test and an interval that excludes 0. "
        f"Negligible: less than {material.margin:g} with confidence."
    )


def _how_divided(material: Material) -> str:
    divisions = material.divisions
    choosing = divisions.choosing
    subjects = len(divisions.subjects)
    chosen = f"Settings were chosen on {choosing} of {subjects} subjects and scored on"
    if divisions.exhaustive and choosing == subjects - 2:
        return f"{chosen} the remaining two, for all pairs of subjects"
    ways = "for all such splits"
    if not divisions.exhaustive:
        ways = f"for {len(divisions.selection) // 2} random splits"
    return f"{chosen} the others, and vice versa, {ways}"


def _seeds(material: Material) -> str:
    agreeing = material.agreeing_seeds
    if agreeing is None:
        return (
            "All possible splits of the subjects were used, so no verdict depends on a random seed."
        )
    return (
        f"With {OTHER_SEEDS} other seeds for the random splits, the verdicts on all granularities are unchanged for "
        f"{agreeing}."
    )


def _too_few(groups: list[Gain]) -> list[str]:
    subjects = {
        _group_title(gain): gain.subjects for gain in groups if gain.evidence is Evidence.TOO_FEW
    }
    notes: list[str] = []
    for title, count in subjects.items():
        name = title.removeprefix("only ").capitalize()
        notes.append(
            f"{name}: {plural(count, 'subject')} {'is' if count == 1 else 'are'} too few for a test; at least "
            f"{FEWEST_SUBJECTS} are needed."
        )
    return notes


class LabelsPart(ReportPart):
    """The held-out gain of each structure, all tested together."""

    anchor = "labels"
    place = Place.RESULTS
    needs = ("gains",)

    def section(self, material: Material) -> Section | None:
        """Return the gains of all structures; None where there are fewer than two."""
        findings = _tested_structures(material)
        if not findings:
            return None
        over_common = {str(one.scope.label): material.gains[one.scope.name] for one in findings}
        over_default = {
            str(one.scope.label): material.default_gains[one.scope.name] for one in findings
        }
        value = value_name(material.searched.space)
        metric = metric_name(material.searched.search.metric)
        unseen = [label for label in material.measurements.labels if label not in over_common]
        notes = [_structures_explained(material, len(findings))]
        if unseen:
            notes.append(f"Structures in too few pairs for a held-out score: {listed(unseen)}.")
        return Section(
            title=f"Does choosing {value} per structure improve held-out {metric}?",
            found=f"{_structures_found(material, over_common)} {_structures_found(material, over_default)}",
            figures={"gain-per-label": gains_figure(material, findings)},
            table=pd.DataFrame([_structure_row(material, finding) for finding in findings]),
            notes=tuple(notes),
            numbers={
                "gain_per_label": {
                    label: gain_numbers(gain) for label, gain in over_common.items()
                },
                "gain_per_label_over_default": {
                    label: gain_numbers(gain) for label, gain in over_default.items()
                },
            },
            verdicts=dict(_verdicts_of_labels(material, over_common, over_default)),
        )


def _verdicts_of_labels(material: Material, *tested: Gains) -> Iterator[tuple[str, str]]:
    """Yield the question of each structure with its verdict."""
    for gains in tested:
        for label, gain in gains.items():
            yield f"own setting of {label} over {_over(material, gain)}", verdict(gain)


def _tested_structures(material: Material) -> list[ScopeResult]:
    """Return the structures whose gain was tested, the largest gain first."""
    gains = material.gains
    labels = by_kinds(material.findings).get(("label",), [])
    tested = [finding for finding in labels if finding.scope.name in gains]
    tested.sort(
        key=lambda finding: gains[finding.scope.name].gain.value,
        reverse=True,
    )
    return tested


def _structures_found(material: Material, gains: Gains) -> str:
    over = _over(material, next(iter(gains.values())))
    if all(gain.evidence is Evidence.TOO_FEW for gain in gains.values()):
        return f"There are too few subjects to test which structures improve over {over}."
    better = {label: gain for label, gain in gains.items() if gain.improves}
    worse = {label: gain for label, gain in gains.items() if gain.harms}
    clauses: list[str] = []
    if better:
        verb = "improves" if len(better) == 1 else "improve"
        clauses.append(_structures_clause(better, len(gains), verb))
    if worse:
        verb = "worsens" if len(worse) == 1 else "worsen"
        clauses.append(_structures_clause(worse, len(gains), verb))
    if not clauses:
        clauses = [f"there is no evidence of an improvement for any of {len(gains)} structures"]
    return f"Over {over}, {'; '.join(clauses)}."


def _structures_clause(shown: Gains, tested: int, verb: str) -> str:
    named: list[str] = []
    for label, gain in shown.items():
        amount = signed(gain.gain.value)
        named.append(f"{label} ({amount})")
    most = "most for " if len(named) > NAMED else ""
    names = listed(named[:NAMED])
    count = f"{len(named)} of {tested} structures"
    return f"{count} {verb} significantly: {most}{names}"


def _structure_row(material: Material, finding: ScopeResult) -> dict[str, str]:
    over_common = material.gains[finding.scope.name]
    over_default = material.default_gains[finding.scope.name]
    row = {"": scope_title(finding.scope)}
    for name in finding.full.response.space.names:
        best = finding.full.optimum.setting.get(name)
        pooled = setting_value(finding.recommended.get(name))
        row[f"{symbol(name)}* (pooled)"] = f"{setting_value(best)} ({pooled})"
    row["gain over the single best (95 % interval)"] = gain_text(over_common.gain)
    row["without pooling"] = signed(over_common.unpooled.value)
    row["p, Holm"] = probability(over_common.p_adjusted)
    row["improves?"] = verdict(over_common)
    row["gain over the default (95 % interval)"] = gain_text(over_default.gain)
    row["p, Holm "] = probability(over_default.p_adjusted)
    row["improves? "] = verdict(over_default)
    row["subjects"] = str(over_common.subjects)
    return row


def _structures_explained(material: Material, count: int) -> str:
    return (
        f"P-values are corrected over all {count} structures (Holm), separately for each comparison. With few "
        "subjects and many structures, few gains remain significant after this correction; absence of evidence "
        f"for a gain is not evidence of its absence. Negligible: less than {material.margin:g} with confidence."
    )
