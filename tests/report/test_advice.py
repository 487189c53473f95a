"""What to use for a scope, of studies in which it is known what was shown."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.resampling import NOTHING, Interval
from hmopt.analysis.scope_result import ScopeResult
from hmopt.analysis.warnings import OptimumWarning
from hmopt.cli.app import app
from hmopt.report.headline import advise
from hmopt.report.material import Material, read_material
from hmopt.search.scopes import Scope

Shown = Callable[..., Material]
GAIN = Mean(value=0.01, error=0.001, freedom=11, subjects=12)
LOSS = replace(GAIN, value=-0.01)


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture
def shown(material: Material, with_gains: Callable[..., Material]) -> Shown:
    """The study as if only some scopes had gains over the default, by name; all others show no evidence."""

    def build(**means: Mean) -> Material:
        tested = {gain.name: gain for gain in material.granularities if gain.over == "default"}
        tested |= material.default_gains
        gains = {
            name: replace(gain, mean=means[name], evidence=Evidence.FOUND)
            if name in means
            else replace(gain, evidence=Evidence.NONE)
            for name, gain in tested.items()
        }
        return with_gains(
            material,
            granularities=[gains["cohort"]],
            default_gains={name: gain for name, gain in gains.items() if name != "cohort"},
        )

    return build


def equal(finding: ScopeResult, low: float, high: float) -> ScopeResult:
    """The finding as if these values were equivalent to the best one."""
    optimum = replace(finding.full.optimum, equals={"regularization": Interval(low, high)})
    return replace(finding, full=replace(finding.full, optimum=optimum))


@pytest.fixture
def thalamus(material: Material) -> ScopeResult:
    found = material.finding(label="thalamus")
    return replace(found, recommended={"regularization": 0.65}, common={"regularization": 0.35})


def test_a_scope_that_registration_does_not_help_gets_no_setting(
    shown: Shown, thalamus: ScopeResult
) -> None:
    helpless = replace(thalamus, warnings=(OptimumWarning.NO_BETTER,))
    found = advise(shown(**{"label=thalamus": GAIN, "cohort": GAIN}), helpless)
    assert found.text == "do not register: no setting improves on the unregistered images"
    assert found.setting is None
    assert found.command == ""


def test_below_five_subjects_the_default_is_used_whatever_was_found(
    shown: Shown, thalamus: ScopeResult
) -> None:
    found = advise(shown(**{"label=thalamus": GAIN, "cohort": GAIN}), replace(thalamus, subjects=4))
    assert found.text == "λ = 0.50, the default: fewer than 5 subjects"
    assert found.setting == {"regularization": 0.5}
    assert found.command.endswith("--regularization 0.5")


def test_a_scope_with_evidence_over_the_default_gets_its_own_pooled_setting(
    shown: Shown, thalamus: ScopeResult
) -> None:
    found = advise(shown(**{"label=thalamus": GAIN, "cohort": GAIN}), thalamus)
    assert found.text == "λ = 0.65, its own setting: better than the default"
    assert found.setting == {"regularization": 0.65}
    assert found.command.endswith("--label thalamus")


def test_without_evidence_of_its_own_it_gets_the_single_best_where_that_improves(
    shown: Shown, thalamus: ScopeResult
) -> None:
    found = advise(shown(cohort=GAIN), thalamus)
    assert found.text == "λ = 0.35, the single best setting"
    assert found.setting == {"regularization": 0.35}
    assert found.command.endswith("--regularization 0.35")


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.35, 0.7, "0.35–0.70 equivalent: keep λ = 0.50"),
        (0.5, 0.5, "0.50 is best: keep λ = 0.50"),
        (0.6, 0.7, "no evidence for another setting: keep λ = 0.50"),
        (*NOTHING, "no evidence for another setting: keep λ = 0.50"),
    ],
)
@pytest.mark.parametrize(
    "means", [{}, {"label=thalamus": LOSS}, {"label=thalamus": LOSS, "cohort": LOSS}]
)
def test_without_any_evidence_the_default_is_kept(
    shown: Shown, thalamus: ScopeResult, low: float, high: float, text: str, means: dict[str, Mean]
) -> None:
    found = advise(shown(**means), equal(thalamus, low, high))
    assert found.text == text
    assert found.setting == {"regularization": 0.5}


def test_all_together_get_the_single_best_where_it_improves_and_else_the_default(
    material: Material, shown: Shown
) -> None:
    own = advise(shown(cohort=GAIN), material.cohort)
    assert own.setting == material.cohort.recommended
    assert own.text.endswith("its own setting: better than the default")
    assert advise(shown(), material.cohort).setting == {"regularization": 0.5}
    assert advise(shown(cohort=LOSS), material.cohort).setting == {"regularization": 0.5}


@pytest.mark.parametrize(
    "criteria",
    [
        (),
        (("label", "thalamus"),),
        (("label", "left accumbens area; x"),),
        (("task", "within"),),
        (("label", "thalamus"), ("age group", "20 to 40")),
    ],
)
def test_commands_are_such_as_the_command_line_reads(
    shown: Shown,
    with_gains: Callable[..., Material],
    thalamus: ScopeResult,
    criteria: tuple[tuple[str, str], ...],
) -> None:
    finding = replace(thalamus, scope=Scope(criteria=criteria))
    name = finding.scope.name
    told = shown(cohort=GAIN) if not criteria else shown()
    if criteria:
        known = told.default_gains["label=thalamus"]
        gain = replace(known, mean=GAIN, evidence=Evidence.FOUND)
        told = with_gains(told, default_gains={name: gain})
    own, kept = (
        advise(told, finding),
        advise(shown(), replace(finding, scope=Scope(criteria=(("label", "other"),)))),
    )
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    register = group.commands["register"]
    groups = [f"{kind}={value}" for kind, value in criteria if kind != "label"]
    for command, label, asked in (
        (own.command, dict(criteria).get("label"), groups),
        (kept.command, None, []),
    ):
        program, verb, *arguments = shlex.split(command)
        assert (program, verb) == ("hmopt", "register")
        given = register.make_context("register", arguments, resilient_parsing=True).params
        assert given["label"] == label
        assert list(given["group"] or []) == asked
        assert given["regularization"] == (0.5 if command == kept.command else None)
