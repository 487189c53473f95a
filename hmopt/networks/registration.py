"""The registration network: an ordinary module that knows nothing of hyperparameters."""

from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hmopt.declaration import NetworkOptions
from hmopt.errors import DeclarationError
from hmopt.networks.unet import (
    CHANNELS_LAST,
    CONVOLUTION,
    UNet,
    convolve_to_few,
    one_after_another,
    settings_of,
    side_by_side,
)
from hmopt.spatial import velocity_to_displacement


class RegistrationNetwork(nn.Module):
    """Predict the stationary velocity u that takes a moving image m to a fixed image f.

        u = conv(UNet([m, f])),     φ = exp(u),     moved(x) = m(φ(x)) = m(x + displacement(x))

    `forward` computes u; `displacement` integrates it to φ by scaling and squaring. The weights of
    the last convolution start near 0, so that an untrained network moves almost nothing.

    Parameters
    ----------
    options
        The declared architecture.
    shape
        Voxels of the images along each of d = 2 or 3 axes.

    Raises
    ------
    DeclarationError
        If the shape cannot be halved as often as the architecture asks, or the decoder has as many
        levels as the encoder.

    References
    ----------
    Balakrishnan et al., IEEE TMI 38, 2019 (VoxelMorph); Dalca et al., Medical Image Analysis 57,
    2019, section 3 (stationary velocities).

    Examples
    --------
    >>> options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    >>> network = RegistrationNetwork(options, (16, 16))
    >>> velocity = network(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))
    >>> velocity.shape, network.displacement(velocity).shape
    (torch.Size([1, 2, 8, 8]), torch.Size([1, 2, 16, 16]))
    """

    takes_weights_of_several_settings = True
    """Whether weights may be stacked along a first axis, each for its part of the batch."""

    def __init__(self, options: NetworkOptions, shape: tuple[int, ...]) -> None:
        super().__init__()
        check_architecture(options, shape)
        d = len(shape)
        self.options = options
        self.unet = UNet(
            d,
            channels=2,
            encoder=options.encoder,
            decoder=options.decoder,
            final=options.final,
            stride=options.stride,
        )
        self.velocity = CONVOLUTION[d](self.unet.features, d, 3, 1, 1)
        nn.init.normal_(self.velocity.weight, std=1e-4)
        nn.init.zeros_(self.velocity.bias)  # type: ignore[arg-type]

    @property
    def velocity_stride(self) -> int:
        """Image voxels to a voxel of the velocity along each axis."""
        return velocity_stride(self.options)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Predict the velocity of a batch of image pairs.

        Parameters
        ----------
        moving, fixed
            (batch, 1, *shape).

        Returns
        -------
        Tensor
            (batch, d, *shape / velocity_stride), in voxels of its own grid.
        """
        _, _, *shape = moving.shape
        memory_format = CHANNELS_LAST[len(shape)]
        # (batch, 2, *shape)
        images = torch.cat([moving, fixed], dim=1)
        weight, bias = self.velocity.weight, cast(Tensor, self.velocity.bias)
        settings = settings_of(weight, images)
        if settings is not None:
            images = side_by_side(images, settings)

        images = images.contiguous(memory_format=memory_format)
        with fast_precision(images.device):
            features = self.unet(images)
        features = features.to(images.dtype)
        velocity = convolve_to_few(weight, bias, features)
        if settings is not None:
            velocity = one_after_another(velocity, settings)
        return velocity.contiguous()

    def displacement(self, velocity: Tensor, stride: int | None = None) -> Tensor:
        """Integrate a velocity that `forward` predicted, or one on a finer grid.

        Parameters
        ----------
        velocity
            (batch, d, *shape / stride), in voxels of its own grid.
        stride
            Image voxels to a voxel of it along each axis; None: `velocity_stride`.

        Returns
        -------
        Tensor
            (batch, d, *shape), in voxels of the images.
        """
        steps = self.options.integration_steps
        return velocity_to_displacement(velocity, steps, stride or self.velocity_stride)


def velocity_stride(options: NetworkOptions) -> int:
    """Return the image voxels to a voxel of the velocity.

    Examples
    --------
    >>> velocity_stride(NetworkOptions(encoder=[4, 4, 4], decoder=[4], stride=2))
    4
    """
    halvings = len(options.encoder) - 1
    doublings = len(options.decoder)
    levels_above = halvings - doublings
    stride = options.stride * 2**levels_above
    return int(stride)


def coarsest_stride(options: NetworkOptions) -> int:
    """Return the image voxels to a voxel of the coarsest level.

    Every side of an image must be a multiple of it. Of a network of one's own, whose levels are not
    known, it is the stride of its output.

    Examples
    --------
    >>> coarsest_stride(NetworkOptions(encoder=[4, 4, 4], stride=2))
    8
    """
    if options.callable is not None:
        return options.stride
    halvings = len(options.encoder) - 1
    stride = options.stride * 2**halvings
    return int(stride)


def check_architecture(options: NetworkOptions, shape: tuple[int, ...]) -> None:
    """Check that an architecture can be built for images of a shape.

    Parameters
    ----------
    options
        The declared architecture.
    shape
        Voxels of the images along each axis.

    Raises
    ------
    DeclarationError
        If it cannot be built, or a side of the images is no multiple of `coarsest_stride`.

    Examples
    --------
    >>> check_architecture(NetworkOptions(), (160, 160))
    """
    levels = len(options.encoder)
    if len(options.decoder) >= levels:
        raise DeclarationError(
            "network.decoder",
            expected=f"fewer levels than network.encoder has ({levels})",
            got=len(options.decoder),
            advice="Shorten it; convolutions at the last resolution go into network.final.",
        )
    coarsest = coarsest_stride(options)
    if any(size < 1 or size % coarsest for size in shape):
        raise DeclarationError(
            "preprocessing.shape",
            expected=f"multiples of {coarsest}, the network's coarsest stride",
            got=list(shape),
            advice="Round each up.",
        )


def fast_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which convolutions are fast, and exact enough for features.

    bfloat16 where a CUDA device computes in it; float32 everywhere else.

    Examples
    --------
    >>> with fast_precision(torch.device("cpu")):
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.float32
    """
    if device.type != "cuda":
        return nullcontext()
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return nullcontext()
    return torch.autocast("cuda", dtype=torch.bfloat16)


def registration_operations(network: RegistrationNetwork, shape: tuple[int, ...]) -> int:
    """Count the floating-point operations of a network's convolutions for one pair.

    A multiplication and an addition count as two; gradients are not counted.

    Parameters
    ----------
    network
        The network, on the CPU.
    shape
        Voxels of the images along each axis.

    Examples
    --------
    >>> network = RegistrationNetwork(NetworkOptions(encoder=[4, 4], decoder=[4]), (16, 16))
    >>> registration_operations(network, (16, 16)) > 0
    True
    """
    image = torch.zeros(1, 1, *shape)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(image, image)
    counts = counter.get_flop_counts()["Global"]
    return sum(int(count) for operation, count in counts.items() if "conv" in str(operation))
