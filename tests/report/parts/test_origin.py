"""A model of elsewhere in the report: doubts about it, and its best settings on both cohorts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmopt.analysis.resampling import Estimate, Interval
from hmopt.declaration import Study
from hmopt.errors import DataError
from hmopt.report.figure import style
from hmopt.report.material import Material, read_material
from hmopt.report.origin import (
    OPTIMA,
    Known,
    ModelOptima,
    optima_of,
    optima_of_origin,
    read_optima,
    write_optima,
)
from hmopt.report.part import Section
from hmopt.report.parts.origin import DoubtsPart, OtherCohortPart
from hmopt.report.write import write_results
from hmopt.search.scopes import Scope
from hmopt.space import as_number
from hmopt.study_folder import StudyFolder

COHORT = Scope(criteria=())


@pytest.fixture(scope="module")
def there(study_folder: Path) -> ModelOptima:
    """The optima of a study, as its model would carry them to another cohort."""
    return optima_of(read_material(study_folder))


@pytest.fixture
def material(study_folder: Path, tmp_path: Path) -> Material:
    """The same study, as if its model came from a file whose folder is gone."""
    shutil.copytree(study_folder, tmp_path / "here")
    here = read_material(tmp_path / "here")
    study = here.study
    assert study is not None
    return replace(here, study=elsewhere(study))


def elsewhere(study: Study, warnings: tuple[str, ...] = ()) -> Study:
    options = {"source": "file", "path": Path("gone/model.safetensors"), "warnings": list(warnings)}
    return study.model_copy(update={"model": study.model.model_copy(update=options)})


def moved(optima: ModelOptima, by: float) -> ModelOptima:
    """Return the same optima, each at a value further up."""
    scopes = []
    for one in optima.scopes:
        setting = {"regularization": min(1.0, one.setting["regularization"] + by)}
        ends = (setting["regularization"] - 0.01, setting["regularization"] + 0.01)
        update: dict[str, Any] = {"setting": setting, "intervals": {"regularization": ends}}
        scopes.append(one.model_copy(update=update))
    return optima.model_copy(update={"scopes": scopes, "name": "their brains"})


def section_of(material: Material) -> Section | None:
    with style():
        return OtherCohortPart().section(material)


def keep(material: Material, optima: ModelOptima) -> None:
    write_optima(StudyFolder(material.folder).origin_file, optima)


def test_a_model_that_was_trained_here_has_no_section(study_folder: Path) -> None:
    material = read_material(study_folder)
    assert section_of(material) is None
    assert DoubtsPart().section(material) is None


def test_the_same_optimum_would_do(material: Material, there: ModelOptima) -> None:
    keep(material, there)
    section = section_of(material)
    assert section is not None
    assert "intervals overlap" in section.found
    assert "is sufficient for this cohort" in section.found
    scopes = section.numbers["other_cohort"]["scopes"]
    assert scopes["whole cohort"]["would_do"] is True
    assert set(scopes) >= {"thalamus", "cortex", "between subjects", "within subjects"}
    assert section.table is not None
    assert list(section.figures) == ["other-cohort-regularization"]


def test_an_optimum_far_off_loses_and_the_intervals_do_not_overlap(
    material: Material, there: ModelOptima
) -> None:
    settings = [index for (index,) in material.measurements.settings]
    furthest = as_number(material.searched.space.setting((max(settings),))["regularization"])
    keep(material, moved(there, furthest))
    section = section_of(material)
    assert section is not None
    assert "do not overlap" in section.found
    assert "is not sufficient for this cohort" in section.found
    numbers = section.numbers["other_cohort"]["scopes"]["whole cohort"]
    change, _, high = numbers["change"]
    assert change < high < 0
    assert numbers["would_do"] is False


def test_what_was_not_measured_here_is_told(material: Material, there: ModelOptima) -> None:
    keep(material, moved(there, 0.005))
    section = section_of(material)
    assert section is not None
    assert "run `hmopt search` again" in section.found


def test_optima_by_another_metric_are_not_compared(material: Material, there: ModelOptima) -> None:
    keep(material, there.model_copy(update={"metric": "hd95_mm"}))
    assert section_of(material) is None


def test_optima_travel_as_json_without_subjects(there: ModelOptima, tmp_path: Path) -> None:
    write_optima(tmp_path / OPTIMA, there)
    assert read_optima(tmp_path / OPTIMA) == there
    assert all(dict(one.criteria).get("subject") is None for one in there.scopes)
    overall = there.of(COHORT)
    assert overall is not None
    assert overall.interval("regularization").low <= overall.setting["regularization"]


def test_damaged_optima_are_refused(there: ModelOptima, tmp_path: Path) -> None:
    content = json.loads(there.model_dump_json())
    content["scopes"][0]["pairs"] = -1
    (tmp_path / OPTIMA).write_text(json.dumps(content))
    with pytest.raises(DataError, match="the best settings of a model"):
        read_optima(tmp_path / OPTIMA)


def test_unknown_numbers_are_null_in_json_and_nan_again() -> None:
    nan = float("nan")
    known = Known.of(Estimate(0.5, nan, nan))
    assert known.interval == (None, None)
    assert known.estimate.low != known.estimate.low
    assert Interval(*known.estimate[1:]) is not None


def test_what_an_earlier_command_kept_is_taken_where_the_model_is_gone(
    material: Material, there: ModelOptima
) -> None:
    study = material.study
    assert study is not None
    assert optima_of_origin(study, material.folder) is None
    keep(material, there)
    assert optima_of_origin(study, material.folder) == there


def test_results_keep_the_optima_of_the_model(material: Material, there: ModelOptima) -> None:
    declared = (material.folder / "study.toml").read_text()
    model = '\n[model]\nsource = "file"\npath = "gone.safetensors"\n'
    split = declared.replace("train = 20\ntune = 4\n", "train = 20\ntune = 4\n")
    (material.folder / "study.toml").write_text(split + model)
    keep(material, there)
    results = StudyFolder(write_results(material.folder)).path
    assert read_optima(results / "model-optima.json") == there


def test_doubts_stand_on_the_page(material: Material) -> None:
    assert material.study is not None
    doubts = ("Contrast: other intensities.", "Size: other sizes.")
    section = DoubtsPart().section(replace(material, study=elsewhere(material.study, doubts)))
    assert section is not None
    assert "2 potential problems" in section.found
    assert section.table is not None
    assert section.table.iloc[0].tolist() == ["Contrast", "other intensities."]
    assert section.numbers["model_warnings"] == list(doubts)
