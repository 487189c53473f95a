"""A third hyperparameter: β weighs bending energy beside λ, is trained, searched, and named in the report."""

import html
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from hmopt.declaration import read_study
from hmopt.losses import RegisteredBatch, Terms, balanced_loss, loss_terms, weighted_loss
from hmopt.losses import bending_energy as bending

PLUGIN = '''
"""β · bending energy of the velocity, added to the loss."""

import hmopt

hmopt.add_hyperparameter(
    hmopt.WeightedTerm(
        name="bending_weight",
        symbol="β",
        title="bending energy",
        effect="added",
        low=0.0,
        high=2.0,
        default=0.0,
        most=100.0,
        function="hmopt.losses.regularization:bending_energy",
    )
)
'''

TABLES = """
[hyperparameters.regularization]

[hyperparameters.bending_weight]
step = 0.1

[loss]
similarity = "mse"

[search]
coarse = 3
refinements = 1
min_paired_subjects = 2
"""


@pytest.fixture
def folder(make_study: Callable[[str, str], Path]) -> Path:
    return make_study(PLUGIN, TABLES)


def test_it_is_trained_searched_and_named_in_the_report(
    folder: Path, hmopt: Callable[..., str]
) -> None:
    hmopt("run", folder)
    log = pd.read_csv(folder / "training.csv")
    assert log["setting_bending_weight"].between(0, 2).all()
    assert (log["bending_weight_term"] >= 0).all()
    optima = pd.read_csv(folder / "report/optima.csv")
    assert optima["bending_weight"].between(0, 2).all()
    page = html.unescape((folder / "report/index.html").read_text(encoding="utf-8"))
    assert "β in [0, 2]" in page
    assert "β · bending energy is added" in page


def test_range_that_is_not_declared_is_that_of_the_record(folder: Path) -> None:
    _, bending_weight = read_study(folder).space.hyperparameters
    assert (bending_weight.low, bending_weight.high, bending_weight.default) == (0.0, 2.0, 0.0)


def test_its_term_is_that_of_the_registered_batch(folder: Path) -> None:
    study = read_study(folder)
    velocity = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    image = torch.zeros(2, 1, 8, 8)
    registered = RegisteredBatch(
        moving=image,
        fixed=image,
        moving_labels=None,
        fixed_labels=None,
        velocity=velocity,
        displacement=velocity,
        spacing=(1.0, 2.0),
        options=study.loss,
        overlap_labels=(),
        scale=1.0,
    )
    terms = loss_terms(registered, {"regularization": 0.5, "bending_weight": 1.5})
    assert torch.equal(terms.weighted["bending_weight"], bending(velocity, (1.0, 2.0)))


def test_its_term_is_added_to_the_loss_at_its_weight(folder: Path) -> None:
    read_study(folder)
    weighted = {"regularization": torch.tensor(1.3), "bending_weight": torch.tensor(0.4)}
    terms = Terms(dissimilarity=torch.tensor(0.7), weighted=weighted)
    setting = {"regularization": 0.25, "bending_weight": 1.5}
    expected = 0.75 * 2 * 0.7 + 0.25 * 1.3 + 1.5 * 0.4
    assert float(weighted_loss(terms, setting, scale=2)) == pytest.approx(expected)
    assert float(balanced_loss(terms, setting, scale=2)) == pytest.approx(expected / 0.75)
