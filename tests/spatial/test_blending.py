"""Blending of velocities: weights that add up to 1, and nothing lost where velocities are equal."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from hmopt.spatial import (
    blend,
    blending_weights,
    coarsen,
    jacobian_determinant,
    refine_displacement,
    smooth,
    unfold,
    velocity_to_displacement,
)
from hmopt.spatial.blending import NEAR


@pytest.mark.parametrize("shape", [(12, 20), (8, 10, 12)])
@pytest.mark.parametrize("width", [0.7, 2.0])
def test_smoothing_is_scipys_gaussian_filter(shape: tuple[int, ...], width: float) -> None:
    images = np.random.default_rng(0).random((2, 3, *shape))
    expected = [
        [ndimage.gaussian_filter(image, width, mode="nearest") for image in row] for row in images
    ]
    found = smooth(torch.from_numpy(images), width)
    np.testing.assert_allclose(found.numpy(), np.array(expected), atol=1e-9)


def test_constants_stay_when_they_are_smoothed_and_width_0_changes_nothing() -> None:
    images = torch.rand(1, 2, 6, 7)
    assert torch.equal(smooth(images, 0), images)
    torch.testing.assert_close(smooth(torch.ones(1, 1, 6, 7), 3.0), torch.ones(1, 1, 6, 7))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_coarse_voxel_is_the_mean_of_the_fine_ones_that_it_is_centred_on(stride: int) -> None:
    positions = torch.arange(16.0).expand(1, 1, 8, 16)
    coarse = coarsen(positions, stride)
    centres = stride * np.arange(16 // stride) + (stride - 1) / 2
    np.testing.assert_allclose(coarse[0, 0, 0].numpy(), centres)
    # refinement, which is linear, leads back to the positions inside of the outermost centres
    back = refine_displacement(coarse.expand(1, 2, -1, -1) / stride, stride)
    inner = slice(stride, 16 - stride)
    np.testing.assert_allclose(back[0, 0, 3, inner], positions[0, 0, 3, inner], atol=1e-5)


def random_shares(structures: int) -> torch.Tensor:
    """Return shares of structures and a background that add up to 1, without the background."""
    values = torch.rand(2, structures + 1, 10, 12, dtype=torch.float64) ** 8
    return (values / values.sum(dim=1, keepdim=True))[:, 1:]


@pytest.mark.parametrize("width", [0.0, 1.5])
def test_weights_add_up_to_1_near_structures_and_never_to_more(width: float) -> None:
    shares = random_shares(4)
    total = blending_weights(shares, width).sum(dim=1)
    near = smooth(shares, width).sum(dim=1) >= NEAR
    assert bool(near.any())
    torch.testing.assert_close(total[near], torch.ones_like(total[near]))
    assert float(total.max()) <= 1 + 1e-12
    assert float(blending_weights(shares, width).min()) >= 0


def test_at_a_border_weights_are_as_one_over_volumes() -> None:
    """Of three and nine voxels, with one that they share by half: it adds a half to either volume."""
    shares = torch.zeros(1, 2, 4, 4)
    shares[0, 0].view(-1)[:3] = 1
    shares[0, 1].view(-1)[4:13] = 1
    shares[0, :].flatten(1)[:, 3] = 0.5
    at_border = blending_weights(shares, 0.0)[0].flatten(1)[:, 3]
    expected = torch.tensor([1 / 3.5, 1 / 9.5])
    torch.testing.assert_close(at_border, expected / expected.sum())


def test_structures_of_one_volume_count_as_their_shares() -> None:
    shares = random_shares(3)
    volumes = shares.sum((2, 3), keepdim=True)
    alike = 40 * shares / volumes
    alike /= alike.sum(dim=1).max()
    smoothed = smooth(alike, 1.5)
    expected = smoothed / smoothed.sum(dim=1, keepdim=True).clamp(min=NEAR)
    torch.testing.assert_close(blending_weights(alike, 1.5), expected)


def test_the_order_of_structures_does_not_matter() -> None:
    shares = random_shares(3)
    order = [2, 0, 1]
    torch.testing.assert_close(
        blending_weights(shares[:, order], 1.0), blending_weights(shares, 1.0)[:, order]
    )


def test_a_blend_is_the_sum_of_weighted_velocities() -> None:
    first, second, third = (torch.rand(2, 2, 5, 6, dtype=torch.float64) for _ in range(3))
    weights = random_shares(2)[:, :, :5, :6]
    rest = 1 - weights.sum(dim=1, keepdim=True)
    expected = rest * first + weights[:, :1] * second + weights[:, 1:] * third
    found = blend(first, [(weights[:, :1], second), (weights[:, 1:], third)])
    torch.testing.assert_close(found, expected)


def test_equal_velocities_stay_what_they_are_to_the_last_bit() -> None:
    velocity = torch.rand(1, 2, 5, 6)
    weights = torch.rand(1, 1, 5, 6)
    assert torch.equal(blend(velocity, [(weights, velocity.clone())] * 3), velocity)


def integrated(velocity: torch.Tensor) -> torch.Tensor:
    """Return the displacement of a velocity of half the resolution of the images."""
    return velocity_to_displacement(velocity, steps=5, stride=2)


def folded(velocity: torch.Tensor) -> torch.Tensor:
    """Return how many voxels fold: (n,)."""
    return (jacobian_determinant(integrated(velocity)) <= 0).flatten(1).sum(1)


def rough(shape: tuple[int, ...], heights: list[float]) -> torch.Tensor:
    """Return a velocity for each height, in voxels: noise in the middle of the grid."""
    axes = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2 for side in shape], indexing="ij")
    squared = sum((axis**2 for axis in axes), torch.zeros(shape))
    noise = torch.randn(len(shape), *shape, generator=torch.Generator().manual_seed(0))
    one = noise * torch.exp(-squared / 8)
    return torch.stack([height * one for height in heights])


@pytest.mark.parametrize("shape", [(32, 40), (20, 24, 24)])
def test_a_blend_that_folds_moves_towards_the_common_velocity_there_and_nowhere_else(
    shape: tuple[int, ...],
) -> None:
    heights = [0.1, 4.0, 6.0]
    steep = rough(shape, heights)
    calm = rough(shape, [0.1, 0.1, 0.1])
    assert [count > 0 for count in folded(steep).tolist()] == [False, True, True]

    found = unfold(calm, steep, integrated)
    assert folded(found).tolist() == [0, 0, 0]
    assert torch.equal(found[0], steep[0])
    # the corners are far from the folds
    assert torch.equal(found[..., 0, :3], steep[..., 0, :3])
    # between the two velocities everywhere
    low, high = torch.minimum(calm, steep), torch.maximum(calm, steep)
    assert bool(((found >= low - 1e-6) & (found <= high + 1e-6)).all())
    for place in range(3):
        alone = unfold(calm[[place]], steep[[place]], integrated)
        torch.testing.assert_close(alone[0], found[place])


def test_folds_of_the_common_velocity_are_no_reason_to_move_towards_it() -> None:
    steep = rough((32, 40), [6.0])
    assert int(folded(steep)) > 0
    assert torch.equal(unfold(steep, steep, integrated), steep)
