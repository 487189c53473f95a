"""The sections on what choosing gains, on structures with known best settings, and on what subjects have in common."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hmopt.analysis.evidence import Evidence
from hmopt.files import slug
from hmopt.report import write_report, write_results
from hmopt.report.figure import style
from hmopt.report.headline import headline, which_pays
from hmopt.report.material import Material, read_material
from hmopt.report.section import Section
from hmopt.report.sections.anatomy import anatomy_section
from hmopt.report.sections.granularity import granularity_section
from hmopt.report.sections.labels import labels_section
from hmopt.report.sections.sensitivity import sensitivity_section


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture(autouse=True)
def drawn_in_style() -> object:
    with style():
        yield


def with_evidence(material: Material, evidence: Evidence) -> Material:
    """The same study, as if all tests had said the same."""
    other = replace(material)
    for name in ("granularities", "gains"):
        found = getattr(material, name)
        one_by_one = found.items() if isinstance(found, dict) else enumerate(found)
        changed = {key: replace(gain, evidence=evidence) for key, gain in one_by_one}
        other.__dict__[name] = changed if isinstance(found, dict) else list(changed.values())
    return other


def section(made: Section | None) -> Section:
    assert made is not None
    return made


def test_structures_with_their_own_optima_make_that_granularity_pay(material: Material) -> None:
    made = section(granularity_section(material))
    assert made.found.startswith("There is evidence that it pays to choose")
    assert made.numbers["gain_per_granularity"]["label"]["evidence"] == "evidence"
    assert made.numbers["gain_per_granularity"]["label"]["p_value"] == pytest.approx(0.5**12)
    assert "a λ of its own for each structure pays: +0.0" in headline(material)


def test_four_rescanned_subjects_are_said_to_be_too_few(material: Material) -> None:
    made = section(granularity_section(material))
    assert made.numbers["gain_per_group"]["task=within"]["subjects"] == 4
    assert any(note.startswith("Within subjects: 4 subjects are too few for a test") for note in made.notes)
    rows = made.table.set_index("")
    assert rows.loc["only within subjects", "pays?"] == "too few subjects"


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (Evidence.NONE, "there is no evidence that a λ of its own for each structure, task or subject pays: at most +"),
        (Evidence.TOO_FEW, "too few subjects to test whether a λ of its own for each structure, task or subject pays"),
        (Evidence.FLAT, "there is no evidence that a λ of its own for each structure, task or subject pays: at most +"),
    ],
)
def test_what_is_not_shown_is_said_not_to_be(material: Material, evidence: Evidence, said: str) -> None:
    assert which_pays(with_evidence(material, evidence)).startswith(said)


def test_each_structure_is_told_with_its_gain(material: Material) -> None:
    made = section(labels_section(material))
    numbers = made.numbers["gain_per_label"]
    assert set(numbers) == set(material.measurements.labels)
    gains = [one["gain"] for one in numbers.values()]
    assert gains == sorted(gains, reverse=True)
    for one in numbers.values():
        assert one["interval"][0] <= one["gain"] <= one["interval"][1]
        assert one["p_value"] <= one["p_adjusted"]
    assert list(made.figures) == ["gain-per-label"]
    assert len(made.table) == len(numbers)


def test_without_evidence_no_structure_is_named(material: Material) -> None:
    none, few = (section(labels_section(with_evidence(material, one))) for one in (Evidence.NONE, Evidence.TOO_FEW))
    assert none.found == "There is no evidence that any of 5 structures gains from a λ of its own."
    assert few.found == "There are too few subjects to test which structures gain from a λ of its own."


def test_how_few_is_too_few_is_told(material: Material) -> None:
    few = replace(material)
    few.__dict__["gains"] = {
        name: replace(gain, subjects=6, evidence=Evidence.TOO_FEW) for name, gain in material.gains.items()
    }
    notes = section(labels_section(few)).notes
    assert (
        "6 subjects are too few for 5 structures: where every subject gains, the corrected p-value is 0.078." in notes
    )
    assert len(section(labels_section(material)).notes) == len(notes) - 1


def test_the_best_settings_are_drawn_where_structures_lie(material: Material) -> None:
    made = section(anatomy_section(material))
    assert made.found.startswith("Of 5 structures this slice shows 5: λ* rises from 0.0")
    key = [text.get_text() for text in made.pictures["anatomy"].axes[1].texts]
    assert key[0].split("  ")[1] == "cortex"
    assert len(key) == 5


def test_of_several_slices_that_with_most_structures_is_drawn(study_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(study_folder, tmp_path / "study")
    examples = tmp_path / "study" / "examples"
    with np.load(examples / "cohort.npz", allow_pickle=False) as arrays:
        full = dict(arrays)
    np.savez_compressed(examples / f"{slug('label=thalamus')}.npz", allow_pickle=False, **full)
    for role in ("typical", "worst"):
        full[f"{role}_fixed_labels"] = np.minimum(full[f"{role}_fixed_labels"], 2)
    np.savez_compressed(examples / "cohort.npz", allow_pickle=False, **full)
    assert "shows 5" in section(anatomy_section(read_material(tmp_path / "study"))).found


def test_a_picture_of_the_anatomy_stays_in_the_report(study_folder: Path) -> None:
    page, results = write_report(study_folder), write_results(study_folder)
    assert (page.parent / "figures" / "anatomy.png").is_file()
    assert "Where does which λ fit?" in page.read_text(encoding="utf-8")
    assert (results / "figures" / "gain-per-label.png").is_file()
    assert not list(results.rglob("anatomy*"))
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["gain_per_label"]) == set(summary["scopes"]["label"])


def test_without_pictures_there_is_no_anatomy(material: Material, tmp_path: Path) -> None:
    assert anatomy_section(replace(material, folder=tmp_path)) is None


def aged(material: Material, ages: dict[str, float]) -> Material:
    pairs = material.measurements.pairs
    moving, fixed = (pairs[f"{side}_subject"].map(ages).map("{:g}".format) for side in ("moving", "fixed"))
    groups = moving.where(moving == fixed, moving + "→" + fixed)
    return replace(material, measurements=replace(material.measurements, pairs=pairs.assign(age=groups)))


def test_nothing_known_of_subjects_is_no_section(material: Material) -> None:
    assert sensitivity_section(material) is None


def test_an_age_that_goes_with_the_best_setting_is_found(material: Material) -> None:
    subjects = sorted({*material.measurements.pairs["moving_subject"]})
    best = {
        name: next(f for f in material.findings if f.scope.criteria == (("subject", name),)).full.optimum.setting
        for name in subjects
    }
    older = {name: 40 + 40 * best[name]["regularization"] for name in subjects}
    made = section(sensitivity_section(aged(material, older)))
    assert made.numbers["sensitivity"]["regularization, age"]["effect"] == pytest.approx(1.0)
    assert made.found == "There is evidence that subjects' best λ goes with age (rank correlation +1.00)."


def test_an_age_that_has_nothing_to_do_with_it_is_no_evidence(material: Material) -> None:
    subjects = sorted({*material.measurements.pairs["moving_subject"]})
    order = np.random.default_rng(4).permutation(len(subjects))
    made = section(
        sensitivity_section(aged(material, {name: 20.0 + n for name, n in zip(subjects, order, strict=True)}))
    )
    assert made.found == "There is no evidence that subjects' best λ goes with age."
