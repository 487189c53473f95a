"""The recommended setting of a scope, and the command that uses it."""

import shlex
from dataclasses import dataclass

from hmopt.analysis.gain import Gain
from hmopt.analysis.resampling import FEWEST_SUBJECTS
from hmopt.analysis.scope_result import ScopeResult
from hmopt.analysis.warnings import OptimumWarning
from hmopt.report.material import Material
from hmopt.report.words import setting_text, setting_value, spread_values
from hmopt.search.scopes import Scope
from hmopt.space import Setting

REGISTER = "hmopt register . moving.nii.gz fixed.nii.gz --moved moved.nii.gz"


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
        text = "do not register: no setting is better than before"
        return Advice(text=text, setting=None, command="")
    if finding.subjects < FEWEST_SUBJECTS:
        text = f"{setting_text(default)}, the default: fewer than {FEWEST_SUBJECTS} subjects"
        return _with_values(default, text)
    if _own_improves(material, finding):
        text = f"{setting_text(finding.recommended)}, its own: better than the default"
        command = _with_scope(finding.scope)
        return Advice(text=text, setting=finding.recommended, command=command)
    if finding.scope.criteria and finding.common is not None and _common_improves(material):
        text = f"{setting_text(finding.common)}, the best for all"
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
    name, *others = default
    equivalent = finding.full.optimum.equals[name]
    if others or default[name] not in equivalent:
        return "no evidence for another"
    low = equivalent.low
    high = equivalent.high
    if low == high:
        return f"{setting_value(low)} is best"
    return f"{spread_values(low, high)} equally good"


def _with_values(setting: Setting, text: str) -> Advice:
    command = REGISTER
    for name, value in setting.items():
        if name == "regularization":
            command += f" --regularization {value:g}"
        else:
            command += f" --set {name}={value:g}"
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
