"""The U-Net inside a registration network."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
POOLING = {2: functional.max_pool2d, 3: functional.max_pool3d}
SLOPE = 0.2
_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class UNet(nn.Module):
    """Convolutions down a pyramid of grids and back up, with skip connections.

    Parameters
    ----------
    d
        Spatial axes, 2 or 3.
    channels
        Of the input.
    encoder
        Features of each level, finest first; each level after the first has half the grid.
    decoder
        Features on the way up from the coarsest level, at most one fewer than `encoder`.
    final
        Features of further convolutions on the last grid.
    stride
        Of the first convolution.

    References
    ----------
    Ronneberger et al., MICCAI 2015; Balakrishnan et al., IEEE TMI 38, 2019, figure 3.

    Examples
    --------
    >>> import torch
    >>> UNet(2, 2, [4, 8, 8], [8, 8], [4], stride=2)(torch.zeros(1, 2, 16, 16)).shape
    torch.Size([1, 4, 8, 8])
    """

    def __init__(
        self,
        d: int,
        channels: int,
        encoder: Sequence[int],
        decoder: Sequence[int],
        final: Sequence[int],
        stride: int,
    ) -> None:
        super().__init__()
        convolution = CONVOLUTION[d]
        first = (
            convolution(channels, encoder[0], 2 * stride, stride, (stride + 1) // 2)
            if stride > 1
            else convolution(channels, encoder[0], 3, 1, 1)
        )
        self.encoder = nn.ModuleList(
            [first, *(convolution(a, b, 3, 1, 1) for a, b in pairwise(encoder))]
        )
        skips = list(encoder[-2::-1])[: len(decoder)]
        below = [encoder[-1], *decoder][: len(decoder)]
        self.decoder = nn.ModuleList(
            [
                convolution(a + skip, b, 3, 1, 1)
                for a, skip, b in zip(below, skips, decoder, strict=True)
            ]
        )
        last = decoder[-1] if decoder else encoder[-1]
        self.final = nn.ModuleList(
            [convolution(a, b, 3, 1, 1) for a, b in pairwise([last, *final])]
        )
        self.features = final[-1] if final else last
        self._dimensions = d

    def forward(self, image: Tensor) -> Tensor:
        """Give features of shape (batch, features, *grid) from an image of shape (batch, channels, *shape)."""
        joined = (
            len(self.encoder) - 1 - len(self.decoder)
        )  # the first level that a skip connection starts from
        pool = POOLING[self._dimensions]
        levels: list[Tensor] = []
        for level, convolution in enumerate(self.encoder):
            image = _apply(convolution, pool(image, 2) if level > joined else image)
            if level < joined:
                image = pool(
                    image, 2
                )  # the activation is monotonic: of fewer voxels it gives the same
            image = _activate(image)
            levels.append(image)
        for convolution, skip in zip(self.decoder, levels[-2::-1], strict=False):
            image = _activate(_convolve_upsampled(convolution, image, skip))
        for convolution in self.final:
            image = _activate(_apply(convolution, image))
        return image


def _apply(layer: nn.Module, image: Tensor) -> Tensor:
    return _convolve(image, layer.weight, layer.bias, layer.stride, layer.padding)  # type: ignore[arg-type]


def _convolve(
    image: Tensor, weight: Tensor, bias: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    d = len(stride)
    if (
        len(image) == 1
        and image.device.type == "cpu"
        and image.dtype == torch.float32
        and _HAS_ONEDNN
    ):
        # torch takes small images of a batch of one to a kernel that is three times slower and leaves channels-last
        return torch.mkldnn_convolution(image, weight, bias, padding, stride, [1] * d, 1)
    return CONVOLVE[d](image, weight, bias, stride, padding)


def convolve_to_few(layer: nn.Module, image: Tensor) -> Tensor:
    """Apply a 3 x 3 (x 3) convolution that gives few channels, to an image of shape (batch, channels, *grid).

    Processors compute sixteen channels at a time. So the three planes of the kernel across the last axis give channels
    of their own, which are then shifted and added: a third of the work.

    Examples
    --------
    >>> layer = nn.Conv2d(4, 2, 3, padding=1)
    >>> image = torch.rand(1, 4, 8, 8)
    >>> torch.allclose(convolve_to_few(layer, image), layer(image), atol=1e-6)
    True
    """
    weight, bias = cast(Tensor, layer.weight), cast(Tensor, layer.bias)
    d = image.dim() - 2
    planes = weight.movedim(-1, 0).flatten(0, 1).unsqueeze(-1)
    shares = CONVOLVE[d](image, planes, None, padding=[1] * (d - 1) + [0])
    before, here, after = shares.tensor_split(3, 1)
    total: Tensor = here + bias.reshape(-1, *[1] * d)
    total[..., 1:] += before[..., :-1]
    total[..., :-1] += after[..., 1:]
    return total


def _convolve_upsampled(layer: nn.Module, coarse: Tensor, skip: Tensor) -> Tensor:
    """Convolve the channels of a coarse image, upsampled to the nearest voxel, and those of a skip connection.

    Neither is upsampled nor are they put together: a convolution after upsampling is a transposed convolution of the
    coarse image, with 2^d weights for each fine voxel in place of 3^d.
    """
    d = coarse.dim() - 2
    from_coarse, from_skip = cast(Tensor, layer.weight).tensor_split([coarse.shape[1]], 1)
    fine = _convolve(skip, from_skip, cast(Tensor, layer.bias), [1] * d, [1] * d)
    return fine.add_(TRANSPOSED[d](coarse, _after_upsampling(from_coarse), stride=2, padding=1))


def _after_upsampling(weight: Tensor) -> Tensor:
    """Give the weights of the transposed convolution, (in, out, *4), from those of a convolution, (out, in, *3)."""
    d = weight.dim() - 2
    for axis in range(d):
        before = [0] * (2 * (d - 1 - axis))
        weight = functional.pad(weight, [*before, 1, 0]) + functional.pad(weight, [*before, 0, 1])
    return weight.flip(*range(2, d + 2)).transpose(0, 1)


def _activate(image: Tensor) -> Tensor:
    return functional.leaky_relu(image, SLOPE, inplace=True)
