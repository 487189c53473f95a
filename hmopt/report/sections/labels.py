"""What each structure gains from a setting of its own."""

import pandas as pd

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain
from hmopt.analysis.scope_result import ScopeResult
from hmopt.report.gain import gain_numbers, verdict
from hmopt.report.material import Material
from hmopt.report.overview import gains_figure
from hmopt.report.section import Section
from hmopt.report.words import (
    gain_text,
    listed,
    probability,
    scope_title,
    setting_text,
    setting_value,
    signed,
    symbol,
    value_name,
)

KINDS = ("label",)
NAMED = 3
"""How many structures the sentence names."""


def labels_section(material: Material) -> Section | None:
    """Give what each structure gains, tested together; None where there are fewer than two of them to judge."""
    tested, by_default = material.gains, material.default_gains
    findings = [
        finding
        for finding in by_kinds(material.findings).get(KINDS, [])
        if finding.scope.name in tested
    ]
    findings.sort(key=lambda finding: -tested[finding.scope.name].gain.value)
    if not findings:
        return None
    names = {str(finding.scope.label): finding.scope.name for finding in findings}
    return Section(
        anchor="labels",
        title=f"What does each structure gain from {value_name(material.searched.space)} of its own?",
        found=" ".join(
            _found(material, {label: gains[name] for label, name in names.items()})
            for gains in (tested, by_default)
        ),
        figures={"gain-per-label": gains_figure(findings, tested)},
        table=pd.DataFrame([_row(finding, material) for finding in findings]),
        notes=(_explained(material, len(findings)), *_unseen(material, list(names))),
        numbers={
            "gain_per_label": {label: gain_numbers(tested[name]) for label, name in names.items()},
            "gain_per_label_over_default": {
                label: gain_numbers(by_default[name]) for label, name in names.items()
            },
        },
    )


def _found(material: Material, gains: dict[str, Gain]) -> str:
    over = _over(material, next(iter(gains.values())))
    if all(gain.evidence is Evidence.TOO_FEW for gain in gains.values()):
        return f"There are too few subjects to test which structures improve over {over}."
    parts = []
    for words, them in (
        (("improves", "improve"), {label: gain for label, gain in gains.items() if gain.improves}),
        (
            ("becomes worse", "become worse"),
            {label: gain for label, gain in gains.items() if gain.harms},
        ),
    ):
        if them:
            named = [f"{label} ({signed(gain.gain.value)})" for label, gain in them.items()][:NAMED]
            most = "" if len(them) <= NAMED else "most "
            verb = words[0] if len(them) == 1 else words[1]
            parts.append(
                f"{len(them)} of {len(gains)} structures {verb} with evidence: {most}{listed(named)}"
            )
    said = "; ".join(parts) or f"there is no evidence that any of {len(gains)} structures improves"
    return f"Over {over}, {said}."


def _over(material: Material, gain: Gain) -> str:
    if gain.over == "common":
        return "the single best setting for all"
    return f"the default {setting_text(dict(material.searched.space.default))}"


def _row(finding: ScopeResult, material: Material) -> dict[str, str]:
    optimum = finding.full.optimum
    gain, by_default = (
        gains[finding.scope.name] for gains in (material.gains, material.default_gains)
    )
    best = {
        f"{symbol(name)}* (recommended)": f"{setting_value(value)} ({setting_value(finding.recommended[name])})"
        for name, value in optimum.setting.items()
    }
    return {
        "": scope_title(finding.scope),
        **best,
        "over the single best, 95 % interval": gain_text(gain.gain),
        "without pooling": signed(gain.unpooled.value),
        "p, Holm": probability(gain.p_adjusted),
        "improves?": verdict(gain),
        "over the default, 95 % interval": gain_text(by_default.gain),
        "p, Holm ": probability(by_default.p_adjusted),
        "improves? ": verdict(by_default),
        "subjects": str(gain.subjects),
    }


def _explained(material: Material, count: int) -> str:
    return (
        f"p-values of {count} structures are corrected together by Holm, once for each comparison. Few subjects rarely "
        "pass where there are many structures: no evidence is not evidence of no gain. Negligible means less than "
        f"{material.margin:g} with confidence."
    )


def _unseen(material: Material, judged: list[str]) -> list[str]:
    unseen = [label for label in material.measurements.labels if label not in judged]
    return (
        [f"Seen in too few pairs to be judged on held-out subjects: {listed(unseen)}."]
        if unseen
        else []
    )
