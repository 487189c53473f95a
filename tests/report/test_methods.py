"""The methods of a study as prose: sentences of what was done, and none of what was not."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hmopt
from hmopt.catalogue import references
from hmopt.declaration import parse_study
from hmopt.report.figure import style
from hmopt.report.material import Material, read_material
from hmopt.report.methods import Methods, methods_of
from hmopt.report.part import Section
from hmopt.report.parts import make_sections


@pytest.fixture(scope="module")
def material(study_folder: Path) -> Material:
    return read_material(study_folder)


@pytest.fixture(scope="module")
def sections(material: Material) -> dict[str, Section]:
    with style():
        made = make_sections(material)
    return {part.anchor: section for part, section in made.items()}


@pytest.fixture(scope="module")
def methods(material: Material, sections: dict[str, Section]) -> Methods:
    return methods_of(material, sections)


def text_of(material: Material) -> str:
    return " ".join(methods_of(material, {}).paragraphs)


def test_the_numbers_of_the_study_stand_in_the_text(methods: Methods, material: Material) -> None:
    text = " ".join(methods.paragraphs)
    assert "on 136 pairs of images of 12 subjects (132 between subjects and 4 within" in text
    assert "The network was trained on 20 other subjects" in text
    assert "decisions about its training were made on 4 further subjects" in text
    assert "Labels of 5 structures were evaluated." in text
    assert "a grid of 48 × 64 voxels, with their centres aligned" in text
    assert "trained for 6,000 steps of Adam" in text
    assert "s = 2.500 scales D" in text
    assert (
        "D is the negative local normalized cross-correlation (Avants et al., 2008), R is" in text
    )
    assert "all pairs were registered at 21 values" in text
    assert "1,000 bootstrap samples" in text
    assert f"chosen on {material.divisions.choosing} of the 12 subjects" in text
    assert f"over {len(material.granularities)} comparisons" in text


def test_every_citation_is_in_the_list_and_every_entry_is_cited(methods: Methods) -> None:
    text = " ".join(methods.paragraphs)
    for reference in methods.references:
        assert reference.cited in text
        assert f"{{{reference.key}," in methods.bibtex
    in_brackets = re.findall(r"\(([^()]*, (?:19|20)\d\d[^()]*)\)", text)
    named = [name for bracket in in_brackets for name in bracket.split("; ")]
    assert {*named} == {reference.cited for reference in methods.references}
    assert methods.references[0] == references.HYPERMORPH


def test_nothing_is_said_of_what_was_not_done(methods: Methods) -> None:
    text = " ".join(methods.paragraphs)
    for word in ("augmented", "refined by", "amortization", "gradient, with", "engine", "ANTs"):
        assert word not in text
    assert references.LBFGS not in methods.references
    assert references.ANTS not in methods.references
    assert "compared on the same pairs" not in text


def test_of_few_subjects_nothing_is_said_of_intervals_and_tests(few_folder: Path) -> None:
    found = methods_of(read_material(few_folder), {})
    text = " ".join(found.paragraphs)
    for word in ("bootstrap", "jackknife", "Holm", "held-out"):
        assert word not in text
    assert references.HOLM not in found.references


def test_an_engine_is_named_with_its_version_and_no_network_is(material: Material) -> None:
    declared = {"model": {"source": "engine", "engine": "ants", "options": {"seed": 1}}}
    versions = {"antspyx": "0.5.4", "hmopt": "0.0.1", "optuna": "5.0.0"}
    searched = replace(material.searched, declared=declared, versions=versions, loss={})
    text = text_of(replace(material, searched=searched, study=None))
    assert "registered with ANTs (Avants et al., 2011) (antspyx 0.5.4) with seed = 1" in text
    assert "hypermorph" not in text
    assert "loss" not in text
    assert (
        f"The search was made with hmopt 0.0.1 and Optuna 5.0.0, and the analysis with hmopt {hmopt.__version__}."
        in text
    )


def test_versions_are_those_that_searched(material: Material) -> None:
    versions = {"hmopt": hmopt.__version__, "torch": "2.9.0", "optuna": "5.0.0"}
    searched = replace(material.searched, versions=versions)
    text = text_of(replace(material, searched=searched))
    assert text.endswith(
        f"The search was made with hmopt {hmopt.__version__}, PyTorch 2.9.0 (Paszke et al., 2019) and Optuna 5.0.0."
    )


def test_refinement_of_its_own_and_of_a_model_is_told_apart(material: Material) -> None:
    refined: dict[str, Any] = {"model": {"source": "trained"}, "refine": {"iterations": 25}}
    text = text_of(replace(material, searched=replace(material.searched, declared=refined)))
    assert "refined by up to 25 iterations of L-BFGS (Liu and Nocedal, 1989)" in text
    assert "minimizing the same loss." in text
    refined["refine"]["features"] = ["intensity", "laplacian"]
    text = text_of(replace(material, searched=replace(material.searched, declared=refined)))
    compared = "with the similarity averaged over intensities and Laplacians of the images."
    assert f"minimizing the same loss, {compared}" in text
    refined["refine"] = {"iterations": 25, "full_resolution_iterations": 5}
    text = text_of(replace(material, searched=replace(material.searched, declared=refined)))
    assert (
        "on its velocity, and up to 5 more at the resolution of the images, where the regularizer"
        in text
    )
    loss = {**material.searched.loss, "features": ["gradient"]}
    text = text_of(replace(material, searched=replace(material.searched, loss=loss)))
    assert ", computed on gradient magnitudes of the images, R is" in text
    alone: dict[str, Any] = {"model": {"source": "optimize"}, "refine": {"iterations": 20}}
    text = text_of(replace(material, searched=replace(material.searched, declared=alone)))
    assert "No network was trained" in text
    assert "up to 20 iterations of L-BFGS" in text
    assert "down to that of the setting." in text
    alone["refine"]["full_resolution_iterations"] = 5
    text = text_of(replace(material, searched=replace(material.searched, declared=alone)))
    assert (
        "down to that of the setting, and up to 5 more at the resolution of the images, where"
        in text
    )
    assert "refined" not in text.replace("refined where", "")


def test_augmentation_slices_and_alignment_are_told_where_there_are_some(
    material: Material,
) -> None:
    values = {
        "name": "x",
        "cohort": {"manifest": "cohort.csv"},
        "preprocessing": {
            "shape": [16, 32],
            "spacing_mm": [1.0, 2.0],
            "slices": {"axis": 1, "indices": [3, 4]},
            "placement": "affine",
            "normalization": "zscore",
        },
        "split": {"train": 1, "tune": 0, "search": 12},
        "training": {"augmentation": {"rotation_degrees": 5.0, "flip_axis": 0}},
    }
    text = text_of(replace(material, study=parse_study(values)))
    assert "slices 3 and 4 across axis 1 were taken" in text
    assert "16 × 32 voxels of 1 × 2 mm, after an affine alignment to a template" in text
    assert "scaled to mean 0 and standard deviation 1" in text
    assert "augmented by random rotation and flips" in text
    assert "trained on 1 other subject; all" in text
    assert "decisions about" not in text
