"""From a checkpoint that something is wrong with to the page that says so."""

import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from hmopt.analysis.warnings import OptimumWarning
from hmopt.cli.app import app
from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import read_study
from hmopt.networks import load_hypermorph
from hmopt.training.train import train

BROKEN = {OptimumWarning.CONSTANT, OptimumWarning.ERRATIC, OptimumWarning.NO_BETTER}
DECLARATION = """
name = "toy"

[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"

[preprocessing]
shape = [32, 32]

[split]
train = 7
tune = 2
search = 5

[pairs]
tasks = ["cross"]
same = ["modality"]
search = 20
tune = 2

[network]
encoder = [8, 8]
decoder = [8]
final = [4]

[hypernetwork]
widths = [8]
learning_rate_share = 0.5

[loss]
similarity = "mse"

[training]
steps = 120
batch = 4
learning_rate = 5e-3
settings_per_step = 1
warm_up = 0
averaging = 0.9

[search]
scopes = [["cohort"]]
reported = ["folding"]
refinements = 1
"""

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose network was trained for long enough to register better than nothing."""
    folder = tmp_path_factory.mktemp("toy")
    make_cohort(folder / "data", subjects=14, shape=(32, 32))
    (folder / "study.toml").write_text(DECLARATION, encoding="utf-8")
    study = read_study(folder)
    train(study, prepare(study, folder), folder)
    return folder


@pytest.fixture
def reported(trained: Path, tmp_path: Path) -> Callable[..., str]:
    """Search and report a copy of the study with an altered model, and give the page."""

    def report(alter: Callable[[Path, Tensors], Tensors]) -> str:
        folder = tmp_path / "study"
        shutil.copytree(trained, folder)
        path = folder / "model.safetensors"
        with safe_open(path, framework="pt") as file:
            header = {"hmopt": file.metadata()["hmopt"]}  # without the hash of the weights
        save_file(
            {name: t.contiguous() for name, t in alter(path, load_file(path)).items()}, path, header
        )
        for command in ("search", "report"):
            result = CliRunner().invoke(app, [command, str(folder), "--quiet"])
            assert result.exit_code == 0, result.output
        return html.unescape((folder / "report" / "index.html").read_text(encoding="utf-8"))

    return report


def named(page: str) -> set[OptimumWarning]:
    """Return the warnings of the cohort by their names, each of which the page explains."""
    (cohort,) = re.findall(r'<details id="scope-cohort">.*?</details>', page, flags=re.DOTALL)
    warnings = re.findall(r'<dd class="warnings"><a href="#warnings">(.*?)</a>', cohort)
    names = warnings[0].split(", ") if warnings else []
    by_title = {warning.title: warning for warning in OptimumWarning}
    found = {by_title[name] for name in names}
    assert all(warning.message in page for warning in found)
    return found


def headline(page: str) -> str:
    """Return the first clause of the headline, a sentence."""
    found = re.search(r"<h1>(.*?)</h1>", page, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


def intact(_: Path, tensors: Tensors) -> Tensors:
    return tensors


def shuffled(_: Path, tensors: Tensors) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    return {
        name: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view(
            tensor.shape
        )
        for name, tensor in tensors.items()
    }


def constant(_: Path, tensors: Tensors) -> Tensors:
    return tensors | {"heads.weight": torch.zeros_like(tensors["heads.weight"])}


def bounded(path: Path, tensors: Tensors) -> Tensors:
    """At λ = 0 the field is half of what was learned, and from there it falls to nothing: the best lies beyond."""
    hypermorph, _ = load_hypermorph(path)
    weights = hypermorph.weights({"regularization": 0.0})
    last = {name: name.startswith("velocity.") for name in weights}
    base = torch.cat(
        [(0 if last[name] else 1) * tensor.flatten() for name, tensor in weights.items()]
    )
    head = torch.cat(
        [(0.5 if last[name] else 0) * tensor.flatten() for name, tensor in weights.items()]
    )
    altered = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()} | {
        "base": base.detach()
    }
    altered["trunk.0.weight"][0, 0] = (
        1.0  # the first hidden unit is the cosine of the setting's angle
    )
    altered["heads.weight"][:, 0] = head.detach()
    return altered


def test_a_model_that_registers_is_not_called_broken(reported: Callable[..., str]) -> None:
    page = reported(intact)
    assert not named(page) & BROKEN
    assert "is best for the whole cohort" in headline(page)


def test_shuffled_weights_are_named(reported: Callable[..., str]) -> None:
    page = reported(shuffled)
    assert OptimumWarning.NO_BETTER in named(page)
    assert headline(page) == OptimumWarning.NO_BETTER.message


def test_a_model_that_ignores_its_setting_is_named(reported: Callable[..., str]) -> None:
    page = reported(constant)
    assert {OptimumWarning.CONSTANT, OptimumWarning.FLAT} <= named(page)
    assert headline(page) == OptimumWarning.CONSTANT.message


def test_an_optimum_at_the_end_of_the_range_is_named(reported: Callable[..., str]) -> None:
    page = reported(bounded)
    assert OptimumWarning.BOUND in named(page)
    assert not named(page) & BROKEN
    assert "λ = 0.00, at an end of the range, is best for the whole cohort" in headline(page)
