"""Which setting to use for a scope, and the command that uses it."""

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


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to use for a scope.

    Parameters
    ----------
    text
        The setting and the reason.
    setting
        The setting; None where registration does not help.
    command
        What to type for it, empty where there is nothing to type.
    """

    text: str
    setting: Setting | None
    command: str


def advise(material: Material, finding: ScopeResult) -> Advice:
    """Give what to use for a scope: its own setting only where held-out subjects show that it is better.

    In this order: nothing where no setting is better than no registration; the default below five subjects; the scope's
    own setting where it improves over the default; the single best setting for all where that improves over the
    default; else the default.
    """
    default = material.searched.space.default
    if OptimumWarning.NO_BETTER in finding.warnings:
        return Advice(
            text="do not register: no setting is better than before", setting=None, command=""
        )
    if finding.subjects < FEWEST_SUBJECTS:
        return _values(
            material,
            default,
            f"{setting_text(default)}, the default: fewer than {FEWEST_SUBJECTS} subjects",
        )
    own = material.default_gains.get(finding.scope.name) or _cohort_gain(material, finding)
    if own is not None and own.improves:
        return Advice(
            text=f"{setting_text(finding.recommended)}, its own: better than the default",
            setting=finding.recommended,
            command=f"{_register()} {_scope_options(finding.scope)}".strip(),
        )
    for_all = _cohort_gain(material, material.cohort)
    if (
        for_all is not None
        and for_all.improves
        and finding.common is not None
        and finding.scope.criteria
    ):
        return _values(
            material, finding.common, f"{setting_text(finding.common)}, the best for all"
        )
    return _values(
        material, default, f"{_equally_good(finding, default)}keep {setting_text(default)}"
    )


def _cohort_gain(material: Material, finding: ScopeResult) -> Gain | None:
    if finding.scope.criteria:
        return None
    return next((gain for gain in material.granularities if gain.name == finding.scope.name), None)


def _equally_good(finding: ScopeResult, default: Setting) -> str:
    """Give the values that are equivalent to the best one, where the default is one of them."""
    (name, *others) = default
    equal = finding.full.optimum.equals[name]
    if others or default[name] not in equal:
        return "no evidence for another: "
    if equal.low == equal.high:
        return f"{setting_value(equal.low)} is best: "
    return f"{spread_values(equal.low, equal.high)} equally good: "


def _values(material: Material, setting: Setting, text: str) -> Advice:
    options = [
        f"--regularization {value:g}" if name == "regularization" else f"--set {name}={value:g}"
        for name, value in setting.items()
    ]
    return Advice(text=text, setting=setting, command=f"{_register()} {' '.join(options)}")


def _register() -> str:
    return "hmopt register . moving.nii.gz fixed.nii.gz --moved moved.nii.gz"


def _scope_options(scope: Scope) -> str:
    options = [
        f"--{kind} {shlex.quote(value)}"
        if kind in ("label", "subject")
        else f"--group {shlex.quote(f'{kind}={value}')}"
        for kind, value in scope.criteria
    ]
    return " ".join(options)
