"""The sentence and the caveats that follow from a study's numbers."""

import math
from collections.abc import Sequence

from hmopt.analysis.cross_validation import SEPARATOR, by_kinds
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain
from hmopt.analysis.resampling import FEWEST_SUBJECTS
from hmopt.analysis.warnings import OptimumWarning
from hmopt.report.gain import granularity_name
from hmopt.report.material import Material
from hmopt.report.words import (
    listed,
    metric_name,
    number,
    p_text,
    scope_title,
    setting_text,
    signed,
    spread,
    symbol,
    value_name,
)

FEW_RESCANNED = 10
BROKEN = (OptimumWarning.CONSTANT, OptimumWarning.ERRATIC, OptimumWarning.NO_BETTER)
"""Where one of these holds for all together, no setting is worth naming."""


def headline(material: Material) -> str:
    """Give one sentence: which setting is best for all, and which granularity improves on it; or what is broken."""
    broken = [flag.message for flag in material.cohort.warnings if flag in BROKEN]
    if broken:
        return broken[0]
    best, default = (
        dict(material.cohort.full.optimum.setting),
        dict(material.searched.space.default),
    )
    end = ", at an end of the range," if OptimumWarning.BOUND in material.cohort.warnings else ""
    if best == default:
        clauses = [
            f"{setting_text(best)}, the default, is best for all together",
            which_improves(material),
        ]
    else:
        start = f"{setting_text(best)}{end} is best for all together"
        clauses = [start, over_default(material), which_improves(material)]
    return f"{'; '.join(clause for clause in clauses if clause)}."


def improvements(material: Material) -> list[Gain]:
    """Give the granularities that improve held-out scores: the claims that a headline may make."""
    return [gain for gain in material.granularities if gain.improves]


def over_default(material: Material) -> str:
    """Give what the single best setting gains over the default, as a clause; nothing where nobody judged."""
    found = [gain for gain in material.granularities if gain.over == "default" and not _kinds(gain)]
    if not found:
        return ""
    gain = found[0]
    default = setting_text(dict(material.searched.space.default))
    if gain.evidence is Evidence.TOO_FEW:
        return f"too few subjects to compare it with the default {default}"
    if gain.evidence is Evidence.NEGLIGIBLE:
        return f"the default {default} is equivalent to it, to within {material.margin:g}"
    amount = _amount(material, gain)
    if gain.improves:
        return f"it improves held-out {_metric(material)} over the default {default} by {amount}"
    if gain.harms:
        return f"on held-out subjects it is worse than the default {default}: {amount}"
    return f"there is no evidence that it is better than the default {default}: {amount}"


def which_improves(material: Material) -> str:
    """Give which granularity improves on one setting for all, as a clause: the simplest of those that do."""
    own = [gain for gain in material.granularities if gain.over == "common" and _kinds(gain)]
    improving = [gain for gain in own if gain.improves]
    if improving:
        return _improving(
            material,
            min(improving, key=lambda gain: (gain.name.count(SEPARATOR), -gain.gain.value)),
        )
    few = [gain for gain in own if gain.evidence is Evidence.TOO_FEW]
    same = [gain for gain in own if gain.evidence is Evidence.NEGLIGIBLE]
    rest = [gain for gain in own if gain not in (*few, *same)]
    choosing = f"choosing {value_name(material.searched.space)} per"
    clauses = []
    if rest:
        best = max(rest, key=lambda gain: gain.gain.value)
        most = "at most " if len(rest) > 1 else ""
        clauses.append(
            f"there is no evidence that {choosing} {_listed(rest)} improves held-out {_metric(material)}: "
            f"{most}{_amount(material, best)}"
        )
    if same:
        clauses.append(
            f"{choosing} {_listed(same)} changes held-out {_metric(material)} by less than {material.margin:g}"
        )
    if few:
        clauses.append(f"too few subjects to test {choosing} {_listed(few)}")
    return "; ".join(clauses)


def _improving(material: Material, gain: Gain) -> str:
    name = granularity_name(gain)
    said = (
        f"choosing {value_name(material.searched.space)} per {name} improves held-out {_metric(material)} over it by "
        f"{_amount(material, gain)}{_most(material, gain)}{_same_over_default(material, gain)}"
    )
    if "label" in _kinds(gain):
        said += "; each structure then needs a registration of its own"
    return said


def _same_over_default(material: Material, gain: Gain) -> str:
    """Give what the same choice gains over the default, which can be nothing where the single best setting is worse."""
    found = [
        one for one in material.granularities if one.name == gain.name and one.over == "default"
    ]
    if not found:
        return ""
    (own,) = found
    verdict = "" if own.improves or own.harms else f", {own.evidence.value}"
    return f"; over the default it gains {_amount(material, own)}{verdict}"


def _kinds(gain: Gain) -> tuple[str, ...]:
    kinds = tuple(gain.name.split(SEPARATOR))
    return () if kinds == ("cohort",) else kinds


def _listed(gains: Sequence[Gain]) -> str:
    return listed([granularity_name(gain) for gain in gains], "or")


def _metric(material: Material) -> str:
    return metric_name(material.searched.search.metric)


def _amount(material: Material, gain: Gain) -> str:
    value, low, high = gain.gain
    if math.isnan(low):
        return f"{signed(value)}, with {gain.subjects} subjects"
    return f"{signed(value)} (95 % interval {spread(low, high)}, {p_text(gain.p_adjusted)})"


def _most(material: Material, granularity: Gain) -> str:
    """Which members improve most, if any do with evidence."""
    members = by_kinds(material.findings)[_kinds(granularity)]
    gains = [(finding, material.gains.get(finding.scope.name)) for finding in members]
    sure = [
        (finding, gain.gain.value) for finding, gain in gains if gain is not None and gain.improves
    ]
    if not sure:
        return ""
    finding, gained = max(sure, key=lambda one: one[1])
    where = setting_text(dict(finding.recommended))
    return f", most for {scope_title(finding.scope)} ({signed(gained)} at {where})"


def caveats(material: Material) -> list[str]:
    """Give what a reader must know before relying on the numbers, as sentences."""
    space = material.searched.space
    name = listed([symbol(one) for one in space.names])
    belongs = "is that" if len(space.names) == 1 else "are those"
    searched = "network and this loss" if material.searched.engine is None else "engine"
    sentences = [
        f"{name} {belongs} of this {searched}: no parameter of another program, such as SyN's, has the same meaning or "
        "the same best value.",
        "Held-out scores are of subjects that did not choose the setting, but all come from the same cohort; another "
        "scanner or population may want another setting.",
        "Intervals describe other subjects of the same population, not another training: another training may differ "
        "by more.",
        "A setting for each structure is a registration for each structure: only one of them can be the anatomy's.",
    ]
    if material.cohort.subjects < FEWEST_SUBJECTS:
        sentences.append(
            f"{material.cohort.subjects} subjects were searched: below {FEWEST_SUBJECTS} there are no intervals and "
            "no verdicts."
        )
    rescanned = _rescanned(material)
    if 0 < rescanned < FEW_RESCANNED:
        sentences.append(
            f"Only {rescanned} subjects were scanned twice: what holds within subjects is a hint."
        )
    if any("subject" in kinds for kinds in by_kinds(material.findings)):
        sentences.append(
            "A subject's own setting is chosen with that subject's labels: without them, take the one of its group."
        )
    if "label_weight" in space.names:
        seen = material.searched.loss.get("overlap_labels") or ["all labels"]
        sentences.append(
            f"γ puts overlap into the loss, which saw {', '.join(seen)}: judge γ on labels that it did not see."
        )
    if material.searched.spacing_mm is None:
        sentences.append("The images' spacing is not known: nothing is in millimetres.")
    moving = sum(OptimumWarning.DRIFTS in finding.warnings for finding in material.findings)
    if moving:
        sentences.append(
            f"For {moving} of {len(material.findings)} scopes the best setting drifted while the model was trained."
        )
    drifting = sum(
        OptimumWarning.NOT_CONVERGED in finding.warnings for finding in material.findings
    )
    if drifting:
        sentences.append(
            f"For {drifting} of {len(material.findings)} scopes half and full training disagree about the best setting."
        )
    if material.half is None and material.searched.engine is None:
        sentences.append(
            "Half training was not measured: whether the best settings still drift is not known."
        )
    return sentences


def _rescanned(material: Material) -> int:
    pairs = material.measurements.pairs
    return int(pairs.loc[pairs["task"] == "within", "fixed_subject"].nunique())


def fact(value: float | None, suffix: str = "", digits: int = 3) -> str | None:
    """Give a number with its suffix, or None where it is not known."""
    return None if value is None or not math.isfinite(value) else number(value, digits) + suffix
