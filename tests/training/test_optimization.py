import copy
import math

import pytest
import torch
from torch import Tensor, nn

from hmopt.declaration import HypernetworkOptions, LossOptions, TrainingOptions
from hmopt.errors import DataError, DivergedError
from hmopt.losses import (
    balanced_loss,
    local_cross_correlation,
    overlap_loss,
    squared_gradient,
    weighted_loss,
)
from hmopt.networks import Hypermorph, build_hypermorph
from hmopt.spatial import warp
from hmopt.training.batches import Batch
from hmopt.training.group import Group
from hmopt.training.loss import Loss
from hmopt.training.optimization import (
    make_average,
    make_optimizer,
    make_schedule,
    take_step,
    take_step_together,
)
from tests.training.test_group import in_threads

SETTING = {"regularization": 0.3, "label_weight": 0.4}


@pytest.fixture
def hypermorph() -> Hypermorph:
    torch.manual_seed(0)
    return build_hypermorph(
        {
            "shape": [16, 16],
            "network": {"encoder": [4, 4], "decoder": [4], "final": []},
            "hypernetwork": {"widths": [4]},
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
    return Loss(options=LossOptions(window=5), scale=2.0, overlap_labels=(1, 3), spacing=spacing)


def test_terms_are_those_of_the_registered_batch(hypermorph: Hypermorph) -> None:
    one, network = batch(), hypermorph.bake(SETTING)
    assert one.moving_labels is not None
    assert one.fixed_labels is not None
    velocity = network(one.moving, one.fixed)
    displacement = network.displacement(velocity)
    terms = loss(spacing=(1.0, 3.0)).terms(hypermorph, one, SETTING)
    torch.testing.assert_close(
        terms.dissimilarity, local_cross_correlation(warp(one.moving, displacement), one.fixed, 5)
    )
    torch.testing.assert_close(
        terms.weighted["label_weight"],
        overlap_loss(one.moving_labels, one.fixed_labels, (1, 3), displacement),
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
    options = TrainingOptions(learning_rate=1e-3)
    optimizer = make_optimizer(hypermorph, options, HypernetworkOptions())
    total, terms = take_step(hypermorph, optimizer, loss(), batch(), [SETTING])
    assert total == pytest.approx(float(weighted_loss(before, SETTING, 2.0)) / 0.7, rel=1e-5)
    assert float(terms.dissimilarity) == pytest.approx(float(before.dissimilarity))
    assert not terms.dissimilarity.requires_grad
    with torch.no_grad():
        after = loss().terms(hypermorph, batch(), SETTING)
    assert weighted_loss(after, SETTING, 2.0) < weighted_loss(before, SETTING, 2.0)


def test_gradients_of_several_settings_are_averaged_over_pairs(hypermorph: Hypermorph) -> None:
    """The gradient of a step is that of the mean over pairs, each at the setting of its part."""
    low, high = {"regularization": 0.2, "label_weight": 0.1}, SETTING
    both = batch()
    optimizer = torch.optim.SGD(hypermorph.hypernetwork.parameters(), lr=0.0)
    value, terms = take_step(hypermorph, optimizer, loss(), both, [low, high])
    found = [weight.grad for weight in hypermorph.hypernetwork.parameters()]

    rows = both.divided(2)
    first = balanced_loss(loss().terms(hypermorph, rows[0], low), low, 2.0)
    second = balanced_loss(loss().terms(hypermorph, rows[1], high), high, 2.0)
    expected = torch.autograd.grad((first + second) / 2, list(hypermorph.hypernetwork.parameters()))
    torch.testing.assert_close(found, list(expected))
    assert value == pytest.approx(float(first.detach()))
    assert float(terms.dissimilarity) < 1


def test_first_step_moves_every_weight_by_its_share_of_the_rate(hypermorph: Hypermorph) -> None:
    """Adam's first step is as long as its learning rate, whatever the gradient."""
    network = hypermorph.hypernetwork
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    options = TrainingOptions(learning_rate=1e-3)
    optimizer = make_optimizer(hypermorph, options, HypernetworkOptions(learning_rate_share=0.25))
    take_step(hypermorph, optimizer, loss(), batch(), [SETTING])
    for name, weight in network.named_parameters():
        longest = float((weight.detach() - before[name]).abs().max())
        assert longest == pytest.approx(1e-3 if name == "base" else 0.25e-3, rel=0.02)


def test_a_long_gradient_is_shortened_as_a_whole(hypermorph: Hypermorph) -> None:
    """All its parts by the same factor, and a short one not at all."""
    weights = list(hypermorph.hypernetwork.parameters())
    optimizer = torch.optim.SGD(weights, lr=0.0)

    def gradient(longest: float | None) -> Tensor:
        take_step(hypermorph, optimizer, loss(), batch(), [SETTING], longest)
        parts = [weight.grad.flatten() for weight in weights if weight.grad is not None]
        return torch.cat(parts)

    whole = gradient(None)
    length = float(whole.norm())
    torch.testing.assert_close(gradient(length / 4), whole / 4)
    torch.testing.assert_close(gradient(2 * length), whole)


def test_loss_that_is_no_number_is_refused_and_moves_no_weight(hypermorph: Hypermorph) -> None:
    before = hypermorph.hypernetwork.base.clone()
    optimizer = make_optimizer(hypermorph, TrainingOptions(), HypernetworkOptions())
    broken = batch()
    broken.moving[0, 0, 3, 3] = torch.nan
    with pytest.raises(DataError, match=r"^training: expected a finite loss, got nan"):
        take_step(hypermorph, optimizer, loss(), broken, [SETTING])
    assert torch.equal(hypermorph.hypernetwork.base, before)


def adam(rates: list[float]) -> torch.optim.Optimizer:
    """Return Adam of a weight for each learning rate, which has taken a step."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    optimizer = torch.optim.Adam(groups)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    ("step", "share"), [(0, 1), (25, 0.5 + math.sqrt(0.125)), (50, 0.5), (100, 0)]
)
def test_learning_rate_follows_half_a_cosine(step: int, share: float) -> None:
    schedule = make_schedule(adam([2e-3, 5e-4]), steps=100, done=step)
    expected = [2e-3 * share, 5e-4 * share]
    assert schedule.get_last_lr() == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("step", [0, 4, 19, 20, 60])
def test_learning_rate_rises_linearly_over_the_first_steps(step: int) -> None:
    plain = make_schedule(adam([2e-3]), steps=100, done=step).get_last_lr()[0]
    warmed = make_schedule(adam([2e-3]), steps=100, done=step, warm_up=20).get_last_lr()[0]
    assert warmed == pytest.approx(plain * min(1, (step + 1) / 20))


def test_resumed_schedule_has_the_learning_rates_of_one_that_was_never_interrupted() -> None:
    whole = make_schedule(adam([2e-3, 5e-4]), steps=30)
    for step in range(30):
        optimizer = adam([2e-3, 5e-4])
        resumed = make_schedule(optimizer, steps=30, done=step)
        assert resumed.get_last_lr() == whole.get_last_lr()
        assert [group["lr"] for group in optimizer.param_groups] == whole.get_last_lr()
        whole.optimizer.step()
        whole.step()


def test_averages_forget_the_start_and_then_decay_as_declared() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    average, expected = make_average(layer, decay=0.7), 0.0
    for step, value in enumerate([1.0, 3.0, 2.0] * 10):
        nn.init.constant_(layer.weight, value)
        average.update_parameters(layer)
        decay = min(0.7, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    (weight,) = average.parameters()
    assert weight.item() == pytest.approx(expected, rel=1e-5)


def test_no_averaging_keeps_the_last_weights() -> None:
    layer = nn.Linear(3, 2)
    average = make_average(layer, decay=0.0)
    for _ in range(7):
        nn.init.uniform_(layer.weight)
        nn.init.uniform_(layer.bias)
        average.update_parameters(layer)
    weight, bias = average.parameters()
    assert torch.equal(weight, layer.weight)
    assert torch.equal(bias, layer.bias)


SETTINGS = [{"regularization": value, "label_weight": 0.4} for value in (0.1, 0.4, 0.7, 0.95)]
UNEVEN = 6
"""Pairs of four settings: two at the first two, one at each of the others."""


def larger_batch() -> Batch:
    """Return pairs of which the last one has fewer labels than the others."""
    generator = torch.Generator().manual_seed(1)
    moving, fixed = torch.rand(2, UNEVEN, 1, 16, 16, generator=generator)
    moving_labels, fixed_labels = torch.randint(0, 4, (2, UNEVEN, 16, 16), generator=generator)
    moving_labels[1][moving_labels[1] == 3] = 0
    return Batch(moving=moving, fixed=fixed, moving_labels=moving_labels, fixed_labels=fixed_labels)


def rows_of(whole: Batch, rows: slice) -> Batch:
    assert whole.moving_labels is not None
    assert whole.fixed_labels is not None
    return Batch(
        moving=whole.moving[rows],
        fixed=whole.fixed[rows],
        moving_labels=whole.moving_labels[rows],
        fixed_labels=whole.fixed_labels[rows],
    )


def step_of_processes(
    hypermorph: Hypermorph, whole: Batch, count: int
) -> tuple[list[Hypermorph], list[object]]:
    """Let some processes take a step together; return their models and what each of them told."""
    models = [copy.deepcopy(hypermorph) for _ in range(count)]

    def work(group: Group) -> object:
        model = models[group.number]
        optimizer = torch.optim.SGD(model.hypernetwork.parameters(), lr=0.1)
        own = rows_of(whole, group.pairs(len(whole.moving), len(SETTINGS)))
        pairs = len(whole.moving)
        return take_step_together(model, optimizer, loss(), own, group.part(SETTINGS), group, pairs)

    return models, in_threads(count, work)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_move_the_weights_as_one_process_does(hypermorph: Hypermorph, count: int) -> None:
    whole = larger_batch()
    models, told = step_of_processes(hypermorph, whole, count)
    optimizer = torch.optim.SGD(hypermorph.hypernetwork.parameters(), lr=0.1)
    before = hypermorph.hypernetwork.base.clone()
    value, terms = take_step(hypermorph, optimizer, loss(), whole, SETTINGS)
    assert not torch.equal(hypermorph.hypernetwork.base, before)
    for model in models:
        for found, expected in zip(
            model.hypernetwork.parameters(), hypermorph.hypernetwork.parameters(), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    first = told[0]
    assert isinstance(first, tuple)
    assert first[0] == value  # the first process has all pairs of the first setting
    assert float(first[1].dissimilarity) == float(terms.dissimilarity)


def test_a_loss_that_is_no_number_ends_all_processes_and_moves_no_weight(
    hypermorph: Hypermorph,
) -> None:
    broken = larger_batch()
    broken.moving[-1, 0, 3, 3] = torch.nan
    models, told = step_of_processes(hypermorph, broken, count=2)
    assert [type(error) for error in told] == [DivergedError, DivergedError]
    assert "got another number on another device" in str(told[0])
    assert "got nan" in str(told[1])
    for model in models:
        assert torch.equal(model.hypernetwork.base, hypermorph.hypernetwork.base)
