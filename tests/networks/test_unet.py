from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hmopt.networks.unet import UNet, _convolve, can_halve

CONVOLVE: dict[int, Callable[..., Tensor]] = {2: functional.conv2d, 3: functional.conv3d}
POOL: dict[int, Callable[..., Tensor]] = {2: functional.max_pool2d, 3: functional.max_pool3d}


def activated(layer: nn.Module, image: Tensor) -> Tensor:
    """Return the activated convolution of an image by a layer of padding 1."""
    tensors = layer.state_dict()
    convolve = CONVOLVE[image.dim() - 2]
    convolved = convolve(image, tensors["weight"], tensors["bias"], padding=1)
    return functional.leaky_relu(convolved, 0.2)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(
    ("encoder", "decoder", "final", "stride", "features", "grid"),
    [
        ([3, 4, 5], [6, 7], [8, 9], 1, 9, 24),
        ([3, 4, 5], [6, 7], [], 2, 7, 12),
        ([3, 4, 5], [6], [8], 2, 8, 6),
        ([3, 4, 5], [], [], 2, 5, 3),
        ([3, 4], [5], [6], 3, 6, 8),
        ([3, 4], [5], [6], 4, 6, 6),
        ([3], [], [4], 1, 4, 24),
    ],
)
def test_features_lie_on_the_grid_of_the_last_decoder_level(
    d: int,
    encoder: list[int],
    decoder: list[int],
    final: list[int],
    stride: int,
    features: int,
    grid: int,
) -> None:
    unet = UNet(d, 2, encoder, decoder, final, stride)
    assert unet.features == features
    assert unet(torch.zeros(2, 2, *[24] * d)).shape == (2, features, *[grid] * d)


def test_every_weight_matters() -> None:
    torch.manual_seed(0)
    unet = UNet(2, 2, [3, 4, 5], [4, 3], [2], stride=2)
    unet(torch.rand(1, 2, 16, 16)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in unet.parameters())


def test_finest_level_reaches_the_result_by_its_skip_connection() -> None:
    """With the way up from below cut off, what remains depends on the first convolution alone."""
    torch.manual_seed(0)
    unet = UNet(2, 1, [3, 4], [5], [], stride=1)
    decoder = unet.decoder[0].state_dict()
    decoder["weight"][:, :4] = 0
    image = torch.rand(1, 1, 8, 8)
    finest = activated(unet.encoder[0], image)
    expected = functional.conv2d(finest, decoder["weight"][:, 4:], decoder["bias"], padding=1)
    torch.testing.assert_close(unet(image), functional.leaky_relu(expected, 0.2))


@pytest.mark.parametrize("d", [2, 3])
def test_decoder_convolves_the_upsampled_image_joined_with_the_skip_connection(d: int) -> None:
    torch.manual_seed(d)
    network = UNet(d, 2, [4, 6, 8], [6, 5], [], stride=1).double()
    image = torch.randn(2, 2, *[8] * d, dtype=torch.float64)
    levels: list[Tensor] = []
    for layer in network.encoder:
        above = POOL[d](levels[-1], 2) if levels else image
        levels.append(activated(layer, above))
    expected = levels.pop()
    for layer, skip in zip(network.decoder, reversed(levels), strict=True):
        upsampled = functional.interpolate(expected, scale_factor=2)
        joint = torch.cat([upsampled, skip], 1)
        expected = activated(layer, joint)
    torch.testing.assert_close(network(image), expected)


@pytest.mark.parametrize("grid", [(12, 8, 10), (20, 20)])
def test_an_image_alone_has_the_values_and_gradients_of_one_in_a_batch(
    grid: tuple[int, ...],
) -> None:
    """It is convolved in halves, where gradients are computed."""
    torch.manual_seed(0)
    d = len(grid)
    layer = nn.Conv2d(6, 5, 3, padding=1) if d == 2 else nn.Conv3d(6, 5, 3, padding=1)
    images = torch.rand(2, 6, *grid)
    one, two = images[:1].clone().requires_grad_(), images.clone().requires_grad_()
    outer = torch.rand(1, 5, *grid)

    assert can_halve(one, layer.weight, [1] * d, [1] * d)
    alone = _convolve(one, layer.weight, layer.bias, [1] * d, [1] * d)
    in_batch = layer(two)[:1]
    torch.testing.assert_close(alone, in_batch)
    assert layer.bias is not None
    learned = [layer.weight, layer.bias]
    found = torch.autograd.grad(alone, [one, *learned], outer)
    expected = torch.autograd.grad(in_batch, [two, *learned], outer)
    torch.testing.assert_close(found[0], expected[0][:1])
    torch.testing.assert_close(found[1:], expected[1:], rtol=1e-5, atol=1e-5)


def test_without_gradients_an_image_is_convolved_whole() -> None:
    weight = torch.rand(4, 4, 3, 3, requires_grad=True)
    with torch.no_grad():
        assert not can_halve(torch.rand(1, 4, 8, 8), weight, [1, 1], [1, 1])
    assert can_halve(torch.rand(1, 4, 8, 8), weight, [1, 1], [1, 1])
    assert not can_halve(torch.rand(1, 4, 7, 8), weight, [1, 1], [1, 1])
    assert not can_halve(torch.rand(1, 4, 8, 8), weight, [2, 2], [1, 1])
