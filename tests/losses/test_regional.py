"""The loss with a weight for each region: closed forms, differences of finite size, and the loss with one weight."""

from collections.abc import Mapping

import pytest
import torch

from hmopt.catalogue import add_regularizer, find_regularizer
from hmopt.catalogue.losses import Regularizer
from hmopt.declaration import LossOptions
from hmopt.errors import DataError, DeclarationError
from hmopt.losses import (
    RegisteredBatch,
    Terms,
    balanced_loss,
    bending_energy,
    loss_terms,
    regional_loss,
    regional_terms,
    squared_gradient,
)
from hmopt.losses.regional import region_shares, regularize_regions
from hmopt.losses.regularization import bending_energy_by_region, squared_gradient_by_region
from hmopt.spatial import identity_grid
from hmopt.spatial.integration import velocity_to_displacement

STRIDE = 2
REGIONS = {"rough": (1, 4), "deep": (2,)}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def draw_labels(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 5, shape, generator=generator)


def registered(
    regularizer: str = "gradient", velocity: torch.Tensor | None = None
) -> RegisteredBatch:
    """Return two pairs with noise for images and labels."""
    velocity = draw(2, 2, 6, 8) if velocity is None else velocity
    return RegisteredBatch(
        moving=draw(2, 1, 12, 16, seed=3),
        fixed=draw(2, 1, 12, 16, seed=4),
        moving_labels=draw_labels(2, 12, 16),
        fixed_labels=draw_labels(2, 12, 16),
        velocity=velocity,
        displacement=velocity_to_displacement(velocity, 3, STRIDE),
        spacing=(1.0, 2.5),
        options=LossOptions(similarity="mse", regularizer=regularizer),
        overlap_labels=(1, 2),
        scale=1.7,
    )


def setting_of(common: float, rough: float, deep: float) -> dict[str, float]:
    return {
        "regularization": common,
        "regularization_rough": rough,
        "regularization_deep": deep,
    }


def loss_of(batch: RegisteredBatch, setting: Mapping[str, float]) -> torch.Tensor:
    terms = regional_terms(batch, setting, REGIONS)
    return regional_loss(terms, setting, batch.scale)


@pytest.mark.parametrize("regularizer", ["gradient", "bending"])
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.95, 0.97, 1.0])
def test_with_equal_weights_it_is_the_loss_with_one_weight(
    regularizer: str, strength: float
) -> None:
    batch = registered(regularizer)
    one = {"regularization": strength}
    expected = balanced_loss(loss_terms(batch, one), one, batch.scale)
    found = loss_of(batch, setting_of(strength, strength, strength))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_each_weight_weighs_its_region_alone() -> None:
    batch = registered()
    low = setting_of(0.2, 0.2, 0.2)
    parts = regional_terms(batch, low, REGIONS).weighted
    for name in ("regularization", "regularization_rough", "regularization_deep"):
        change = loss_of(batch, {**low, name: 0.6}) - loss_of(batch, low)
        torch.testing.assert_close(change, (0.6 / 0.4 - 0.2 / 0.8) * parts[name])


@pytest.mark.parametrize(
    ("strengths", "data", "weights"),
    [
        ((0.5, 0.75), 1.0, (1.0, 3.0)),
        ((0.0, 1.0), 1.0, (0.0, 20.0)),  # the data are needed elsewhere
        ((0.97, 1.0), 0.6, (19.4, 20.0)),
        ((1.0, 1.0), 0.0, (20.0, 20.0)),
    ],
)
def test_weights_of_the_terms(
    strengths: tuple[float, float], data: float, weights: tuple[float, float]
) -> None:
    names = ("regularization", "regularization_deep")
    parts = dict(zip(names, torch.tensor([0.3, 1.1]), strict=True))
    overlap = {"label_weight": torch.tensor(0.4)}
    terms = Terms(dissimilarity=torch.tensor(0.7), weighted={**parts, **overlap})
    setting = {**dict(zip(names, strengths, strict=True)), "label_weight": 0.25}
    data_term = 0.75 * 2 * 0.7 + 0.25 * 0.4
    expected = data * data_term + weights[0] * 0.3 + weights[1] * 1.1
    found = regional_loss(terms, setting, scale=2)
    assert float(found) == pytest.approx(expected)


def test_gradients_are_those_of_finite_differences() -> None:
    velocity = draw(2, 2, 6, 8).requires_grad_()
    setting = setting_of(0.3, 0.8, 0.05)
    loss = loss_of(registered(velocity=velocity), setting)
    (gradient,) = torch.autograd.grad(loss, velocity)
    step = 1e-6
    for place in ((0, 0, 2, 3), (1, 1, 5, 0), (0, 1, 0, 7)):
        change = torch.zeros_like(velocity)
        change[place] = step
        with torch.no_grad():
            ahead = loss_of(registered(velocity=velocity + change), setting)
            behind = loss_of(registered(velocity=velocity - change), setting)
        difference = (ahead - behind) / (2 * step)
        torch.testing.assert_close(gradient[place], difference, rtol=1e-4, atol=1e-8)


def test_two_halves_with_two_slopes_have_the_closed_form() -> None:
    """On the left v = 3 x, on the right v = x: the step between them belongs to both by half."""
    slopes = torch.tensor([3.0, 3.0, 3.0, 1.0, 1.0, 1.0])  # of the steps between seven voxels
    line = torch.cat([torch.zeros(1), slopes.cumsum(0)])
    velocity = torch.stack([line, torch.zeros(7)])[None, :, :, None].expand(1, 2, 7, 5)
    left = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0])[None, None, :, None].expand(1, 1, 7, 5)
    shares = torch.cat([left, 1 - left], dim=1)
    # 1/4 of the mean over the six steps: two whole ones, one of 3/4, one of 1/4, and so on
    expected = torch.tensor([(9 * 2.75 + 0.25) / 6, (9 * 0.25 + 2.75) / 6]) / 4
    torch.testing.assert_close(squared_gradient_by_region(velocity, shares), expected)


@pytest.mark.parametrize("shape", [(6, 5), (5, 4, 6)])
@pytest.mark.parametrize("spacing", [None, (1.0, 2.0, 0.7)])
def test_parts_are_sums_over_voxels_and_sum_to_the_whole(
    shape: tuple[int, ...], spacing: tuple[float, ...] | None
) -> None:
    d = len(shape)
    sides = None if spacing is None else spacing[:d]
    velocity = draw(2, d, *shape)
    shares = draw(2, 3, *shape, seed=1).softmax(dim=1)
    gradient = squared_gradient_by_region(velocity, shares, sides)
    torch.testing.assert_close(gradient.sum(), squared_gradient(velocity, sides))
    bending = bending_energy_by_region(velocity, shares, sides)
    torch.testing.assert_close(bending.sum(), bending_energy(velocity, sides))
    # one voxel of one region alone: the energy that a velocity which bends there alone has
    inner = (slice(None), slice(None), *(slice(1, 2) for _ in shape))
    alone = torch.zeros_like(shares)
    alone[inner][:, 0] = 1
    around = velocity
    for axis in range(2, d + 2):
        around = around.narrow(axis, 0, 3)
    count = torch.tensor([side - 2 for side in shape]).prod()
    found = bending_energy_by_region(velocity, alone, sides)
    torch.testing.assert_close(found[0], bending_energy(around, sides) / count)
    assert found[1] == found[2] == 0


def test_shares_are_those_of_a_loop_over_voxels() -> None:
    labels = draw_labels(2, 4, 6)
    found = region_shares(labels, list(REGIONS.values()), STRIDE)
    assert found.shape == (2, 3, 2, 3)
    for pair in range(2):
        for row in range(2):
            for column in range(3):
                counts = [0, 0, 0]
                for x in (2 * row, 2 * row + 1):
                    for y in (2 * column, 2 * column + 1):
                        value = int(labels[pair, x, y])
                        counts[{1: 1, 4: 1, 2: 2}.get(value, 0)] += 1
                expected = torch.tensor(counts) / 4
                torch.testing.assert_close(found[pair, :, row, column], expected)


def test_label_maps_are_needed() -> None:
    with pytest.raises(DataError, match="label maps of the fixed images"):
        regularize_regions(identity_grid((4, 4)), None, {"deep": (1,)}, LossOptions(), None)


@pytest.mark.usefixtures("catalogue")
def test_a_regularizer_that_cannot_be_divided_is_refused() -> None:
    add_regularizer(Regularizer(name="own", title="own", function=squared_gradient))
    assert find_regularizer("bending").load_by_region() is bending_energy_by_region
    labels = torch.ones(1, 4, 4, dtype=torch.long)
    options = LossOptions(regularizer="own")
    with pytest.raises(DeclarationError, match="divided among regions"):
        regularize_regions(identity_grid((4, 4)), labels, {"deep": (1,)}, options, None)
