"""Pieces of the published methods, and both from training to their tables on a tiny cohort."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hmopt.data.synthetic import make_cohort
from hmopt.declaration import LossOptions, NetworkOptions
from hmopt.losses import squared_gradient
from hmopt.training.loss import RegionalLoss
from studies.regional.published import (
    METHODS,
    ConditionalNormalization,
    LearnedMapNetwork,
    MapConditionedNetwork,
    learned_map_loss,
    main,
    weight_map,
)

OPTIONS = NetworkOptions(encoder=[4, 6, 8], decoder=[6, 4], final=[5])
DECLARATION = """
name = "tiny"
[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"
[preprocessing]
shape = [32, 32]
[split]
train = 3
tune = 1
search = 3
[pairs]
tasks = ["cross"]
same = ["modality"]
search = 4
tune = 1
[network]
encoder = [4, 8]
decoder = [8]
final = [4]
[hyperparameters.regularization]
[hyperparameters.regularization_deep]
[loss]
regions = { deep = ["thalamus", "putamen"] }
[training]
steps = 4
batch = 2
[search]
coarse = 3
"""


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_features_are_scaled_and_shifted_at_each_voxel_by_the_map() -> None:
    norm = ConditionalNormalization(3)
    torch.nn.init.zeros_(norm.scale.weight)
    torch.nn.init.zeros_(norm.shift.weight)
    features = draw(2, 3, 4, 6)
    centred = features - features.mean((2, 3), keepdim=True)
    deviation = centred.square().mean((2, 3), keepdim=True).sqrt()
    plain = centred / deviation
    uniform = torch.full((2, 1, 8, 12), 0.3)
    torch.testing.assert_close(norm(features, uniform), plain, atol=1e-4, rtol=0)

    torch.nn.init.normal_(norm.scale.weight)
    left = uniform.clone()
    left[..., :4] = 0.9  # two columns of the features, and a third within reach of the convolutions
    change = norm(features, left) - norm(features, uniform)
    assert change[..., :3].abs().min() > 0
    assert change[..., 5:].abs().max() == 0


def test_a_map_has_the_weight_of_each_region() -> None:
    loss = RegionalLoss(
        options=LossOptions(), scale=1.0, overlap_labels=(), spacing=None, regions={"deep": (2, 3)}
    )
    labels = torch.tensor([[[0, 1], [2, 3]]])
    found = weight_map(labels, loss, {"regularization": 0.25, "regularization_deep": 0.75})
    assert found.tolist() == [[[[0.25, 0.25], [0.75, 0.75]]]]


def test_velocities_begin_near_zero_and_follow_the_map() -> None:
    network = MapConditionedNetwork(OPTIONS)
    images = draw(2, 2, 1, 16, 24)
    weights = torch.full((2, 1, 16, 24), 0.5)
    velocity = network(*images, weights)
    assert velocity.shape == (2, 2, 8, 12)
    assert velocity.abs().max() < 0.1
    assert not torch.equal(network(*images, weights + 0.3), velocity)


def test_predicted_weights_lie_in_their_range() -> None:
    network = LearnedMapNetwork(OPTIONS, (16, 24))
    velocity, weights = network(*draw(2, 3, 1, 16, 24))
    assert velocity.shape == (3, 2, 8, 12)
    assert weights.shape == (3, 1, 8, 12)
    assert 0 < weights.min() < weights.max() < 1


def test_weights_of_one_are_the_balanced_loss() -> None:
    velocity = draw(2, 2, 6, 5)
    found = learned_map_loss(torch.tensor(0.4), velocity, torch.ones(2, 1, 6, 5), 0.75, alpha=1.2)
    torch.testing.assert_close(found, 0.4 + 3 * squared_gradient(velocity))


def test_the_prior_and_the_regularizer_are_in_balance_at_their_closed_form() -> None:
    """For weights w that are the same everywhere, ρ R w - (α - 1) log w is least at (α - 1) / (ρ R)."""
    velocity = draw(1, 2, 6, 5)
    roughness = float(squared_gradient(velocity))
    best = 0.2 / (3 * roughness)
    level = torch.tensor(best, requires_grad=True)
    weights = level.expand(1, 1, 6, 5)
    loss = learned_map_loss(torch.tensor(0.0), velocity, weights, 0.75, alpha=1.2)
    (gradient,) = torch.autograd.grad(loss, level)
    assert float(gradient) == pytest.approx(0, abs=1e-5)


def test_both_are_trained_and_measured(tmp_path: Path) -> None:
    make_cohort(tmp_path / "data", subjects=7, shape=(32, 32))
    (tmp_path / "study.toml").write_text(DECLARATION, encoding="utf-8")
    for method in METHODS:
        main([method, str(tmp_path), "--steps", "3", "--alpha", "1.1", "1.5"])
        rows = pd.read_csv(tmp_path / "published" / f"{method}.csv")
        assert set(rows["label"]) >= {"thalamus", "cortex"}
        assert rows["dice"].dropna().between(0, 1).all()
        settings = rows.groupby(["regularization", *rows.columns[1:2]]).size()
        assert len(settings) == {"weight_map": 11, "learned_map": 2}[method]
        assert settings.nunique() == 1  # as many pairs and structures at each
        assert np.isfinite(rows["folding"]).all()
