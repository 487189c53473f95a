"""What follows from a study's numbers: the headline, the limitations and the recommendations."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from hmopt.analysis.cross_validation import SEPARATOR, by_kinds
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain
from hmopt.analysis.resampling import FEWEST_SUBJECTS
from hmopt.analysis.scope_result import ScopeResult
from hmopt.analysis.warnings import OptimumWarning
from hmopt.report.material import Material
from hmopt.report.words import (
    granularity_name,
    listed,
    metric_name,
    number,
    p_text,
    plural,
    scope_phrase,
    scope_title,
    sentence,
    setting_text,
    setting_value,
    signed,
    signed_value,
    spread,
    spread_values,
    symbol,
    value_name,
    whole_percent,
)
from hmopt.search.scopes import Scope
from hmopt.space import Setting, value_text

REGISTER = "hmopt register . moving.nii.gz fixed.nii.gz --moved moved.nii.gz"

FEW_RESCANNED = 10
"""Subjects with two scans below which results within subjects are called preliminary."""

MANY_VALUES = 2
"""Values of a setting above which the headline begins with the gain, and then names the setting."""

BROKEN = (OptimumWarning.CONSTANT, OptimumWarning.ERRATIC, OptimumWarning.NO_BETTER)
"""Where one of these holds for the whole cohort, no setting is worth naming."""


def headline(material: Material) -> str:
    """Return the best setting for all, and the granularity that improves on it; or what is broken."""
    return " ".join(headline_sentences(material))


def headline_sentences(material: Material) -> list[str]:
    """Return the sentences of the headline, the most important first; of a broken model one.

    The first names the best setting, or says whether it is better where it has many values.
    """
    broken = [flag.message for flag in material.cohort.warnings if flag in BROKEN]
    if broken:
        return broken[:1]
    cohort = material.cohort
    best = dict(cohort.full.optimum.setting)
    default = dict(material.searched.space.default)
    whom = scope_phrase(cohort.scope)
    clauses: list[str] = []
    if best == default:
        clauses.append(f"{setting_text(best)}, the default, is best for {whom}")
    else:
        end = ", at an end of the range," if OptimumWarning.BOUND in cohort.warnings else ""
        named = f"{setting_text(best)}{end} is best for {whom}"
        if _is_long(material):
            clauses += [over_default(material), named]
        else:
            clauses += [named, over_default(material)]
    clauses += which_improves(material)
    return [sentence(clause) for clause in clauses if clause]


def improvements(material: Material) -> list[Gain]:
    """Return the granularities that improve held-out scores: the claims that a headline may make."""
    return [gain for gain in material.granularities if gain.improves]


def over_default(material: Material) -> str:
    """Return the gain of the single best setting over the default, as a clause; empty where there is none."""
    gain = _find_gain(material, "cohort", over="default")
    if gain is None:
        return ""
    it = "it"
    default = f"the default {setting_text(material.searched.space.default)}"
    if _is_long(material):
        it = "the best setting"
        default = "the default"
    if gain.evidence is Evidence.TOO_FEW:
        return f"too few subjects to compare {it} with {default}"
    if gain.evidence is Evidence.NEGLIGIBLE:
        return f"{default} is equivalent to {it} within a margin of {material.margin:g}"
    amount = _amount(gain)
    if gain.improves:
        return f"{it} improves held-out {_metric(material)} over {default} by {amount}"
    if gain.harms:
        return f"on held-out subjects {it} is worse than {default}: {amount}"
    return f"there is no evidence that {it} is better than {default}: {amount}"


def _is_long(material: Material) -> bool:
    """Return whether settings have so many values that a headline does not begin with one."""
    return len(material.searched.space.default) > MANY_VALUES


def which_improves(material: Material) -> list[str]:
    """Return which granularity improves on one setting for all, as clauses: the simplest of those that do."""
    over_common = [gain for gain in material.granularities if gain.over == "common"]
    finer = [gain for gain in over_common if gain.name != "cohort"]
    improving = [gain for gain in finer if gain.improves]
    if not improving:
        return _no_improvement(material, finer)
    simplicity = [(len(_kinds(gain)), -gain.gain.value) for gain in improving]
    simplest = simplicity.index(min(simplicity))
    return _improving(material, improving[simplest])


def _no_improvement(material: Material, finer: Sequence[Gain]) -> list[str]:
    few = []
    same = []
    rest = []
    for gain in finer:
        if gain.evidence is Evidence.TOO_FEW:
            few.append(gain)
        elif gain.evidence is Evidence.NEGLIGIBLE:
            same.append(gain)
        else:
            rest.append(gain)
    metric = _metric(material)
    choosing = f"choosing {value_name(material.searched.space)} per"
    clauses: list[str] = []
    if rest:
        most = "at most " if len(rest) > 1 else ""
        best = max(rest, key=lambda gain: gain.gain.value)
        claim = f"{choosing} {_listed(rest)} improves held-out {metric}"
        clauses.append(f"there is no evidence that {claim}: {most}{_amount(best)}")
    if same:
        change = f"changes held-out {metric} by less than {material.margin:g}"
        clauses.append(f"{choosing} {_listed(same)} {change}")
    if few:
        clauses.append(f"too few subjects to test {choosing} {_listed(few)}")
    return clauses


def _improving(material: Material, gain: Gain) -> list[str]:
    value = value_name(material.searched.space)
    single = value.removeprefix("a ")
    choosing = f"choosing {value} per {granularity_name(gain)}"
    metric = _metric(material)
    amount = _amount(gain)
    most = _most(material, gain)
    clauses = [
        (f"{choosing} improves held-out {metric} over one {single} for all by {amount}{most}")
    ]
    over_default = _find_gain(material, gain.name, over="default")
    if over_default is not None:
        verdict = ""
        if not over_default.improves and not over_default.harms:
            verdict = f": {over_default.evidence.value}"
        clauses.append(f"the gain over the default is {_amount(over_default)}{verdict}")
    if "label" in _kinds(gain):
        clauses.append(
            _one_field(material, gain) or "this requires a separate registration for each structure"
        )
    return clauses


def _one_field(material: Material, gain: Gain) -> str:
    """Return how much of a gain of structures one field has, where that was measured and gains itself; else nothing."""
    if gain.name != "label":
        return ""
    for one in material.composed:
        over_common = one.over_common
        is_gain = over_common.evidence is Evidence.FOUND and over_common.mean.value > 0
        if is_gain and math.isfinite(one.share.value):
            share = whole_percent(min(one.share.value, 1))
            return (
                f"a single field for all structures retains {share} of this gain; the full gain requires a separate "
                "registration for each structure"
            )
    return ""


def _find_gain(material: Material, name: str, over: str) -> Gain | None:
    for gain in material.granularities:
        if gain.name == name and gain.over == over:
            return gain
    return None


def _kinds(gain: Gain) -> tuple[str, ...]:
    """Return the kinds of a granularity other than the whole cohort."""
    return tuple(gain.name.split(SEPARATOR))


def _listed(gains: Sequence[Gain]) -> str:
    return listed([granularity_name(gain) for gain in gains], "or")


def _metric(material: Material) -> str:
    return metric_name(material.searched.search.metric)


def _amount(gain: Gain) -> str:
    _, low, high = gain.gain
    amount = signed_value(gain.gain)
    if math.isnan(low):
        return f"{amount}, with {gain.subjects} subjects"
    interval = f"95 % interval {spread(low, high)}"
    p_value = p_text(gain.p_adjusted)
    return f"{amount} ({interval}, {p_value})"


def _most(material: Material, granularity: Gain) -> str:
    """Return the member of a granularity that improves most, if any does with evidence."""
    best: ScopeResult | None = None
    most = 0.0
    for finding in by_kinds(material.findings)[_kinds(granularity)]:
        gain = material.gains.get(finding.scope.name)
        if gain is None or not gain.improves:
            continue
        if gain.gain.value > most:
            best = finding
            most = gain.gain.value
    if best is None:
        return ""
    title = scope_title(best.scope)
    where = setting_text(best.recommended)
    return f", with the largest gain for {title} ({signed(most)} at {where})"


def caveats(material: Material) -> list[str]:
    """Return the limitations of the numbers, as sentences."""
    names = material.searched.space.names
    symbols = listed([symbol(name) for name in names])
    are = "is" if len(names) == 1 else "are"
    has_engine = material.searched.engine is not None
    what = "engine" if has_engine else "network and this loss"
    example = "" if has_engine else ", such as those of SyN,"
    if material.searched.source == "optimize":
        what = "loss"
    sentences = [
        f"{symbols} {are} specific to this {what}: parameters of other programs{example} have a "
        "different meaning and different best values.",
        "Held-out scores come from subjects that were not used to choose the setting, but that belong to the same "
        "cohort. Another scanner or population may need a different setting.",
        _variation(material),
        (
            "Using a setting per structure gives one registration per structure; since these differ, at most one of "
            "them can be anatomically correct."
        ),
    ]
    return sentences + _limits_of_data(material) + _limits_of_training(material)


def _variation(material: Material) -> str:
    of_subjects = "Intervals describe the variation between subjects of the same population"
    if material.searched.source in ("engine", "optimize"):
        return f"{of_subjects}."
    return f"{of_subjects}, not between trainings of the model."


def _limits_of_data(material: Material) -> list[str]:
    sentences: list[str] = []
    subjects = material.cohort.subjects
    if subjects < FEWEST_SUBJECTS:
        sentences.append(
            f"The search used {plural(subjects, 'subject')}; intervals and verdicts are given only from "
            f"{FEWEST_SUBJECTS} subjects."
        )
    rescanned = _rescanned(material)
    if 0 < rescanned < FEW_RESCANNED:
        sentences.append(
            f"Only {plural(rescanned, 'subject')} {'was' if rescanned == 1 else 'were'} scanned twice, so results "
            "within subjects are preliminary."
        )
    if any("subject" in kinds for kinds in by_kinds(material.findings)):
        sentences.append(
            "The setting of a single subject was chosen with the labels of that subject. For a subject without "
            "labels, use the setting of its group."
        )
    if "label_weight" in material.searched.space.names and material.searched.loss:
        seen = material.searched.loss.get("overlap_labels") or ["all labels"]
        sentences.append(
            f"γ weights an overlap loss computed on {', '.join(seen)}; evaluate γ on labels that are not in the "
            "loss."
        )
    if material.searched.spacing_mm is None:
        sentences.append(
            "The spacing of the images is unknown, so no distances are given in millimetres."
        )
    return sentences


def _limits_of_training(material: Material) -> list[str]:
    findings = material.findings
    sentences: list[str] = []
    moving = sum(OptimumWarning.DRIFTS in finding.warnings for finding in findings)
    if moving:
        sentences.append(
            f"For {moving} of {len(findings)} scopes, the best setting drifted during training."
        )
    disagreeing = sum(OptimumWarning.NOT_CONVERGED in finding.warnings for finding in findings)
    if disagreeing:
        sentences.append(
            f"For {disagreeing} of {len(findings)} scopes, the best settings at half and at full training disagree."
        )
    if material.half is None and material.searched.source == "trained":
        sentences.append(
            "The checkpoint at half training was not measured, so drift of the best settings was not tested."
        )
    return sentences


def _rescanned(material: Material) -> int:
    pairs = material.measurements.pairs
    is_within = pairs["task"] == "within"
    within = pairs[is_within]
    return int(within["fixed_subject"].nunique())


def fact(value: float | None, digits: int = 3) -> str | None:
    """Return a number, or None where it is not known."""
    if value is None or not math.isfinite(value):
        return None
    return number(value, digits)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A recommendation for a scope.

    Parameters
    ----------
    text
        The setting and the reason.
    setting
        The setting; None where registration does not help.
    command
        The command that uses it; empty where registration does not help.
    """

    text: str
    setting: Setting | None
    command: str


def advise(material: Material, finding: ScopeResult) -> Advice:
    """Return the recommendation for a scope: its own setting only where held-out subjects show that it is better.

    The first that holds of:

    1. no registration, where no setting is better than before registration;
    2. the default, below five subjects;
    3. the scope's own setting, where it improves over the default;
    4. the single best setting for all, where that improves over the default;
    5. the default.
    """
    default = material.searched.space.default
    if OptimumWarning.NO_BETTER in finding.warnings:
        text = "do not register: no setting improves on the unregistered images"
        return Advice(text=text, setting=None, command="")
    if finding.subjects < FEWEST_SUBJECTS:
        text = f"{setting_text(default)}, the default: fewer than {FEWEST_SUBJECTS} subjects"
        return _with_values(default, text)
    if _own_improves(material, finding):
        text = f"{setting_text(finding.recommended)}, its own setting: better than the default"
        command = _with_scope(finding.scope)
        return Advice(text=text, setting=finding.recommended, command=command)
    if finding.scope.criteria and finding.common is not None and _common_improves(material):
        text = f"{setting_text(finding.common)}, the single best setting"
        return _with_values(finding.common, text)
    reason = _why_default(finding, default)
    return _with_values(default, f"{reason}: keep {setting_text(default)}")


def _own_improves(material: Material, finding: ScopeResult) -> bool:
    if not finding.scope.criteria:
        return _common_improves(material)
    gain = material.default_gains.get(finding.scope.name)
    return gain is not None and gain.improves


def _common_improves(material: Material) -> bool:
    gain = _cohort_gain(material)
    return gain is not None and gain.improves


def _cohort_gain(material: Material) -> Gain | None:
    """Return the gain of the single best setting over the default."""
    if material.cohort.scope.criteria:
        return None
    name = material.cohort.scope.name
    return next((gain for gain in material.granularities if gain.name == name), None)


def _why_default(finding: ScopeResult, default: Setting) -> str:
    """Return the values that are equivalent to the best one, where the default is one of them."""
    name, *others = finding.full.response.space.names
    equivalent = finding.full.optimum.equals[name]
    if others or default[name] not in equivalent:
        return "no evidence for another setting"
    low = equivalent.low
    high = equivalent.high
    if low == high:
        return f"{setting_value(low)} is best"
    return f"{spread_values(low, high)} equivalent"


def _with_values(setting: Setting, text: str) -> Advice:
    command = REGISTER
    for name, value in setting.items():
        if name == "regularization":
            command += f" --regularization {value_text(value)}"
        else:
            command += f" --set {shlex.quote(f'{name}={value_text(value)}')}"
    return Advice(text=text, setting=setting, command=command)


def _with_scope(scope: Scope) -> str:
    command = REGISTER
    for kind, value in scope.criteria:
        if kind in ("label", "subject"):
            command += f" --{kind} {shlex.quote(value)}"
        else:
            criterion = shlex.quote(f"{kind}={value}")
            command += f" --group {criterion}"
    return command
