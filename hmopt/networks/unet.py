"""The U-Net inside a registration network."""

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hmopt.spatial import divided

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
"""The order in memory in which convolutions over d axes are fastest."""
POOLING = {2: functional.max_pool2d, 3: functional.max_pool3d}
SLOPE = 0.2
"""Slope of the leaky rectifier for negative values."""
SMALL = 20480
"""Numbers in the first four axes of an image up to which torch has a slow convolution for it."""
_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class UNet(nn.Module):
    """Convolutions down a pyramid of grids and back up, with skip connections.

    For L levels of encoder features e_1 … e_L and M < L levels of decoder features d_1 … d_M,
    with σ the leaky rectifier:

        x_1 = σ(conv(image))                                stride `stride`
        x_i = σ(conv(pool(x_{i-1})))                        i = 2 … L, half the grid each
        y_0 = x_L
        y_j = σ(conv([upsample(y_{j-1}), x_{L-j}]))         j = 1 … M, twice the grid each

    and at the end the convolutions of `final` on the grid of y_M.

    Parameters
    ----------
    d
        Spatial axes, 2 or 3.
    channels
        Channels of the input.
    encoder
        Features of each level, finest first; each level after the first has half the grid.
    decoder
        Features on the way up from the coarsest level, at most one fewer than `encoder`.
    final
        Features of further convolutions on the last grid.
    stride
        Stride of the first convolution.

    References
    ----------
    Ronneberger et al., MICCAI 2015; Balakrishnan et al., IEEE TMI 38, 2019, figure 3 (VoxelMorph).

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
        self._dimensions = d
        convolution = CONVOLUTION[d]
        if stride > 1:
            padding = (stride + 1) // 2
            first = convolution(channels, encoder[0], 2 * stride, stride, padding)
        else:
            first = convolution(channels, encoder[0], 3, 1, 1)
        self.encoder = nn.ModuleList([first])
        for features_in, features_out in pairwise(encoder):
            self.encoder.append(convolution(features_in, features_out, 3, 1, 1))

        self.decoder = nn.ModuleList()
        features = encoder[-1]
        skips = encoder[-2::-1][: len(decoder)]
        for skip, features_out in zip(skips, decoder, strict=True):
            self.decoder.append(convolution(features + skip, features_out, 3, 1, 1))
            features = features_out

        self.final = nn.ModuleList()
        for features_out in final:
            self.final.append(convolution(features, features_out, 3, 1, 1))
            features = features_out
        self.features = features

    def forward(self, image: Tensor) -> Tensor:
        """Compute features, (batch, features, *grid), of an image, (batch, channels, *shape).

        With weights that are stacked for k settings, image and features have the channels of all
        settings, one setting after the other (see `side_by_side`).

        A level that starts a skip connection is needed on its own grid; its image is pooled on the
        way into the next one. A level above all skip connections is needed at half its grid alone:
        there pooling goes before the activation, which is monotonic and so gives the same values.
        """
        pool = POOLING[self._dimensions]
        first_skip = len(self.encoder) - 1 - len(self.decoder)
        levels: list[Tensor] = []
        for level, convolution in enumerate(self.encoder):
            if level > first_skip:
                image = pool(image, 2)
            image = _apply(convolution, image)
            if level < first_skip:
                image = pool(image, 2)
            image = _activate(image)
            levels.append(image)

        skips = levels[-2::-1]
        for convolution, skip in zip(self.decoder, skips, strict=False):
            image = _apply_upsampled(convolution, image, skip)
            image = _activate(image)

        for convolution in self.final:
            image = _apply(convolution, image)
            image = _activate(image)
        return image


def _activate(image: Tensor) -> Tensor:
    return functional.leaky_relu(image, SLOPE, inplace=True)


def _apply(layer: nn.Module, image: Tensor) -> Tensor:
    stride = cast(tuple[int, ...], layer.stride)
    padding = cast(tuple[int, ...], layer.padding)
    weight, bias = cast(Tensor, layer.weight), cast(Tensor, layer.bias)
    return _convolve(image, weight, bias, stride, padding)


def _apply_upsampled(layer: nn.Module, coarse: Tensor, skip: Tensor) -> Tensor:
    return convolve_upsampled(cast(Tensor, layer.weight), cast(Tensor, layer.bias), coarse, skip)


def settings_of(weight: Tensor, image: Tensor) -> int | None:
    """Return for how many settings the weights of a convolution are stacked; None: they are not.

    Examples
    --------
    >>> image = torch.zeros(1, 8, 16, 16)
    >>> settings_of(torch.zeros(4, 8, 3, 3), image)
    >>> settings_of(torch.zeros(2, 4, 4, 3, 3), image)
    2
    """
    return len(weight) if weight.dim() > image.dim() else None


def side_by_side(images: Tensor, settings: int) -> Tensor:
    """Put the pairs of several settings beside each other, along the channels.

    A hypermorph in training predicts weights for k settings, and registers a part of the batch with
    each. With the parts beside each other one convolution of k groups computes all of them.

    Parameters
    ----------
    images
        (batch, channels, *grid): the first batch / k of them are of the first setting, and so on.
    settings
        k.

    Returns
    -------
    Tensor
        (batch / k, k · channels, *grid).

    Examples
    --------
    >>> images = torch.tensor([1, 2, 3, 4]).reshape(4, 1, 1, 1)
    >>> side_by_side(images, 2).flatten(1)
    tensor([[1, 3],
            [2, 4]])
    """
    parts = divided(images, settings)
    return torch.cat(parts, dim=1)


def one_after_another(images: Tensor, settings: int) -> Tensor:
    """Undo `side_by_side`.

    Examples
    --------
    >>> images = torch.tensor([1, 2, 3, 4]).reshape(4, 1, 1, 1)
    >>> one_after_another(side_by_side(images, 2), 2).flatten()
    tensor([1, 2, 3, 4])
    """
    parts = images.chunk(settings, dim=1)
    return torch.cat(parts)


def _convolve(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """Convolve; with weights of several settings each its own channels of the image."""
    d = len(stride)
    dilation = [1] * d
    settings = settings_of(weight, image)
    if settings is not None:
        stacked = None if bias is None else bias.flatten()
        weight = weight.flatten(0, 1)
        return CONVOLVE[d](image, weight, stacked, stride, padding, dilation, settings)
    if torch.compiler.is_exporting():
        # a program for other processors and batches of any size
        return CONVOLVE[d](image, weight, bias, stride, padding)
    if is_slow_in_torch(image):
        if can_halve(image, weight, stride, padding):
            return convolve_halves(image, weight, bias, padding)
        return torch.mkldnn_convolution(image, weight, bias, padding, stride, dilation, 1)
    return CONVOLVE[d](image, weight, bias, stride, padding)


def is_slow_in_torch(image: Tensor) -> bool:
    """Return whether torch has a slow convolution of an image alone in its batch, in float32 on a processor.

    For small ones it would choose a kernel that is three times slower and leaves the channels-last
    order.
    """
    in_float32_on_cpu = image.device.type == "cpu" and image.dtype == torch.float32
    return len(image) == 1 and in_float32_on_cpu and _HAS_ONEDNN


def can_halve(image: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> bool:
    """Return whether `convolve_halves` applies, and is worth it: in training, as gradients are slow too."""
    is_plain = weight.shape[2] == 3 and padding[0] == 1 and max(stride) == 1
    learns = torch.is_grad_enabled() and (weight.requires_grad or image.requires_grad)
    is_small = math.prod(image.shape[:4]) <= SMALL
    return is_plain and learns and is_small and image.shape[2] % 2 == 0


def convolve_halves(
    image: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]
) -> Tensor:
    """Convolve an image alone in its batch as a batch of its two halves.

    Each half along the first axis takes the plane of the other that it meets along.

    Parameters
    ----------
    image
        (1, channels, *grid), the first axis of even length.
    weight
        (out, channels, 3, …).
    bias
        (out,), or None.
    padding
        1 along the first axis, and any along others.

    Returns
    -------
    Tensor
        (1, out, *grid), with the gradients of an ordinary convolution.

    Examples
    --------
    >>> image, weight, bias = torch.rand(1, 2, 6, 5), torch.rand(4, 2, 3, 3), torch.rand(4)
    >>> whole = functional.conv2d(image, weight, bias, padding=1)
    >>> torch.allclose(convolve_halves(image, weight, bias, [1, 1]), whole, atol=1e-6)
    True
    """
    d = image.dim() - 2
    half = image.shape[2] // 2
    padded = functional.pad(image, [0, 0] * (d - 1) + [1, 1])
    halves = torch.cat([padded[:, :, : half + 2], padded[:, :, half:]])
    halves = halves.contiguous(memory_format=CHANNELS_LAST[d])
    within = [0, *padding[1:]]
    convolved = CONVOLVE[d](halves, weight, bias, padding=within)
    return torch.cat([convolved[:1], convolved[1:]], 2)


def convolve_to_few(weight: Tensor, bias: Tensor, image: Tensor) -> Tensor:
    """Apply a 3 × 3 (× 3) convolution that gives few channels to an image.

    A processor computes sixteen channels at a time; a velocity has two or three. So the kernel is
    cut across the last axis z into its three planes W_{-1}, W_0, W_{+1}, each of which gives
    channels of its own. Their results are shifted and added, for a third of the work:

        out(z) = (W_0 * image)(z) + (W_{-1} * image)(z - 1) + (W_{+1} * image)(z + 1) + bias

    Parameters
    ----------
    weight, bias
        Of a convolution of padding 1; or stacked, of several settings.
    image
        (batch, channels, *grid).

    Returns
    -------
    Tensor
        (batch, channels of the layer, *grid), equal to the convolution up to rounding.

    Examples
    --------
    >>> layer = nn.Conv2d(4, 2, 3, padding=1)
    >>> image = torch.rand(1, 4, 8, 8)
    >>> torch.allclose(convolve_to_few(layer.weight, layer.bias, image), layer(image), atol=1e-6)
    True
    """
    d = image.dim() - 2
    planes = weight.movedim(-1, -2 - d)  # (3, out, in, 3 (, 3))
    kernel = planes.flatten(-2 - d, -1 - d).unsqueeze(-1)  # (3 · out, in, 3 (, 3), 1)
    padding = [1] * (d - 1) + [0]
    # it is added once, with the plane in the middle
    of_neighbours = torch.zeros_like(bias)
    biases = torch.cat([of_neighbours, bias, of_neighbours], -1)

    shares = _convolve(image, kernel, biases, [1] * d, padding)
    # (batch, settings, 3, out, *grid)
    settings = settings_of(weight, image) or 1
    by_plane = shares.reshape(image.shape[0], settings, 3, -1, *image.shape[2:])
    before, here, after = by_plane.unbind(2)
    total: Tensor = here.clone()
    total[..., 1:] += before[..., :-1]
    total[..., :-1] += after[..., 1:]
    return total.flatten(1, 2)


def convolve_upsampled(weight: Tensor, bias: Tensor, coarse: Tensor, skip: Tensor) -> Tensor:
    """Convolve [upsample(coarse), skip] without forming it.

    A convolution is linear in its input channels, so that it splits into one of each part:

        W * [upsample(coarse), skip] = W_coarse * upsample(coarse) + W_skip * skip

    Upsampling to the nearest voxel repeats every voxel twice along each axis. Of the 3^d weights
    that a fine voxel sees several then meet the same coarse voxel, and are added up beforehand:
    a transposed convolution with 2^d products a fine voxel in place of 3^d.

    Parameters
    ----------
    weight, bias
        Of the convolution, 3 × 3 (× 3), of the channels of both parts; or stacked, of several settings.
    coarse
        (batch, channels, *grid / 2).
    skip
        (batch, channels, *grid).

    Returns
    -------
    Tensor
        (batch, channels of the layer, *grid).
    """
    d = coarse.dim() - 2
    ones = [1] * d
    settings = settings_of(weight, coarse)
    channels = coarse.shape[1] // (settings or 1)
    others = weight.shape[-1 - d] - channels
    from_coarse, from_skip = weight.split([channels, others], -1 - d)  # type: ignore[no-untyped-call]
    fine = _convolve(skip, from_skip, bias, stride=ones, padding=ones)

    upsampling = _after_upsampling(from_coarse, d)
    if settings is not None:
        upsampling = upsampling.flatten(0, 1)
    upsampled = TRANSPOSED[d](coarse, upsampling, stride=2, padding=1, groups=settings or 1)
    return fine.add_(upsampled)


def _after_upsampling(weight: Tensor, d: int) -> Tensor:
    """Return the weights of a convolution after upsampling as those of a transposed convolution.

    Along one axis the fine voxels 2i and 2i + 1 are copies of the coarse voxel i. A kernel
    (a, b, c) centred on 2i meets the coarse voxels i - 1, i, i with a, b + c; centred on 2i + 1 it
    meets i, i, i + 1 with a + b, c. The coarse voxel i therefore spreads to the fine voxels
    2i - 1 … 2i + 2 with c, b + c, a + b, a. Along d axes it does so with products of these sums.

    Parameters
    ----------
    weight
        (…, out, in, *3).
    d
        Spatial axes.

    Returns
    -------
    Tensor
        (…, in, out, *4).
    """
    sums = torch.from_numpy(_sums_after_upsampling(d)).to(weight)
    from_inputs = weight.transpose(-2 - d, -1 - d)
    spread = from_inputs.flatten(-d) @ sums
    return spread.view(*spread.shape[:-1], *[4] * d)


@cache
def _sums_after_upsampling(d: int) -> NDArray[np.float32]:
    """Return which weights of 3^d are added for each of 4^d: (3^d, 4^d), of zeros and ones.

    An array, as a tensor would stay of the mode that the first call was made in.
    """
    of_axis = np.array([[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]], dtype=np.float32)
    sums = np.ones((1, 1), dtype=np.float32)
    for _ in range(d):
        sums = np.kron(sums, of_axis)
    return sums
