import math
from typing import Any

import numpy as np
import pytest
import torch

from hmopt.declaration import AugmentationOptions
from hmopt.spatial import identity_grid
from hmopt.training.augmentation import random_displacement, random_gamma

SHAPES = [(9, 7), (5, 6, 7)]


class Normal(np.random.Generator):
    """Draws one standard deviation above the mean, every time."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def normal(self, loc: Any = 0, scale: Any = 1, size: Any = None) -> Any:
        return loc + scale if size is None else np.full(size, loc + scale)


def moved_by(
    options: AugmentationOptions, shape: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where voxels are taken from, (d, *shape), and where they are, both from the centre of the grid."""
    displacement = random_displacement(options, 1, shape, Normal())
    assert displacement is not None
    centre = (torch.tensor(shape) - 1).reshape(-1, *[1] * len(shape)) / 2
    from_centre = identity_grid(shape)[0] - centre
    return from_centre + displacement[0], from_centre


def test_nothing_declared_moves_nothing() -> None:
    assert random_displacement(AugmentationOptions(), 2, (8, 8), np.random.default_rng(0)) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_translation_is_the_same_everywhere(shape: tuple[int, ...]) -> None:
    taken, there = moved_by(AugmentationOptions(translation=1.5), shape)
    torch.testing.assert_close(taken, there + 1.5)


@pytest.mark.parametrize("shape", SHAPES)
def test_scaling_stretches_about_the_centre(shape: tuple[int, ...]) -> None:
    taken, there = moved_by(AugmentationOptions(scaling=0.2), shape)
    torch.testing.assert_close(taken, math.exp(0.2) * there)


def test_rotation_in_the_plane_is_about_the_centre() -> None:
    taken, (x, y) = moved_by(AugmentationOptions(rotation_degrees=30), (9, 7))
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    torch.testing.assert_close(taken, torch.stack([cos * x - sin * y, sin * x + cos * y]))


def test_rotation_in_space_keeps_distances_and_handedness() -> None:
    taken, there = moved_by(AugmentationOptions(rotation_degrees=20), (5, 6, 7))
    torch.testing.assert_close(taken.norm(dim=0), there.norm(dim=0))
    matrix = torch.linalg.lstsq(there.flatten(1).T, taken.flatten(1).T).solution
    assert float(torch.linalg.det(matrix)) == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(taken, there, atol=0.5)


@pytest.mark.parametrize("shape", [(33, 33), (33, 17, 17)])
def test_deformation_is_smooth_and_as_large_as_declared(shape: tuple[int, ...]) -> None:
    options = AugmentationOptions(deformation=2.0, deformation_spacing=8.0)
    displacement = random_displacement(options, 8, shape, np.random.default_rng(0))
    assert displacement is not None
    every_eighth = [slice(None, None, 8)] * len(shape)
    at_control_points = displacement[(slice(None), slice(None), *every_eighth)]
    assert float(at_control_points.std()) == pytest.approx(2, rel=0.1)
    assert displacement.diff(dim=2).abs().max() < 2


def test_images_are_moved_differently_and_by_the_seed_alone() -> None:
    options = AugmentationOptions(rotation_degrees=5, scaling=0.1, translation=1, deformation=1)
    one, again, other = (
        random_displacement(options, 2, (8, 8), np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert one is not None
    assert again is not None
    assert other is not None
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    assert not torch.allclose(one[0], one[1])


def test_gamma_raises_intensities_to_a_power() -> None:
    images = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    powered = random_gamma(AugmentationOptions(intensity=0.3), images, Normal())
    np.testing.assert_allclose(powered, images.numpy() ** math.exp(0.3), rtol=1e-5)
    ends = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    assert torch.equal(
        random_gamma(AugmentationOptions(intensity=0.3), ends, np.random.default_rng(0)), ends
    )
