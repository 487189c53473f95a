"""The U-Net inside a registration network."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
POOLING = {2: functional.max_pool2d, 3: functional.max_pool3d}
SLOPE = 0.2


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
        self.encoder = nn.ModuleList([first, *(convolution(a, b, 3, 1, 1) for a, b in pairwise(encoder))])
        skips = list(encoder[-2::-1])[: len(decoder)]
        below = [encoder[-1], *decoder][: len(decoder)]
        self.decoder = nn.ModuleList(
            [convolution(a + skip, b, 3, 1, 1) for a, skip, b in zip(below, skips, decoder, strict=True)]
        )
        last = decoder[-1] if decoder else encoder[-1]
        self.final = nn.ModuleList([convolution(a, b, 3, 1, 1) for a, b in pairwise([last, *final])])
        self.features = final[-1] if final else last
        self._pool = POOLING[d]

    def forward(self, image: Tensor) -> Tensor:
        """Give features of shape (batch, features, *grid) from an image of shape (batch, channels, *shape)."""
        levels: list[Tensor] = []
        for convolution in self.encoder:
            image = _activate(convolution(self._pool(image, 2) if levels else image))
            levels.append(image)
        for convolution, skip in zip(self.decoder, levels[-2::-1], strict=False):
            above = functional.interpolate(image, scale_factor=2, mode="nearest")
            image = _activate(convolution(torch.cat([above, skip], 1)))
        for convolution in self.final:
            image = _activate(convolution(image))
        return image


def _activate(image: Tensor) -> Tensor:
    return functional.leaky_relu(image, SLOPE, inplace=True)
