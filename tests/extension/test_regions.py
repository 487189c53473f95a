"""A weight for each region: from training to the report, registration and baking."""

import html
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import hmopt as package
from hmopt.cli.app import app
from hmopt.errors import CheckpointError, DeclarationError
from hmopt.study_folder import StudyFolder

WEIGHTS = ("regularization", "regularization_outer", "regularization_inner")
TABLES = """
[hyperparameters.regularization]
[hyperparameters.regularization_outer]
[hyperparameters.regularization_inner]

[loss]
regions = { outer = ["cortex"], inner = ["thalamus", "putamen"] }

[search]
coarse = 4
refinements = 1
reported = ["folding", "loss"]
scopes = [["cohort"], ["label"]]
"""


@pytest.fixture
def folder(make_study: Callable[[str, str], Path]) -> Path:
    return make_study("", TABLES)


def test_regions_from_training_to_the_report(folder: Path, hmopt: Callable[..., str]) -> None:
    hmopt("train", folder)
    log = pd.read_csv(folder / "training.csv")
    for name in WEIGHTS:
        assert log[f"{name}_term"].gt(0).all()
        assert log[f"setting_{name}"].between(0, 1).all()

    hmopt("search", folder)
    measurements = StudyFolder(folder).measurements()
    of_one = [
        one for one in measurements.settings if measurements.space.has_one_regularization(one)
    ]
    assert {(place, place, place) for place in (0, 50, 100, 150, 188, 200)} <= set(of_one)
    assert np.isnan(measurements.values["loss"]).all()  # labels are not known at registration

    hmopt("report", folder, "--results")
    summary = json.loads((folder / "results/summary.json").read_text(encoding="utf-8"))
    regional = summary["regional_gain"]
    assert regional["settings_of_one"] == len(of_one)
    assert regional["weights"] == list(WEIGHTS)
    assert np.isfinite(regional["gain"]["difference"])
    page = html.unescape((folder / "report/index.html").read_text(encoding="utf-8"))
    assert "One field with a separate λ for each region" in page
    assert "+ Σ ρ(λ_k) · mean squared gradient of the velocity in region k" in page
    assert "λ(outer) is λ in the region outer (cortex) of the fixed image." in page


def test_a_trained_model_registers_and_is_baked_but_not_refined(
    folder: Path, hmopt: Callable[..., str], tmp_path: Path
) -> None:
    hmopt("train", folder)
    images = sorted((folder / "data/images").glob("*T1w.nii.gz"))
    asked = ["register", folder, images[0], images[1], "--moved", tmp_path / "moved.nii.gz"]
    told = hmopt(*asked, "--set", "regularization_inner=0.3")
    assert "regularization_inner 0.3" in told
    asked[-1] = tmp_path / "refined.nii.gz"
    refused = CliRunner().invoke(app, [*map(str, asked), "--refine", "5"])
    assert refused.exit_code == 2
    assert "one with regions (outer, inner)" in refused.output

    baked = tmp_path / "baked.safetensors"
    hmopt(
        "bake",
        folder,
        "--format",
        "safetensors",
        "--output",
        baked,
        "--set",
        "regularization_inner=0.3",
    )
    whole = package.load_model(folder / "model.safetensors")
    moving, fixed = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    setting = {**dict.fromkeys(WEIGHTS, 0.5), "regularization_inner": 0.3}
    np.testing.assert_allclose(
        package.load_model(baked).displacement(moving, fixed, {}),
        whole.displacement(moving, fixed, setting),
        atol=1e-5,
    )
    with pytest.raises(CheckpointError, match="regions"):
        package.search(folder, gap=True)


def test_a_structure_that_the_cohort_lacks_is_refused(folder: Path) -> None:
    path = folder / "study.toml"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"cortex"', '"bark"'), encoding="utf-8"
    )
    with pytest.raises(DeclarationError, match=r"loss\.regions\.outer: expected names among"):
        package.train(folder)
