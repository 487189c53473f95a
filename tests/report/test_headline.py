"""The sentence of a report: what it claims, and what it says of what was not shown."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.optimum import Optimum
from hmopt.analysis.resampling import Interval
from hmopt.analysis.scope_result import Reported
from hmopt.analysis.warnings import OptimumWarning
from hmopt.report.headline import BROKEN, caveats, headline, improvements, over_default
from hmopt.report.material import Material, read_material
from hmopt.report.page import few_everywhere, nearest_differs
from hmopt.report.words import sentence
from hmopt.search.scopes import Scope


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture
def told(with_gains: Callable[..., Material]) -> Callable[..., Material]:
    """The study as if one granularity had this gain over the default, or over the single best, and nothing else."""

    def build(
        material: Material, value: float, error: float, evidence: Evidence, name: str = "cohort"
    ) -> Material:
        mean = Mean(value=value, error=error, freedom=11, subjects=12)
        gain = Gain(
            name=name,
            over="default" if name == "cohort" else "common",
            mean=mean,
            unpooled=mean,
            p_adjusted=mean.p_value,
            choosing=6,
            evidence=evidence,
        )
        return with_gains(material, granularities=[gain], gains={})

    return build


@pytest.mark.parametrize(
    ("value", "error", "evidence", "said", "claims"),
    [
        (
            0.010,
            0.002,
            Evidence.FOUND,
            "it improves held-out Dice over the default λ = 0.50 by +0.010 (95 % interval 0.006 to 0.014, p < 0.001)",
            True,
        ),
        (
            -0.010,
            0.002,
            Evidence.FOUND,
            "on held-out subjects it is worse than the default λ = 0.50: −0.010 (95 % interval −0.014 to −0.006, ",
            False,
        ),
        (
            0.0005,
            0.0003,
            Evidence.NEGLIGIBLE,
            "the default λ = 0.50 is equivalent to it within a margin of 0.002",
            False,
        ),
        (
            0.003,
            0.002,
            Evidence.NONE,
            "there is no evidence that it is better than the default λ = 0.50: +0.003 (95 % interval −0.001 to 0.007, ",
            False,
        ),
        (
            0.010,
            0.002,
            Evidence.TOO_FEW,
            "too few subjects to compare it with the default λ = 0.50",
            False,
        ),
    ],
)
def test_the_single_best_setting_is_held_against_the_default(
    material: Material,
    told: Callable[..., Material],
    value: float,
    error: float,
    evidence: Evidence,
    said: str,
    claims: bool,
) -> None:
    other = told(material, value, error, evidence)
    assert over_default(other).startswith(said)
    assert f"λ = 0.35 is best for the whole cohort. {sentence(said)}"[:-1] in headline(other)
    assert bool(improvements(other)) is claims


def test_a_setting_for_each_structure_is_said_to_need_a_registration_for_each(
    material: Material, told: Callable[..., Material]
) -> None:
    said = headline(told(material, 0.01, 0.002, Evidence.FOUND, "label"))
    assert "Choosing λ per structure improves held-out Dice over one λ for all by +0.010" in said
    assert "This requires a separate registration for each structure." in said
    both = Scope(criteria=(("label", "thalamus"), ("task", "within")))
    findings = (*material.findings, replace(material.cohort, scope=both))
    product = headline(
        told(replace(material, findings=findings), 0.01, 0.002, Evidence.FOUND, "label × task")
    )
    assert "Choosing λ per structure × task improves" in product
    assert "This requires a separate registration for each structure" in product
    assert "registration of its own" not in headline(
        told(material, 0.01, 0.002, Evidence.FOUND, "task")
    )
    assert "registration of its own" not in headline(
        told(material, 0.01, 0.002, Evidence.NONE, "label")
    )


@pytest.mark.parametrize("evidence", [Evidence.NONE, Evidence.NEGLIGIBLE, Evidence.TOO_FEW])
def test_what_is_not_evidence_is_no_claim_however_large(
    material: Material, told: Callable[..., Material], evidence: Evidence
) -> None:
    other = told(material, 0.1, 0.001, evidence, "label")
    assert improvements(other) == []
    assert "choosing λ per structure improves" not in headline(other).lower().replace(
        "no evidence that choosing", ""
    )


@pytest.mark.parametrize("flag", BROKEN)
def test_of_a_broken_model_the_headline_says_what_is_broken(
    material: Material, flag: OptimumWarning
) -> None:
    findings = (replace(material.cohort, warnings=(flag,)), *material.findings[1:])
    assert headline(replace(material, findings=findings)) == flag.message


def test_an_optimum_at_an_end_of_the_range_is_told_in_the_headline(material: Material) -> None:
    findings = (replace(material.cohort, warnings=(OptimumWarning.BOUND,)), *material.findings[1:])
    other = replace(material, findings=findings)
    assert "λ = 0.35, at an end of the range, is best for the whole cohort" in headline(other)


def test_few_subjects_are_said_once_where_they_are_few_everywhere(material: Material) -> None:
    assert few_everywhere(material) == ""
    flagged = tuple(
        finding
        if "subject" in dict(finding.scope.criteria)
        else replace(finding, warnings=(OptimumWarning.FEW_SUBJECTS,))
        for finding in material.findings
    )
    everywhere = replace(material, findings=flagged)
    assert few_everywhere(everywhere) == (
        f"{OptimumWarning.FEW_SUBJECTS.message} This applies to all scopes: the search used 12 subjects."
    )
    but_one = replace(
        material, findings=(*flagged[:1], replace(flagged[1], warnings=()), *flagged[2:])
    )
    assert few_everywhere(but_one) == ""


def with_nearest(material: Material, value: float, low: float, high: float) -> bool:
    """Return whether a best value by nearest-neighbour Dice is said to differ from one with this interval."""
    cohort = material.cohort
    optimum: Optimum = replace(
        cohort.full.optimum, intervals={"regularization": Interval(low, high)}
    )
    nearest = replace(cohort.full.optimum, setting={"regularization": value})
    reported = {"dice_nearest": Reported(at_optimum=0.7, optimum=nearest)}
    return nearest_differs(
        replace(cohort, full=replace(cohort.full, optimum=optimum), reported=reported)
    )


def test_nearest_neighbour_dice_differs_where_its_best_setting_lies_outside_the_interval(
    material: Material,
) -> None:
    assert with_nearest(material, 0.7, 0.2, 0.5)
    assert not with_nearest(material, 0.5, 0.2, 0.5)
    assert not nearest_differs(replace(material.cohort, reported={}))


def test_without_an_interval_nothing_is_said_to_differ(material: Material) -> None:
    assert not with_nearest(material, 0.7, np.nan, np.nan)


def test_caveats_say_whose_setting_it_is(material: Material) -> None:
    said = " ".join(caveats(material))
    assert (
        "λ is specific to this network and this loss: parameters of other programs, such as those of SyN"
        in said
    )
    assert "Using a setting per structure gives one registration per structure" in said
    few = replace(material, findings=(replace(material.cohort, subjects=4), *material.findings[1:]))
    assert (
        "The search used 4 subjects; intervals and verdicts are given only from 5 subjects."
        in caveats(few)
    )


def test_a_gain_over_the_single_best_setting_stands_beside_that_over_the_default(
    material: Material,
) -> None:
    label = next(
        gain for gain in material.granularities if gain.name == "label" and gain.over == "default"
    )
    said = headline(material)
    assert f"The gain over the default is {label.gain.value:+.3f}" in said
    assert (": no evidence" in said.split("The gain over the default is")[1]) is (
        label.evidence is Evidence.NONE
    )
