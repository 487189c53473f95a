"""The comparison with other registration programs, from files whose numbers are known."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hmopt.errors import DataError
from hmopt.report.material import Material, read_material
from hmopt.report.parts.programs import ProgramsPart
from hmopt.study_folder import StudyFolder

SCORES = {
    "dice_held_out": 0.74,
    "dice_of_method": 0.70,
    "difference": 0.04,
    "interval": [0.02, 0.06],
    "pairs": 124,
    "subjects": 8,
    "seconds": 0.0092,
    "seconds_of_method": 0.571,
}


@pytest.fixture
def material(study_folder: Path, tmp_path: Path) -> Material:
    shutil.copytree(study_folder, tmp_path / "study", ignore=shutil.ignore_patterns("results"))
    return replace(read_material(study_folder), files=StudyFolder(tmp_path / "study"))


def write(material: Material, name: str, content: object) -> None:
    path = material.folder / "results" / f"versus_{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_without_scores_of_another_program_there_is_no_section(material: Material) -> None:
    assert ProgramsPart().section(material) is None


def test_each_method_is_a_row_and_the_sentence_says_which_differ(material: Material) -> None:
    same = {**SCORES, "difference": 0.001, "interval": [-0.01, 0.012]}
    few = {**SCORES, "interval": [None, None], "subjects": 4}
    write(material, "ants", {"cross": {"SyN": SCORES, "SyNCC": same}, "within": {"SyN": few}})
    write(
        material,
        "elastix",
        {"cross": {"bspline": {**SCORES, "difference": -0.04, "interval": [-0.06, -0.02]}}},
    )
    section = ProgramsPart().section(material)
    assert section is not None
    assert section.found == (
        "On held-out subjects hmopt has a higher Dice than ANTs SyN between subjects (+0.040). "
        "It has a lower Dice than elastix bspline between subjects (−0.040). "
        "There is no evidence of a difference to ANTs SyNCC between subjects (+0.001). "
        "There are too few subjects to compare it with ANTs SyN within subjects."
    )
    assert section.table is not None
    assert section.table.iloc[0].tolist() == [
        "ANTs SyN",
        "124 between subjects",
        "8",
        "0.700",
        "0.740",
        "+0.040 (0.020 to 0.060)",
        "0.571",
        "0.009",
    ]
    assert not section.numbers


def test_a_file_with_other_fields_is_named(material: Material) -> None:
    write(material, "ants", {"cross": {"SyN": {"dice": 0.7}}})
    with pytest.raises(DataError, match=r"versus_ants.json: .*dice_held_out"):
        ProgramsPart().section(material)
