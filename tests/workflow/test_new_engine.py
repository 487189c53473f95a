"""`hmopt new --engine`: a study of a registration program, its space written out."""

import importlib.util
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.catalogue import ENGINES
from hmopt.cli.app import app
from hmopt.data.synthetic import make_cohort
from hmopt.errors import DeclarationError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "data"
    make_cohort(folder, subjects=4, shape=(24, 24))
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
    assert written["split"]["search"] == 4
    assert written["hyperparameters"]["gradient_step"]["default"] == 0.2
    assert written["hyperparameters"]["similarity"]["choices"] == ["mattes", "CC", "meansquares"]
    assert written["hyperparameters"]["window_radius"]["only_if"] == {"similarity": ["CC"]}
    assert written["search"]["sampler"] == "TPESampler"
    assert "wall_time_s" in written["search"]["reported"]
    assert not {"network", "training", "loss"} & set(written)
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
