import numpy as np
import pytest
import torch
from scipy import ndimage

from hmopt.spatial.window import window_mean, window_sum


@pytest.mark.parametrize("window", [1, 3, 5, 9])
@pytest.mark.parametrize("shape", [(14, 11), (10, 7, 9)])
def test_sum_is_that_of_scipys_filter(shape: tuple[int, ...], window: int) -> None:
    image = torch.rand(2, *shape, generator=torch.Generator().manual_seed(window))
    size = [1, *[window] * len(shape)]
    expected = ndimage.uniform_filter(
        image.double().numpy(), size, mode="constant"
    ) * window ** len(shape)
    np.testing.assert_allclose(window_sum(image, window), expected, atol=1e-4)


def test_mean_is_of_what_lies_inside_the_grid() -> None:
    image = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    mean = window_mean(image, 5)[0, 0]
    assert mean[0, 0].item() == pytest.approx(image[0, 0, :3, :3].mean().item())
    assert mean[3, 6].item() == pytest.approx(image[0, 0, 1:, 4:].mean().item())


def test_mean_of_many_images_is_that_of_each() -> None:
    images = torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    for image, mean in zip(images.flatten(0, 1), window_mean(images, 3).flatten(0, 1), strict=True):
        assert torch.equal(window_mean(image[None, None], 3)[0, 0], mean)


def test_large_offset_is_not_lost_to_cancellation() -> None:
    image = torch.zeros(1, 64, 64)
    image[..., :32] = 1e6
    image[..., 48, 48] = 1.0
    assert window_sum(image, 9)[0, 48, 48].item() == 1.0


def test_what_is_kept_from_inference_serves_where_gradients_are_taken() -> None:
    with torch.inference_mode():
        window_mean(torch.ones(1, 1, 3, 5), 3)
    image = torch.ones(1, 1, 3, 5, requires_grad=True)
    window_mean(image, 3).sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
