import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from monai.losses.image_dissimilarity import LocalNormalizedCrossCorrelationLoss
from numpy.typing import NDArray

from hmopt.declaration import LossOptions
from hmopt.losses import (
    find_similarity,
    local_cross_correlation,
    mean_squared_error,
    mutual_information,
)

SHAPES = [(13, 12), (9, 8, 7)]


def images(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two noisy images in [0, 1] that partly agree, float64."""
    generator = torch.Generator().manual_seed(seed)
    one, noise = torch.rand(2, 2, 1, *shape, generator=generator, dtype=torch.float64)
    return one, 0.5 * one.square() + 0.5 * noise


def correlations(
    moved: NDArray[np.float64], fixed: NDArray[np.float64], window: int
) -> NDArray[np.float64]:
    """Return the squared correlation in the window around every voxel, one window at a time."""
    half = window // 2
    values = np.empty(moved.shape)
    for voxel in product(*map(range, moved.shape)):
        box = tuple(slice(max(place - half, 0), place + half + 1) for place in voxel)
        values[voxel] = np.corrcoef(moved[box].ravel(), fixed[box].ravel())[0, 1] ** 2
    return values


def loss_by_numpy(moved: torch.Tensor, fixed: torch.Tensor, window: int) -> float:
    pairs = zip(moved[:, 0].double().numpy(), fixed[:, 0].double().numpy(), strict=True)
    return 1 - float(np.mean([correlations(one, other, window) for one, other in pairs]))


def test_mean_squared_error_is_that_of_numpy() -> None:
    moved, fixed = images(6, 5)
    assert float(mean_squared_error(moved, fixed)) == pytest.approx(
        np.mean((moved.numpy() - fixed.numpy()) ** 2)
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [3, 5, 9])
def test_cross_correlation_is_that_of_every_window_by_itself(
    shape: tuple[int, ...], window: int
) -> None:
    moved, fixed = images(*shape)
    expected = loss_by_numpy(moved, fixed, window)
    single = local_cross_correlation(moved.float(), fixed.float(), window)
    assert float(single) == pytest.approx(expected, rel=1e-4)
    assert float(local_cross_correlation(moved, fixed, window)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("offset", [10.0, 1000.0])
def test_offset_far_above_the_spread_costs_no_precision_but_that_of_the_image(
    offset: float,
) -> None:
    moved, fixed = (
        image.float() + offset for image in images(13, 12)
    )  # + 1000 leaves steps of 6e-5
    assert float(local_cross_correlation(moved, fixed, 5)) == pytest.approx(
        loss_by_numpy(moved, fixed, 5), rel=1e-4
    )


def test_affine_change_of_intensities_changes_nothing() -> None:
    moved, fixed = images(13, 12)
    expected = float(local_cross_correlation(moved, fixed))
    assert float(local_cross_correlation(0.7 - 2 * moved, 3 * fixed + 5)) == pytest.approx(
        expected, rel=1e-5
    )


def test_flat_images_match_nothing() -> None:
    flat = torch.full((1, 1, 12, 12), 0.3)
    assert float(local_cross_correlation(flat, flat)) == pytest.approx(1)
    assert float(local_cross_correlation(flat, images(12, 12)[0][:1].float())) == pytest.approx(1)


def test_faint_noise_is_no_match_with_itself() -> None:
    noise = 1e-4 * images(12, 12)[0].float()
    assert float(local_cross_correlation(noise, noise)) > 0.99


@pytest.mark.parametrize("shape", [(16, 15), (10, 11, 9)])
def test_cross_correlation_is_monais_away_from_the_border(shape: tuple[int, ...]) -> None:
    """MONAI counts zeros beyond the grid: near the border, NumPy computes what to expect."""
    moved, fixed = (image[:1] for image in images(*shape))
    window, half = 5, 2
    monai = LocalNormalizedCrossCorrelationLoss(
        len(shape), window, reduction="none", smooth_dr=1e-12
    )
    expected = correlations(moved[0, 0].numpy(), fixed[0, 0].numpy(), window)
    inner = (slice(half, -half),) * len(shape)
    expected[inner] = -monai(moved, fixed)[0, 0][inner].numpy()
    assert float(local_cross_correlation(moved, fixed, window)) == pytest.approx(
        1 - expected.mean(), rel=1e-4
    )


def test_gradient_of_cross_correlation_is_that_of_finite_differences() -> None:
    moved, fixed = images(5, 6)
    inputs = (moved.requires_grad_(), fixed.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda one, other: local_cross_correlation(one, other, 3), inputs
    )


def test_cross_correlation_first_taken_in_inference_can_be_trained_with() -> None:
    moved, fixed = images(7, 17)
    with torch.inference_mode():
        local_cross_correlation(moved, fixed, 7)
    local_cross_correlation(moved.requires_grad_(), fixed, 7).backward()  # type: ignore[no-untyped-call]
    assert moved.grad is not None


def steps(count: int, size: int) -> torch.Tensor:
    """Return an image of `count` equally frequent intensities, in separate ones of 32 bins."""
    return (
        torch.linspace(0, 1, count, dtype=torch.float64)
        .repeat_interleave(size // count)
        .reshape(1, 1, -1, 1)
    )


@pytest.mark.parametrize("count", [2, 4])
def test_information_of_an_image_about_itself_is_its_entropy(count: int) -> None:
    image = steps(count, 64)
    assert float(mutual_information(image, image)) == pytest.approx(-math.log(count), abs=1e-3)
    assert float(mutual_information(1 - image.square(), image)) == pytest.approx(
        -math.log(count), abs=1e-3
    )


def test_independent_images_tell_nothing_of_each_other() -> None:
    one = steps(4, 64).expand(1, 1, 64, 64)
    assert float(mutual_information(one, one.mT)) == pytest.approx(0, abs=1e-4)


def test_gradient_of_mutual_information_is_that_of_finite_differences() -> None:
    moved, fixed = (0.1 + 0.8 * image[:1] for image in images(4, 3))
    assert torch.autograd.gradcheck(
        lambda one: mutual_information(one, fixed, 8), moved.requires_grad_()
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", mean_squared_error),
        ("lncc", lambda moved, fixed: local_cross_correlation(moved, fixed, 5)),
        ("mutual_information", mutual_information),
    ],
)
def test_declared_similarity_is_found(name: str, expected: Callable[..., torch.Tensor]) -> None:
    moved, fixed = images(8, 8)
    found = find_similarity(LossOptions.model_validate({"similarity": name, "window": 5}))
    assert torch.equal(found(moved, fixed), expected(moved, fixed))
