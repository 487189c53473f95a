"""λ, the share of bending energy and the window: from training to the report, registration, baking and publishing."""

import html
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import hmopt as package
from hmopt.cli.app import app

PLUGIN = '''
"""A similarity of one's own, and a hyperparameter that is an argument of it."""

import hmopt


def power(moved, fixed, exponent=2.0):
    """Return the mean of the absolute difference to a power."""
    return (moved - fixed).abs().add(1e-3).pow(exponent).mean()


hmopt.add_similarity(
    hmopt.Similarity(name="power", title="power of the difference", function=power)
)
hmopt.add_hyperparameter(
    hmopt.TermParameter(
        name="exponent",
        symbol="p",
        title="power of the difference",
        low=1.0,
        high=2.0,
        default=2.0,
        most=4.0,
    )
)
'''

THREE = """
[hyperparameters.regularization]

[hyperparameters.bending_share]
step = 0.05

[hyperparameters.window]
high = 9

[search]
coarse = 3
refinements = 1
reported = ["folding"]
scopes = [["cohort"]]
"""

OWN = """
[hyperparameters.regularization]

[hyperparameters.exponent]
step = 0.1

[loss]
similarity = "power"

[search]
coarse = 3
refinements = 0
scopes = [["cohort"]]
"""


@pytest.fixture
def folder(make_study: Callable[[str, str], Path]) -> Path:
    return make_study("", THREE)


def test_three_hyperparameters_from_training_to_a_published_model(
    folder: Path, hmopt: Callable[..., str], tmp_path: Path
) -> None:
    hmopt("run", folder)
    log = pd.read_csv(folder / "training.csv")
    assert log["setting_window"].isin([3, 5, 7, 9]).all()

    optima = pd.read_csv(folder / "report/optima.csv")
    (best,) = optima.to_dict("records")
    assert best["window"] in (3, 5, 7, 9)
    assert 0 <= best["bending_share"] <= 1
    # 20 of the 27 settings of 3 × 3 × 3 values, the default with and without regularization, and one more
    assert best["trials"] <= 23
    assert np.isfinite(best["score_unregularized"])
    page = html.unescape((folder / "report/index.html").read_text(encoding="utf-8"))
    assert "β is the share of the regularizer that is bending energy." in page
    assert "window is the width of the window of local correlation in voxels; the scale" in page

    images = sorted((folder / "data/images").glob("*T1w.nii.gz"))
    moved_image = tmp_path / "moved.nii.gz"
    asked = ["register", folder, images[0], images[1], "--moved", moved_image]
    told = hmopt(*asked, "--set", "window=5", "--set", "bending_share=0.3")
    assert "bending_share 0.3, window 5" in told
    wrong = CliRunner().invoke(app, [*map(str, asked), "--set", "window=4"])
    assert wrong.exit_code == 2
    assert "window: expected a whole number in [3, 9] in steps of 2, got 4." in wrong.output

    baked = tmp_path / "baked.safetensors"
    hmopt("bake", folder, "--format", "safetensors", "--output", baked, "--set", "window=5")
    whole = package.load_model(folder / "model.safetensors")
    rng = np.random.default_rng(0)
    moving, fixed = rng.random((2, 32, 32), dtype=np.float32)
    setting: Mapping[str, float] = {"regularization": 0.5, "bending_share": 0.0, "window": 5}
    np.testing.assert_allclose(
        package.load_model(baked).displacement(moving, fixed, {}),
        whole.displacement(moving, fixed, setting),
        atol=1e-5,
    )

    published = tmp_path / "published"
    hmopt("publish", folder, "--to", published, "--data-license", "cc0-1.0")
    (optimum,) = json.loads((published / "optima.json").read_text(encoding="utf-8"))["scopes"]
    assert isinstance(optimum["recommended"]["window"], int)
    moved_image.unlink()
    told = hmopt("register", published, images[0], images[1], "--moved", moved_image)
    assert "window" in told
    assert moved_image.is_file()


@pytest.mark.parametrize("sampler", ["GPSampler", "TPESampler"])
def test_samplers_of_optuna_suggest_windows(
    folder: Path, hmopt: Callable[..., str], sampler: str
) -> None:
    path = folder / "study.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f'{text}sampler = "{sampler}"\ntrials = 12\n', encoding="utf-8")
    hmopt("train", folder)
    hmopt("search", folder)
    study = package.open_study(folder)
    windows = {trial.params["window"] for trial in study.trials}
    assert windows <= {3, 5, 7, 9}
    assert len(windows) > 1


def test_a_hyperparameter_of_a_plugin_is_an_argument_of_its_similarity(
    make_study: Callable[[str, str], Path], hmopt: Callable[..., str]
) -> None:
    folder = make_study(PLUGIN, OWN)
    hmopt("run", folder)
    log = pd.read_csv(folder / "training.csv")
    assert log["setting_exponent"].between(1, 2).all()
    header = package.read_study(folder)
    assert header.space.names == ("regularization", "exponent")
    page = html.unescape((folder / "report/index.html").read_text(encoding="utf-8"))
    assert "p is the power of the difference." in page
