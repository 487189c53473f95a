"""What each structure gains from a setting of its own."""

import pandas as pd

from hmopt.analysis.evidence import LEVEL, Evidence
from hmopt.analysis.family import families
from hmopt.analysis.finding import Finding
from hmopt.analysis.gain import Gain
from hmopt.report.gain import gain_cells, gain_numbers, pays, worth
from hmopt.report.material import Material
from hmopt.report.overview import gains_figure
from hmopt.report.section import Section
from hmopt.report.words import listed, noun, probability, scope_title, setting_value, signed, symbol

KINDS = ("label",)
NAMED = 3
"""How many structures the sentence names."""


def labels_section(material: Material) -> Section | None:
    """Give what each structure gains, tested together; None where there are fewer than two of them to judge."""
    tested = material.gains
    findings = [finding for finding in families(material.findings).get(KINDS, []) if finding.scope.name in tested]
    findings.sort(key=lambda finding: -tested[finding.scope.name].gain.value)
    if not findings:
        return None
    gains = {str(finding.scope.label): tested[finding.scope.name] for finding in findings}
    return Section(
        anchor="labels",
        title="What does each structure gain?",
        found=_found(material, gains),
        figures={"gain-per-label": gains_figure(findings, tested)},
        table=pd.DataFrame([_row(finding, tested[finding.scope.name], worth(material)) for finding in findings]),
        notes=_notes(material, gains),
        numbers={"gain_per_label": {label: gain_numbers(gain) for label, gain in gains.items()}},
    )


def _found(material: Material, gains: dict[str, Gain]) -> str:
    own = f"{noun(material.searched.space)} of its own"
    sure = [f"{label} ({signed(gain.gain.value)})" for label, gain in gains.items() if pays(gain)]
    if all(gain.evidence is Evidence.TOO_FEW for gain in gains.values()):
        return f"There are too few subjects to test which structures gain from {own}."
    if not sure:
        return f"There is no evidence that any of {len(gains)} structures gains from {own}."
    said = f"{len(sure)} of {len(gains)} structures {'gains' if len(sure) == 1 else 'gain'} from {own}"
    return f"{said}: {'' if len(sure) <= NAMED else 'most '}{listed(sure[:NAMED])}."


def _row(finding: Finding, gain: Gain, least: float) -> dict[str, str]:
    optimum = finding.full.optimum
    best = {
        f"{symbol(name)}*, 95 % interval": f"{setting_value(value)} ({_interval(finding, name)})"
        for name, value in optimum.setting.items()
    }
    return {"": scope_title(finding.scope), **best, **gain_cells(gain, least)}


def _interval(finding: Finding, name: str) -> str:
    low, high = finding.full.optimum.intervals[name]
    return f"{setting_value(low)} to {setting_value(high)}"


def _notes(material: Material, gains: dict[str, Gain]) -> tuple[str, ...]:
    tests = (
        f"Over the best single setting for all; the p-values of {len(gains)} structures are corrected together by "
        "Holm, which few subjects pass where there are many structures: no evidence is not evidence of no gain."
    )
    return tests, *_out_of_reach(gains), *_unseen(material, gains)


def _out_of_reach(gains: dict[str, Gain]) -> list[str]:
    """Tell the smallest p-value that a structure can have, where it does not pass."""
    subjects = max(gain.subjects for gain in gains.values())
    smallest = len(gains) * 0.5**subjects
    if smallest <= LEVEL:
        return []
    return [
        f"{subjects} subjects are too few for {len(gains)} structures: where every subject gains, the corrected "
        f"p-value is {probability(min(smallest, 1.0))}."
    ]


def _unseen(material: Material, gains: dict[str, Gain]) -> list[str]:
    unseen = [label for label in material.measurements.labels if label not in gains]
    return [f"Seen in too few pairs to be judged on subjects that did not choose: {listed(unseen)}."] if unseen else []
