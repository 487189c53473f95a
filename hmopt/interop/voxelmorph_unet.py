"""VoxelMorph's U-Net and the way it changes the grid of a field, as its TensorFlow code computes them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hmopt.networks.unet import CHANNELS_LAST, CONVOLUTION, POOLING, SLOPE, convolve_upsampled
from hmopt.spatial import integrate

KERNEL = 3
"""Voxels of every convolution's kernel along each axis."""


@dataclass(frozen=True, kw_only=True)
class ConvolutionShape:
    """Where a convolution stands in the U-Net, and how many channels it takes and gives.

    Parameters
    ----------
    part
        `enc_conv_LEVEL_N`, `dec_conv_LEVEL_N`, `dec_final_conv_N` or `flow`, VoxelMorph's names.
    channels_in, channels_out
        Channels.
    """

    part: str
    channels_in: int
    channels_out: int


Levels = tuple[tuple[int, ...], ...]
"""Channels of the convolutions of each level."""


def by_level(features: Sequence[int], per_level: int) -> Levels:
    """Return channels of convolutions in groups of one level each.

    Examples
    --------
    >>> by_level([16, 16, 32, 32], per_level=2)
    ((16, 16), (32, 32))
    """
    starts = range(0, len(features), per_level)
    return tuple(tuple(features[start : start + per_level]) for start in starts)


@dataclass(frozen=True, kw_only=True)
class UNetPlan:
    """The architecture of VoxelMorph's U-Net with the convolution that gives the field at its end.

    Every level of the encoder ends in max pooling. The decoder begins on the coarsest grid; after
    each of its first `upsamplings` levels comes upsampling to the nearest voxel, and the encoder's
    features of that grid are joined to it.

    Parameters
    ----------
    d
        Spatial axes, 2 or 3.
    channels
        Channels of the input.
    encoder, decoder
        Channels of the convolutions of each level, in the order in which they are computed.
    final
        Channels of further convolutions on the last grid.
    upsamplings
        Levels of the decoder, at most all, that upsampling follows.

    References
    ----------
    Balakrishnan et al., IEEE TMI 38, 2019; Hoopes et al., MELBA 2022, section 3.3.

    Examples
    --------
    >>> plan = UNetPlan(
    ...     d=2, channels=2, encoder=((8,), (16,)), decoder=((16,), (16,)), final=(8,), upsamplings=2
    ... )
    >>> [(shape.part, shape.channels_in) for shape in plan.convolutions()][2:]
    [('dec_conv_1_0', 16), ('dec_conv_0_0', 32), ('dec_final_conv_0', 24), ('flow', 8)]
    """

    d: int
    channels: int
    encoder: Levels
    decoder: Levels
    final: tuple[int, ...]
    upsamplings: int

    def convolutions(self) -> list[ConvolutionShape]:
        """Return all convolutions, in the order in which they are computed."""
        found: list[ConvolutionShape] = []
        channels = self.channels

        def add(part: str, channels_out: int) -> None:
            nonlocal channels
            shape = ConvolutionShape(part=part, channels_in=channels, channels_out=channels_out)
            found.append(shape)
            channels = channels_out

        skips = []
        for level, features in enumerate(self.encoder):
            for place, channels_out in enumerate(features):
                add(f"enc_conv_{level}_{place}", channels_out)
            skips.append(channels)
        for step, features in enumerate(self.decoder):
            level = len(self.decoder) - 1 - step
            for place, channels_out in enumerate(features):
                add(f"dec_conv_{level}_{place}", channels_out)
            if step < self.upsamplings:
                channels += skips.pop()
        for place, channels_out in enumerate(self.final):
            add(f"dec_final_conv_{place}", channels_out)
        add("flow", self.d)
        return found

    def field_side(self, side: int) -> int | None:
        """Return the voxels of the field along an axis of an image; None where levels do not fit.

        Examples
        --------
        >>> plan = UNetPlan(
        ...     d=2, channels=2, encoder=((8,), (8,)), decoder=((8,), (8,)), final=(), upsamplings=1
        ... )
        >>> plan.field_side(16), plan.field_side(18)
        (8, None)
        """
        skips = []
        current = side
        for _ in self.encoder:
            skips.append(current)
            current //= 2
        if current < 1:
            return None
        for _ in range(self.upsamplings):
            current *= 2
            if current != skips.pop():
                return None
        return current


class VoxelMorphUNet(nn.Module):
    """VoxelMorph's U-Net, from images to a velocity or displacement: an ordinary network.

    With σ the leaky rectifier of slope 0.2, x_0 the images and L levels:

        x_l = pool(s_l),          s_l = σ(conv(x_{l-1}))            l = 1 … L
        y_1 = [up(σ(conv(x_L))), s_L],   y_{j+1} = [up(σ(conv(y_j))), s_{L-j}]

    and further convolutions, the last one, which gives the field, without rectifier.

    Parameters
    ----------
    plan
        The architecture.
    weights
        Weight (out, in, *3) and bias (out,) of every convolution, in the order of
        `plan.convolutions()`.

    Examples
    --------
    >>> plan = UNetPlan(
    ...     d=2, channels=2, encoder=((4,),), decoder=((4,),), final=(), upsamplings=1
    ... )
    >>> weights = [
    ...     (torch.zeros(shape.channels_out, shape.channels_in, 3, 3), torch.ones(shape.channels_out))
    ...     for shape in plan.convolutions()
    ... ]
    >>> VoxelMorphUNet(plan, weights)(torch.zeros(1, 2, 8, 8)).unique()
    tensor([1.])
    """

    def __init__(self, plan: UNetPlan, weights: Iterable[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.plan = plan
        self.convolutions = nn.ModuleList()
        for shape, (weight, bias) in zip(plan.convolutions(), weights, strict=True):
            # without memory of its own: the weights that are given take its place
            layer = CONVOLUTION[plan.d](
                shape.channels_in, shape.channels_out, KERNEL, padding=1, device="meta"
            )
            layer.weight = nn.Parameter(weight, requires_grad=False)
            layer.bias = nn.Parameter(bias, requires_grad=False)
            self.convolutions.append(layer)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the field (n, d, *grid) of images (n, channels, *shape)."""
        plan = self.plan
        pool = POOLING[plan.d]
        layers = iter(self.convolutions)
        features = images.contiguous(memory_format=CHANNELS_LAST[plan.d])
        skips: list[Tensor] = []
        for level in plan.encoder:
            for _ in level:
                features = _activate(next(layers)(features))
            skips.append(features)
            features = pool(features, 2)

        skip: Tensor | None = None  # of the grid that `features` are still to be upsampled to
        for step, level in enumerate(plan.decoder):
            for _ in level:
                features = _activate(_convolve(next(layers), features, skip))
                skip = None
            if step < plan.upsamplings:
                skip = skips.pop()
        for _ in plan.final:
            features = _activate(_convolve(next(layers), features, skip))
            skip = None
        field = _convolve(next(layers), features, skip)
        return field.contiguous()


def _convolve(layer: nn.Module, features: Tensor, skip: Tensor | None) -> Tensor:
    """Convolve features, or, where there is a skip connection, [upsample(features), skip]."""
    if skip is not None:
        weight, bias = cast(Tensor, layer.weight), cast(Tensor, layer.bias)
        return convolve_upsampled(weight, bias, features, skip)
    convolved: Tensor = layer(features)
    return convolved


def _activate(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, SLOPE, inplace=True)


def integrate_precisely(velocity: Tensor, steps: int) -> Tensor:
    """Integrate a velocity by scaling and squaring, in double precision where the device has it.

    Each squaring doubles the error of the one before. VoxelMorph interpolates at sums of whole
    voxels and displacements, which single precision holds well; `grid_sample` at shares of the
    grid, which it holds less well. Of a displacement of 6 voxels, single precision is wrong by
    5e-5 voxels, and this by 1e-5.

    Parameters
    ----------
    velocity
        (n, d, *grid), in voxels of its own grid.
    steps
        Scaling-and-squaring steps; 0: the velocity itself.

    Returns
    -------
    Tensor
        The displacement, (n, d, *grid), in the velocity's precision.

    Examples
    --------
    >>> integrate_precisely(torch.full((1, 2, 4, 4), 0.5), steps=5).unique()
    tensor([0.5000])
    """
    precision = velocity.dtype if velocity.device.type == "mps" else torch.float64
    displacement = integrate(velocity.to(precision), steps)
    return displacement.to(velocity.dtype)


def rescaled_side(side: int, zoom: float) -> int:
    """Return the voxels along an axis of a field that `rescale_field` makes: rounded down.

    Examples
    --------
    >>> rescaled_side(25, 0.5)
    12
    """
    return int(side * zoom)


def rescale_field(field: Tensor, zoom: float) -> Tensor:
    """Return a velocity or displacement on a grid of another resolution, as neurite's `resize` does.

    The first and last voxels of both grids lie at the same places: voxel i of n lies at voxel
    i (m - 1) / (n - 1) of the m that there were. Vectors are multiplied by the zoom all the same.

    Parameters
    ----------
    field
        (n, d, *grid), in voxels of its own grid.
    zoom
        New voxels to an old one along each axis.

    Returns
    -------
    Tensor
        (n, d, *zoom · grid), each side rounded down.

    Examples
    --------
    >>> ramp = torch.tensor([[[[0.0, 3.0], [0.0, 3.0]]]])
    >>> rescale_field(ramp, 2.0)[0, 0, 0]
    tensor([0., 2., 4., 6.])
    """
    sides = [rescaled_side(side, zoom) for side in field.shape[2:]]
    mode = "bilinear" if len(sides) == 2 else "trilinear"
    resized = functional.interpolate(field, size=sides, mode=mode, align_corners=True)
    return resized * zoom


def kernel_tensor(kernel: Tensor, shape: ConvolutionShape, d: int) -> Tensor:
    """Return a kernel of Keras, (3, …, in, out) in any shape, in torch's order: (out, in, 3, …).

    Examples
    --------
    >>> shape = ConvolutionShape(part="flow", channels_in=4, channels_out=2)
    >>> kernel_tensor(torch.zeros(72), shape, d=2).shape
    torch.Size([2, 4, 3, 3])
    """
    spatial = [KERNEL] * d
    in_keras_order = kernel.reshape(*spatial, shape.channels_in, shape.channels_out)
    weight = in_keras_order.movedim((-1, -2), (0, 1))
    return weight.contiguous(memory_format=CHANNELS_LAST[d])


def kernel_size(shape: ConvolutionShape, d: int) -> int:
    """Return the number of weights of a convolution, biases aside."""
    voxels: int = KERNEL**d
    return voxels * shape.channels_in * shape.channels_out
