"""The sections on what choosing gains, on structures with known best settings, and on what subjects have in common."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import family_gain
from hmopt.analysis.scope_result import analyse_scopes
from hmopt.files import slug
from hmopt.report import write_report, write_results
from hmopt.report.figure import style
from hmopt.report.headline import headline, improvements, which_improves
from hmopt.report.material import Material, read_material
from hmopt.report.part import Section
from hmopt.report.parts.anatomy import AnatomyPart
from hmopt.report.parts.covariates import CovariatesPart
from hmopt.report.parts.granularity import GranularityPart, LabelsPart
from hmopt.study_folder import StudyFolder


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture(autouse=True)
def drawn_in_style() -> object:
    with style():
        yield


@pytest.fixture
def with_evidence(with_gains: Callable[..., Material]) -> Callable[..., Material]:
    """The same study, as if all tests had said the same."""

    def build(material: Material, evidence: Evidence) -> Material:
        return with_gains(
            material,
            granularities=[replace(gain, evidence=evidence) for gain in material.granularities],
            gains={name: replace(gain, evidence=evidence) for name, gain in material.gains.items()},
            default_gains={
                name: replace(gain, evidence=evidence)
                for name, gain in material.default_gains.items()
            },
        )

    return build


def section(made: Section | None) -> Section:
    assert made is not None
    return made


def test_structures_with_their_own_optima_make_that_granularity_improve(material: Material) -> None:
    made = section(GranularityPart().section(material))
    assert made.found.startswith(
        "Held-out Dice improves with one λ for each structure over the single best setting for all (+0.0"
    )
    numbers = made.numbers["gain_per_granularity"]["label"]["over_common"]
    labels = [finding for finding in material.findings if finding.scope.label]
    mean = family_gain(labels, material.measurements.pairs)
    assert numbers["evidence"] == "evidence"
    assert numbers["p_value"] == pytest.approx(2 * stats.t.sf(mean.value / mean.error, 11))
    assert "Choosing λ per structure improves held-out Dice over one λ for all by +0.0" in headline(
        material
    )
    assert " This requires a separate registration for each structure." in headline(material)


def test_a_row_over_the_default_stands_beside_every_row_over_the_single_best(
    material: Material,
) -> None:
    made = section(GranularityPart().section(material))
    assert made.table is not None
    rows = made.table[["", "over"]].to_numpy().tolist()
    assert rows[0] == ["one λ for all", "the default λ = 0.50"]
    for what in (
        "one λ for each structure",
        "one λ for each task",
        "one λ for each subject",
        "only within subjects",
    ):
        assert [over for name, over in rows if name == what] == [
            "the single best setting for all",
            "the default λ = 0.50",
        ]


def test_a_section_says_how_many_subjects_chose_and_that_no_seed_matters(
    material: Material,
) -> None:
    made = section(GranularityPart().section(material))
    assert made.numbers["subjects_choosing"] == 6
    assert made.numbers["agreeing_seeds"] is None
    assert "the gains therefore refer to settings chosen on 6 subjects" in made.notes[0]
    assert (
        made.notes[1]
        == "All possible splits of the subjects were used, so no verdict depends on a random seed."
    )


def test_where_divisions_are_random_other_seeds_are_tried_and_counted(material: Material) -> None:
    some = material.searched.search.model_copy(update={"splits": 100})
    few = [
        finding for finding in material.findings if "subject" not in dict(finding.scope.criteria)
    ]
    random = replace(
        material, searched=replace(material.searched, search=some), findings=tuple(few)
    )
    expected = 0
    for seed in range(1, 10):
        section_ = some.model_copy(update={"seed": seed})
        scopes = [finding.scope for finding in few]
        again = analyse_scopes(material.measurements, None, scopes, section_)
        found = replace(random, findings=tuple(again)).granularities
        expected += [gain.evidence for gain in found] == [
            gain.evidence for gain in random.granularities
        ]
    assert random.agreeing_seeds == expected
    note = section(GranularityPart().section(random)).notes[1]
    assert (
        note
        == f"With 9 other seeds for the random splits, the verdicts on all granularities are unchanged for {expected}."
    )


def test_four_rescanned_subjects_are_said_to_be_too_few(material: Material) -> None:
    made = section(GranularityPart().section(material))
    groups = made.numbers["gain_per_group"]["task=within"]
    assert groups["over_common"]["subjects"] == groups["over_default"]["subjects"] == 4
    assert groups["over_common"]["gain"] != groups["over_default"]["gain"]
    assert any(
        note.startswith("Within subjects: 4 subjects are too few for a test") for note in made.notes
    )
    assert made.table is not None
    rows = made.table.set_index("")
    within = rows[rows.index == "only within subjects"]
    assert within["improves?"].tolist() == ["too few subjects"] * 2


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (
            Evidence.NONE,
            "there is no evidence that choosing λ per structure, task or subject improves held-out Dice: at most +",
        ),
        (Evidence.TOO_FEW, "too few subjects to test choosing λ per structure, task or subject"),
        (
            Evidence.NEGLIGIBLE,
            "choosing λ per structure, task or subject changes held-out Dice by less than 0.002",
        ),
    ],
)
def test_what_is_not_shown_is_said_not_to_be(
    material: Material, with_evidence: Callable[..., Material], evidence: Evidence, said: str
) -> None:
    told = with_evidence(material, evidence)
    assert which_improves(told)[0].startswith(said)
    assert improvements(told) == []


def test_each_structure_is_told_with_its_gain(material: Material) -> None:
    made = section(LabelsPart().section(material))
    numbers = made.numbers["gain_per_label"]
    assert set(numbers) == set(material.measurements.labels)
    gains = [one["gain"] for one in numbers.values()]
    assert gains == sorted(gains, reverse=True)
    for one in numbers.values():
        assert one["interval"][0] <= one["gain"] <= one["interval"][1]
        assert one["p_value"] <= one["p_adjusted"]
    assert list(made.figures) == ["gain-per-label"]
    assert made.table is not None
    assert len(made.table) == len(numbers)


def test_without_evidence_no_structure_is_named(
    material: Material, with_evidence: Callable[..., Material]
) -> None:
    none, few = (
        section(LabelsPart().section(with_evidence(material, one)))
        for one in (Evidence.NONE, Evidence.TOO_FEW)
    )
    assert none.found == (
        "Over the single best setting for all, there is no evidence of an improvement for any of 5 structures. "
        "Over the default λ = 0.50, there is no evidence of an improvement for any of 5 structures."
    )
    assert few.found == (
        "There are too few subjects to test which structures improve over the single best setting for all. "
        "There are too few subjects to test which structures improve over the default λ = 0.50."
    )


def test_only_structures_with_evidence_are_counted_and_losses_are_told_apart(
    material: Material,
    with_evidence: Callable[..., Material],
    with_gains: Callable[..., Material],
) -> None:
    told = with_evidence(material, Evidence.NONE)
    gains = dict(told.gains)
    for label, value in (("cortex", 0.02), ("thalamus", -0.01)):
        mean = replace(gains[f"label={label}"].mean, value=value)
        gains[f"label={label}"] = replace(
            gains[f"label={label}"], mean=mean, evidence=Evidence.FOUND
        )
    told = with_gains(told, gains=gains)
    assert section(LabelsPart().section(told)).found.startswith(
        "Over the single best setting for all, 1 of 5 structures improves significantly: cortex (+0.020); "
        "1 of 5 structures worsens significantly: thalamus (−0.010)."
    )


def test_a_structures_gain_is_told_over_both_and_without_pooling(material: Material) -> None:
    made = section(LabelsPart().section(material))
    assert set(made.numbers["gain_per_label_over_default"]) == set(made.numbers["gain_per_label"])
    for label, numbers in made.numbers["gain_per_label_over_default"].items():
        held = material.finding(label=label).held_out
        unpooled = material.finding(label=label).held_out_unpooled
        assert held is not None
        assert unpooled is not None
        assert numbers["gain"] == held.over_default.value
        assert numbers["gain_unpooled"] == unpooled.over_default.value


def test_the_best_settings_are_drawn_where_structures_lie(material: Material) -> None:
    made = section(AnatomyPart().section(material))
    assert made.found.startswith("This slice shows 5 of 5 structures: λ* rises from 0.0")
    key = [text.get_text() for text in made.pictures["anatomy"].axes[1].texts]
    assert key[0].split("  ")[1] == "cortex"
    assert len(key) == 5


def test_of_several_slices_that_with_most_structures_is_drawn(
    study_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(study_folder, tmp_path / "study")
    examples = tmp_path / "study" / "examples"
    with np.load(examples / "cohort.npz", allow_pickle=False) as arrays:
        full = dict(arrays)
    np.savez_compressed(examples / f"{slug('label=thalamus')}.npz", allow_pickle=False, **full)
    for role in ("typical", "worst"):
        full[f"{role}_fixed_labels"] = np.minimum(full[f"{role}_fixed_labels"], 2)
    np.savez_compressed(examples / "cohort.npz", allow_pickle=False, **full)
    assert "shows 5" in section(AnatomyPart().section(read_material(tmp_path / "study"))).found


def test_a_picture_of_the_anatomy_stays_in_the_report(study_folder: Path) -> None:
    page, results = write_report(study_folder), write_results(study_folder)
    assert (page.parent / "figures" / "anatomy.png").is_file()
    assert "λ* by location" in page.read_text(encoding="utf-8")
    assert (results / "figures" / "gain-per-label.png").is_file()
    assert not list(results.rglob("anatomy*"))
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["gain_per_label"]) == set(summary["scopes"]["label"])


def test_without_pictures_there_is_no_anatomy(material: Material, tmp_path: Path) -> None:
    assert AnatomyPart().section(replace(material, files=StudyFolder(tmp_path))) is None


def aged(material: Material, ages: dict[str, float]) -> Material:
    pairs = material.measurements.pairs
    moving, fixed = (
        pairs[f"{side}_subject"].map(ages).map("{:g}".format) for side in ("moving", "fixed")
    )
    groups = moving.where(moving == fixed, moving + "→" + fixed)
    return replace(
        material, measurements=replace(material.measurements, pairs=pairs.assign(age=groups))
    )


def test_nothing_known_of_subjects_is_no_section(material: Material) -> None:
    assert CovariatesPart().section(material) is None


def test_an_age_that_goes_with_the_best_setting_is_found(material: Material) -> None:
    subjects = sorted({*material.measurements.pairs["moving_subject"]})
    best = {
        name: next(
            f for f in material.findings if f.scope.criteria == (("subject", name),)
        ).full.optimum.setting
        for name in subjects
    }
    older = {name: 40 + 40 * float(best[name]["regularization"]) for name in subjects}
    made = section(CovariatesPart().section(aged(material, older)))
    assert made.numbers["sensitivity"]["regularization, age"]["effect"] == pytest.approx(1.0)
    assert (
        made.found
        == "There is evidence that subjects' best λ is associated with age (rank correlation +1.00)."
    )


def test_an_age_that_has_nothing_to_do_with_it_is_no_evidence(material: Material) -> None:
    subjects = sorted({*material.measurements.pairs["moving_subject"]})
    order = np.random.default_rng(4).permutation(len(subjects))
    made = section(
        CovariatesPart().section(
            aged(material, {name: 20.0 + n for name, n in zip(subjects, order, strict=True)})
        )
    )
    assert made.found == "There is no evidence that subjects' best λ is associated with age."
