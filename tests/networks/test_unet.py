import pytest
import torch

from hmopt.networks.unet import UNet


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
    d: int, encoder: list[int], decoder: list[int], final: list[int], stride: int, features: int, grid: int
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
    decoder = unet.decoder[0].weight
    with torch.no_grad():
        decoder[:, :4] = 0
    image = torch.rand(1, 1, 8, 8)
    finest = torch.nn.functional.leaky_relu(unet.encoder[0](image), 0.2)
    expected = torch.nn.functional.conv2d(finest, decoder[:, 4:], unet.decoder[0].bias, padding=1)
    torch.testing.assert_close(unet(image), torch.nn.functional.leaky_relu(expected, 0.2))
