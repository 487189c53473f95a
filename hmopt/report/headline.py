"""The sentence and the caveats that follow from a study's numbers."""

import math

from hmopt.analysis.finding import Finding
from hmopt.analysis.flag import Flag
from hmopt.analysis.optimum import TOLERANCE
from hmopt.analysis.resampling import Estimate
from hmopt.metric import find_metric
from hmopt.report.material import Material
from hmopt.report.summary import families, gains
from hmopt.report.words import kind_name, metric_name, noun, number, scope_title, setting_text, signed, spread, verdict

FEW_RESCANNED = 10


def worth(metric: str) -> float:
    """Give the smallest gain that is worth a setting of one's own."""
    return TOLERANCE[find_metric(metric).unit]


def headline(material: Material) -> str:
    """Give one sentence: which setting for all, and whether choosing one for each structure or group matters."""
    metric = material.searched.search.metric
    start = f"{setting_text(dict(material.cohort.full.optimum.setting))} is best for all together"
    kinds, gain = _main_family(gains(material))
    if gain is None:
        return f"{start}."
    own = f"{noun(material.searched.space)} of its own for each {kind_name(kinds)}"
    amount = f"{signed(gain.value)} {metric_name(metric)} on average (95 % interval {spread(gain.low, gain.high)})"
    endings = {
        "yes": f"{own} matters: {amount}",
        "a little": f"{own} helps a little: {amount}",
        "no, it harms": f"{own} does more harm than good: {amount}",
        "no": f"{own} does not matter: {amount}",
    }
    ending = endings.get(verdict(gain, worth(metric)), f"it is unclear whether {own} matters: {amount}")
    return f"{start}; on subjects that did not choose it, {ending}{_most(material, kinds)}."


def _main_family(known: dict[tuple[str, ...], Estimate]) -> tuple[tuple[str, ...], Estimate | None]:
    """Structures where there are some; else the first family of groups."""
    for kinds in (("label",), *known):
        if kinds in known:
            return kinds, known[kinds]
    return (), None


def _most(material: Material, kinds: tuple[str, ...]) -> str:
    """Which members gain most, if any surely do."""
    members = families(material.findings)[kinds]
    sure = [f for f in members if f.held_out is not None and f.held_out.over_common.low > 0]
    if not sure:
        return ""
    best = max(sure, key=_gain)
    where = setting_text(dict(best.full.optimum.setting))
    return f", most for {scope_title(best.scope)} ({signed(_gain(best))} at {where})"


def _gain(finding: Finding) -> float:
    return finding.held_out.over_common.value if finding.held_out is not None else math.nan


def caveats(material: Material) -> list[str]:
    """Give what a reader must know before relying on the numbers, as sentences."""
    sentences = [
        "Held-out scores are of subjects that did not choose the setting, but all come from the same cohort; another "
        "scanner or population may want another setting.",
        "Intervals come from drawing the subjects anew, not from training anew: another training may differ by more.",
        "A setting for each structure is a registration for each structure: only one of them can be the anatomy's.",
    ]
    rescanned = _rescanned(material)
    if 0 < rescanned < FEW_RESCANNED:
        sentences.append(f"Only {rescanned} subjects were scanned twice: what holds within subjects is a hint.")
    if any("subject" in kinds for kinds in families(material.findings)):
        sentences.append(
            "A subject's own setting is chosen with that subject's labels: without them, take the one of its group."
        )
    if "label_weight" in material.searched.space.names:
        seen = material.searched.loss.get("overlap_labels") or ["all labels"]
        sentences.append(
            f"γ puts overlap into the loss, which saw {', '.join(seen)}: judge γ on labels that it did not see."
        )
    if material.searched.spacing_mm is None:
        sentences.append("The images' spacing is not known: nothing is in millimetres.")
    drifting = sum(Flag.NOT_CONVERGED in finding.flags for finding in material.findings)
    if drifting:
        sentences.append(
            f"For {drifting} of {len(material.findings)} scopes half and full training disagree about the best setting."
        )
    if material.half is None:
        sentences.append("Half training was not measured: whether the best settings still drift is not known.")
    return sentences


def _rescanned(material: Material) -> int:
    pairs = material.measurements.pairs
    return int(pairs.loc[pairs["task"] == "within", "fixed_subject"].nunique())


def fact(value: float | None, suffix: str = "", digits: int = 3) -> str | None:
    """Give a number with its suffix, or None where it is not known."""
    return None if value is None or not math.isfinite(value) else number(value, digits) + suffix
