import numpy as np
import pytest
import torch
from monai.losses.image_dissimilarity import LocalNormalizedCrossCorrelationLoss
from scipy import ndimage

from hmopt.metrics.similarity import (
    VARIANCE_FLOOR,
    gradient_similarity,
    local_moments,
    normalized_mutual_information,
)
from hmopt.metrics.similarity import similarity as similarity_of

WINDOW = 9


def images(shape: tuple[int, ...], count: int = 2) -> torch.Tensor:
    generator = np.random.default_rng(len(shape))
    noise = [ndimage.gaussian_filter(generator.random(shape), 1.5) for _ in range(2 * count)]
    return torch.tensor(np.array(noise), dtype=torch.float32).reshape(2, count, 1, *shape)


def similarity(moved: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
    return similarity_of(local_moments(moved), local_moments(fixed))


def by_definition(moved_image: torch.Tensor, fixed_image: torch.Tensor) -> float:
    """Windows one by one, in double precision."""
    moved, fixed = (
        (one - one.mean()) / one.std()
        for one in (moved_image.double().numpy(), fixed_image.double().numpy())
    )
    values, half = [], WINDOW // 2
    for place in np.ndindex(moved.shape):
        window = tuple(slice(max(at - half, 0), at + half + 1) for at in place)
        a, b = moved[window] - moved[window].mean(), fixed[window] - fixed[window].mean()
        values.append((a * b).mean() ** 2 / ((a * a).mean() * (b * b).mean() + VARIANCE_FLOOR))
    return float(np.mean(values))


@pytest.mark.parametrize("shape", [(20, 17), (10, 11, 12)])
def test_similarity_is_the_mean_squared_correlation_of_windows(shape: tuple[int, ...]) -> None:
    moved, fixed = images(shape)
    expected = [by_definition(a[0], b[0]) for a, b in zip(moved, fixed, strict=True)]
    np.testing.assert_allclose(similarity(moved, fixed), expected, rtol=1e-3)


def test_similarity_is_that_of_monai_where_no_window_is_cut() -> None:
    """Flat borders as wide as half a window, zero once the mean is gone, are what MONAI pads with anyway."""
    moved, fixed = (
        torch.nn.functional.pad(one - one.mean((2, 3), keepdim=True), [16] * 4)
        for one in images((24, 24))
    )
    loss = LocalNormalizedCrossCorrelationLoss(spatial_dims=2, kernel_size=WINDOW, smooth_nr=0.0)
    expected = [-loss(a[None], b[None]).item() for a, b in zip(moved, fixed, strict=True)]
    np.testing.assert_allclose(similarity(moved, fixed), expected, atol=2e-4)


def test_linear_function_of_an_image_is_fully_similar() -> None:
    moved, _ = images((20, 20))
    np.testing.assert_allclose(similarity(7 - 3 * moved, moved), 1, atol=2e-3)


def test_scale_and_offset_do_not_matter() -> None:
    moved, fixed = images((20, 20))
    np.testing.assert_allclose(
        similarity(1000 + 50 * moved, fixed), similarity(moved, fixed), rtol=1e-2
    )


def test_flat_images_are_unlike_anything() -> None:
    moved, fixed = images((20, 20))
    values = similarity(torch.full_like(moved, 0.3), fixed)
    assert values.tolist() == [0, 0]
    assert similarity(torch.zeros_like(fixed), torch.zeros_like(fixed)).tolist() == [0, 0]


def test_better_registered_images_are_more_alike() -> None:
    _, fixed = images((24, 24))
    assert (similarity(fixed.roll(1, 2), fixed) > similarity(fixed.roll(3, 2), fixed)).all()


def test_mutual_information_is_that_of_a_histogram() -> None:
    """Against entropies from NumPy's own histograms."""
    rng = np.random.default_rng(0)
    one = rng.random((24, 20))
    other = 0.5 * one + 0.5 * rng.random((24, 20))
    counts, _, _ = np.histogram2d(one.ravel(), other.ravel(), bins=32)
    joint = counts / counts.sum()

    def entropy(shares: np.ndarray) -> float:
        present = shares[shares > 0]
        return float(-(present * np.log2(present)).sum())

    apart = entropy(joint.sum(0)) + entropy(joint.sum(1))
    expected = 2 * (apart - entropy(joint)) / apart
    tensors = [torch.from_numpy(image)[None, None] for image in (one, other)]
    assert normalized_mutual_information(*tensors).item() == pytest.approx(expected, rel=1e-6)


def test_edges_are_alike_whichever_side_is_brighter_and_not_when_moved() -> None:
    image = torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    assert gradient_similarity(3 - 2 * image, image).tolist() == pytest.approx([1, 1], abs=1e-5)
    moved = gradient_similarity(image.roll(3, 2), image)
    assert (moved < 0.6).all()


def test_an_axis_of_one_voxel_has_no_edges() -> None:
    """A volume of one slice is as alike as the slice, and images of one voxel have no edges at all."""
    moved, fixed = torch.rand(2, 2, 1, 12, 10, generator=torch.Generator().manual_seed(0))
    of_slices = gradient_similarity(moved, fixed)
    of_volumes = gradient_similarity(moved.unsqueeze(-1), fixed.unsqueeze(-1))
    torch.testing.assert_close(of_volumes, of_slices)
    voxel = torch.ones(2, 1, 1, 1)
    assert gradient_similarity(voxel, voxel).tolist() == [0, 0]
