"""The sentence and the caveats that follow from a study's numbers."""

import math
from collections.abc import Sequence

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.family import SEPARATOR, families
from hmopt.analysis.flag import Flag
from hmopt.analysis.gain import Gain
from hmopt.report.gain import granularity_name, pays, worth
from hmopt.report.material import Material
from hmopt.report.words import (
    listed,
    metric_name,
    noun,
    number,
    p_text,
    scope_title,
    setting_text,
    signed,
    spread,
)

FEW_RESCANNED = 10
BROKEN = (Flag.CONSTANT, Flag.ERRATIC, Flag.NO_BETTER)
"""Where one of these holds for all together, no setting is worth naming."""


def headline(material: Material) -> str:
    """Give one sentence: which setting is best for all, and which granularity pays; or that the model is of no use."""
    broken = [flag.sentence for flag in material.cohort.flags if flag in BROKEN]
    if broken:
        return broken[0]
    end = ", at an end of the range," if Flag.BOUND in material.cohort.flags else ""
    start = f"{setting_text(dict(material.cohort.full.optimum.setting))}{end} is best for all together"
    said = which_pays(material)
    return f"{start}; {said}." if said else f"{start}."


def which_pays(material: Material) -> str:
    """Give which granularity pays, as a clause: the simplest one of those that do; nothing where none was judged."""
    own, of_all = ([gain for gain in material.granularities if gain.over == over] for over in ("common", "default"))
    if paying := [gain for gain in own if pays(gain)]:
        return _own_pays(material, min(paying, key=lambda gain: (gain.name.count(SEPARATOR), -gain.gain.value)))
    none = _no_evidence(material, [gain for gain in own if gain.evidence is not Evidence.TOO_FEW])
    few = _too_few(material, [gain for gain in own if gain.evidence is Evidence.TOO_FEW])
    chosen = [_all_pays(material, gain) for gain in of_all if pays(gain)]
    return "; ".join(clause for clause in (*chosen, none, few) if clause)


def _own_pays(material: Material, best: Gain) -> str:
    probably = "" if best.gain.low > 0 else "probably "
    little = "" if best.gain.value >= worth(material) else " a little"
    own = f"{noun(material.searched.space)} of its own for each {granularity_name(best)}"
    amount = f"{_amount(material, best)}, on subjects that did not choose it"
    return f"{own} {probably}pays{little}: {amount}{_most(material, best)}"


def _no_evidence(material: Material, gains: Sequence[Gain]) -> str:
    if not gains:
        return ""
    own = f"{noun(material.searched.space)} of its own for each {listed([granularity_name(g) for g in gains], 'or')}"
    best = max(gains, key=lambda gain: gain.gain.value)
    most = "at most " if len(gains) > 1 else ""
    return f"there is no evidence that {own} pays: {most}{_amount(material, best)}, on subjects that did not choose it"


def _too_few(material: Material, gains: Sequence[Gain]) -> str:
    if not gains:
        return ""
    names = listed([granularity_name(gain) for gain in gains], "or")
    return f"too few subjects to test whether {noun(material.searched.space)} of its own for each {names} pays"


def _all_pays(material: Material, gain: Gain) -> str:
    default = setting_text(dict(material.searched.space.default))
    return f"it pays over the default {default}: {_amount(material, gain)}, on subjects that did not choose it"


def _amount(material: Material, gain: Gain) -> str:
    value, low, high = gain.gain
    interval = f"95 % interval {spread(low, high)}, {p_text(gain.p_adjusted)}"
    return f"{signed(value)} {metric_name(material.searched.search.metric)} on average ({interval})"


def _most(material: Material, granularity: Gain) -> str:
    """Which members gain most, if any surely do."""
    members = families(material.findings)[tuple(granularity.name.split(SEPARATOR))]
    gains = [(finding, material.gains.get(finding.scope.name)) for finding in members]
    sure = [(finding, gain.gain.value) for finding, gain in gains if gain is not None and pays(gain)]
    if not sure:
        return ""
    finding, gained = max(sure, key=lambda one: one[1])
    where = setting_text(dict(finding.full.optimum.setting))
    return f", most for {scope_title(finding.scope)} ({signed(gained)} at {where})"


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
