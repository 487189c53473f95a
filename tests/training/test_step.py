import math

import pytest
import torch
from torch import nn

from hmopt.declaration import HypernetworkOptions, LossOptions, TrainingOptions
from hmopt.errors import DataError
from hmopt.losses import (
    dice_loss,
    local_cross_correlation,
    one_hot,
    squared_gradient,
    weighted_loss,
)
from hmopt.networks import Hypermorph, build_hypermorph
from hmopt.spatial import warp
from hmopt.training.batches import Batch
from hmopt.training.step import Loss, average_weights, learning_rate, make_optimizer, take_step

SETTING = {"regularization": 0.3, "label_weight": 0.4}


@pytest.fixture
def hypermorph() -> Hypermorph:
    torch.manual_seed(0)
    return build_hypermorph(
        {
            "shape": [16, 16],
            "network": {"encoder": [4, 4], "decoder": [4], "final": []},
            "hypernetwork": {"units": [4]},
            "hyperparameters": {"regularization": {}, "label_weight": {}},
        }
    )


def batch(with_labels: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(0)
    moving, fixed = torch.rand(2, 2, 1, 16, 16, generator=generator)
    moving_labels, fixed_labels = torch.randint(0, 4, (2, 2, 16, 16), generator=generator)
    labels = (moving_labels, fixed_labels) if with_labels else (None, None)
    return Batch(moving=moving, fixed=fixed, moving_labels=labels[0], fixed_labels=labels[1])


def loss(spacing: tuple[float, ...] | None = None) -> Loss:
    return Loss(section=LossOptions(window=5), scale=2.0, overlap_labels=(1, 3), spacing=spacing)


def test_terms_are_those_of_the_registered_batch(hypermorph: Hypermorph) -> None:
    one, network = batch(), hypermorph.bake(SETTING)
    assert one.moving_labels is not None
    assert one.fixed_labels is not None
    velocity = network(one.moving, one.fixed)
    displacement = network.displacement(velocity)
    moved_labels = warp(one_hot(one.moving_labels, (1, 3)), displacement)
    terms = loss(spacing=(1.0, 3.0)).terms(hypermorph, one, SETTING)
    torch.testing.assert_close(
        terms.dissimilarity, local_cross_correlation(warp(one.moving, displacement), one.fixed, 5)
    )
    torch.testing.assert_close(
        terms.weighted["label_weight"], dice_loss(moved_labels, one_hot(one.fixed_labels, (1, 3)))
    )
    torch.testing.assert_close(
        terms.weighted["regularization"], squared_gradient(velocity, (1.0, 3.0))
    )


def test_without_labels_there_is_no_overlap_loss(hypermorph: Hypermorph) -> None:
    terms = loss().terms(hypermorph, batch(with_labels=False), SETTING)
    assert terms.weighted["label_weight"] == 0


def test_step_tells_the_loss_before_it_and_lowers_it(hypermorph: Hypermorph) -> None:
    with torch.no_grad():
        before = loss().terms(hypermorph, batch(), SETTING)
    optimizer = make_optimizer(hypermorph, TrainingOptions(), HypernetworkOptions())
    total, terms = take_step(hypermorph, optimizer, loss(), batch(), SETTING, rate=1e-3)
    assert total == pytest.approx(float(weighted_loss(before, SETTING, 2.0)) / 0.7, rel=1e-5)
    assert float(terms.dissimilarity) == pytest.approx(float(before.dissimilarity))
    assert not terms.dissimilarity.requires_grad
    with torch.no_grad():
        after = loss().terms(hypermorph, batch(), SETTING)
    assert weighted_loss(after, SETTING, 2.0) < weighted_loss(before, SETTING, 2.0)


def test_first_step_moves_every_weight_by_its_share_of_the_rate(hypermorph: Hypermorph) -> None:
    """Adam's first step is as long as its learning rate, whatever the gradient."""
    network = hypermorph.hypernetwork
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    optimizer = make_optimizer(
        hypermorph, TrainingOptions(), HypernetworkOptions(learning_rate_share=0.25)
    )
    take_step(hypermorph, optimizer, loss(), batch(), SETTING, rate=1e-3)
    for name, weight in network.named_parameters():
        longest = float((weight.detach() - before[name]).abs().max())
        assert longest == pytest.approx(1e-3 if name == "base" else 0.25e-3, rel=0.02)


def test_loss_that_is_no_number_is_refused_and_moves_no_weight(hypermorph: Hypermorph) -> None:
    before = hypermorph.hypernetwork.base.clone()
    optimizer = make_optimizer(hypermorph, TrainingOptions(), HypernetworkOptions())
    broken = batch()
    broken.moving[0, 0, 3, 3] = torch.nan
    with pytest.raises(DataError, match=r"^training: expected a finite loss, got nan"):
        take_step(hypermorph, optimizer, loss(), broken, SETTING, rate=1e-3)
    assert torch.equal(hypermorph.hypernetwork.base, before)


@pytest.mark.parametrize(
    ("step", "share"), [(0, 1), (25, 0.5 + math.sqrt(0.125)), (50, 0.5), (100, 0)]
)
def test_learning_rate_follows_half_a_cosine(step: int, share: float) -> None:
    section = TrainingOptions(steps=100, learning_rate=2e-3)
    assert learning_rate(section, step) == pytest.approx(2e-3 * share, rel=1e-9, abs=1e-15)


def test_averages_forget_the_start_and_then_decay_as_declared() -> None:
    layer = nn.Linear(1, 1, bias=False)
    averages, expected = [torch.zeros(1, 1)], 0.0
    for step, value in enumerate([1.0, 3.0, 2.0] * 10):
        nn.init.constant_(layer.weight, value)
        average_weights(averages, layer, decay=0.7, step=step)
        decay = min(0.7, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert float(averages[0]) == pytest.approx(expected, rel=1e-5)


def test_no_averaging_keeps_the_last_weights() -> None:
    layer, averages = nn.Linear(3, 2), [torch.rand(2, 3), torch.rand(2)]
    average_weights(averages, layer, decay=0.0, step=7)
    assert torch.equal(averages[0], layer.weight)
    assert torch.equal(averages[1], layer.bias)
