"""`hmopt new --engine`: a study of a registration program, its space written out."""

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.catalogue import ENGINES
from hmopt.cli.app import app
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import parse_study
from hmopt.errors import DeclarationError
from hmopt.workflow.new import Estimate, count_studies, estimate_study


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "data"
    make_cohort(folder, subjects=6, shape=(24, 24))
    return folder


def test_a_program_is_declared_with_its_parameters_and_all_subjects(
    data: Path, tmp_path: Path
) -> None:
    if importlib.util.find_spec(ENGINES["ants"].imports) is None:
        pytest.skip(f"needs antspyx: {ENGINES['ants'].install}")
    arguments = ["--manifest", str(data / "cohort.csv"), "--label-names", str(data / "dseg.tsv")]
    folder = tmp_path / "study"
    result = CliRunner().invoke(app, ["new", str(folder), *arguments, "--engine", "ants"])
    assert result.exit_code == 0, result.output
    assert "Model: ANTs; nothing is trained." in result.output
    written = tomllib.loads((folder / "study.toml").read_text(encoding="utf-8"))
    assert written["model"]["source"] == "engine"
    assert written["model"]["engine"] == "ants"
    assert written["split"]["train"] == 0
    assert written["split"]["search"] == 6
    assert written["hyperparameters"]["gradient_step"]["default"] == 0.2
    assert written["hyperparameters"]["similarity"]["choices"] == ["mattes", "CC", "meansquares"]
    assert written["hyperparameters"]["window_radius"]["only_if"] == {"similarity": ["CC"]}
    assert written["search"]["sampler"] == "TPESampler"
    assert "wall_time_s" in written["search"]["reported"]
    assert not {"network", "training", "loss", "report", "plugins"} & set(written)
    assert set(written["model"]) == {"source", "engine", "options", "threads"}
    study = hmopt.read_study(folder)
    assert study.space.default["similarity"] == "mattes"
    assert "window_radius" not in study.space.default


def test_an_unknown_program_a_model_as_well_and_planes_for_convexadam_are_refused(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeclarationError, match="expected one of ants, elastix, convexadam"):
        hmopt.new(tmp_path / "a", manifest=data / "cohort.csv", engine="demons")
    with pytest.raises(DeclarationError, match="--model or --engine"):
        hmopt.new(tmp_path / "a", manifest=data / "cohort.csv", engine="ants", model="other")
    with pytest.raises(DeclarationError, match="expected 3-D images"):
        hmopt.new(
            tmp_path / "a",
            manifest=data / "cohort.csv",
            label_names=data / "dseg.tsv",
            engine="convexadam",
        )
    assert not (tmp_path / "a").exists()


def test_a_program_that_is_not_installed_is_told_before_images_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ants" else find(name)
    )
    with pytest.raises(DeclarationError, match=r"--engine: .*Run pip install 'hmopt\[ants\]'"):
        hmopt.new(tmp_path / "a", manifest=tmp_path / "missing.csv", engine="ANTs")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "got neither. Name the images."),
        ({"images": "images"}, "got --images. Add --labels."),
        ({"images": "images", "manifest": "cohort.csv"}, "Use one of these."),
        ({"label_names": "dseg.tsv"}, "got neither. Name the images."),
    ],
)
def test_what_is_missing_of_the_images_is_named(
    tmp_path: Path, given: dict[str, str], message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        hmopt.new(
            tmp_path / "a",
            images=given.get("images"),
            manifest=given.get("manifest"),
            label_names=given.get("label_names"),
        )


def estimated(search: dict[str, Any], model: dict[str, Any], studies: int = 1) -> Estimate:
    study = parse_study(
        {
            "name": "x",
            "cohort": {"manifest": "cohort.csv"},
            "preprocessing": {"shape": [100, 100, 100]},
            "split": {"train": 0, "tune": 0, "search": 4},
            "model": {"source": "engine", **model},
            "hyperparameters": {"sigma": {}, "share": {}},
            "search": search,
        }
    )
    return estimate_study(study, items=8, pairs=10, labels=2, cores=2, studies=studies)


def test_the_time_of_a_program_is_that_of_its_trials() -> None:
    sampled = {"sampler": "TPESampler", "trials": 19}
    program = {"engine": "ants"}
    seconds = ENGINES["ants"].seconds_per_voxel * 100**3
    # 19 trials and the default, on ten pairs
    assert estimated(sampled, program).search_s == pytest.approx(20 * 10 * seconds)
    assert estimated({**sampled, "jobs": 2}, program).search_s == pytest.approx(100 * seconds)
    three = estimated(sampled, program, studies=3)
    assert three.search_s == pytest.approx((3 * 19 + 1) * 10 * seconds)
    spent = estimated({**sampled, "spending": "wilcoxon"}, program).search_s
    assert spent is not None
    assert 2 * 10 * seconds < spent < 0.5 * 20 * 10 * seconds
    planned = estimated({"coarse": 5, "refinements": 2}, program)
    assert planned.search_s == pytest.approx((25 + 2) * 10 * seconds)


def test_the_time_of_a_function_is_not_known(data: Path) -> None:
    assert estimated({}, {"callable": "mine.py:register"}).search_s is None


def test_each_scope_of_a_sampler_counts(data: Path, tmp_path: Path) -> None:
    made = hmopt.new(tmp_path / "a", manifest=data / "cohort.csv", label_names=data / "dseg.tsv")
    search = made.study.search.model_copy(update={"scopes": [["cohort"], ["label"], ["modality"]]})
    study = made.study.model_copy(update={"search": search})
    structures = len(made.found.cohort.structures)
    modalities = made.found.cohort.images["modality"].nunique()
    assert count_studies(study, made.found) == 1 + structures + modalities
