"""The registration network: an ordinary module that gives a velocity and knows nothing of hyperparameters."""

import torch
from torch import Tensor, nn

from hmopt.declaration import NetworkOptions
from hmopt.errors import DeclarationError
from hmopt.networks.precision import fast_precision
from hmopt.networks.unet import CONVOLUTION, UNet, convolve_to_few
from hmopt.spatial import velocity_to_displacement

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
"""The order in memory in which convolutions over d axes are fastest."""


class RegistrationNetwork(nn.Module):
    """Gives the stationary velocity that takes a moving to a fixed image.

    Parameters
    ----------
    section
        The declared architecture.
    shape
        Voxels of the images along each of d = 2 or 3 axes.

    Raises
    ------
    DeclarationError
        If the shape cannot be halved as often as the architecture asks, or the decoder has as many levels as the
        encoder.

    References
    ----------
    Dalca et al., Medical Image Analysis 57, 2019, section 3.

    Examples
    --------
    >>> network = RegistrationNetwork(NetworkOptions(encoder=[4, 4], decoder=[4], final=[]), (16, 16))
    >>> network(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)).shape
    torch.Size([1, 2, 8, 8])
    """

    def __init__(self, section: NetworkOptions, shape: tuple[int, ...]) -> None:
        super().__init__()
        check_architecture(section, shape)
        d = len(shape)
        self.section = section
        self.unet = UNet(d, 2, section.encoder, section.decoder, section.final, section.stride)
        self.velocity = CONVOLUTION[d](self.unet.features, d, 3, 1, 1)
        nn.init.normal_(self.velocity.weight, std=1e-4)
        nn.init.zeros_(self.velocity.bias)  # type: ignore[arg-type]

    @property
    def velocity_stride(self) -> int:
        """Image voxels to a voxel of the velocity along each axis."""
        return velocity_stride(self.section)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Give the velocity, (batch, d, *shape / velocity_stride), of images of shape (batch, 1, *shape)."""
        images = torch.cat([moving, fixed], 1).contiguous(
            memory_format=CHANNELS_LAST[moving.dim() - 2]
        )
        with fast_precision(images.device):
            features = self.unet(images)
        velocity = convolve_to_few(self.velocity, features.to(images.dtype))
        return velocity.contiguous()

    def displacement(self, velocity: Tensor) -> Tensor:
        """Give the displacement, (batch, d, *shape), in image voxels, of a velocity that `forward` gave."""
        return velocity_to_displacement(
            velocity, self.section.integration_steps, self.velocity_stride
        )


def velocity_stride(section: NetworkOptions) -> int:
    """Give the image voxels to a voxel of the velocity.

    Examples
    --------
    >>> velocity_stride(NetworkOptions(encoder=[4, 4, 4], decoder=[4], stride=2))
    4
    """
    return int(section.stride * 2 ** (len(section.encoder) - 1 - len(section.decoder)))


def coarsest_stride(section: NetworkOptions) -> int:
    """Give what every side of an image must be a multiple of.

    Examples
    --------
    >>> coarsest_stride(NetworkOptions(encoder=[4, 4, 4], stride=2))
    8
    """
    return int(section.stride * 2 ** (len(section.encoder) - 1))


def check_architecture(section: NetworkOptions, shape: tuple[int, ...]) -> None:
    """Refuse an architecture that cannot be built, or that images of a shape do not fit.

    Parameters
    ----------
    section
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
    if len(section.decoder) >= len(section.encoder):
        raise DeclarationError(
            "network.decoder",
            expected=f"fewer levels than network.encoder has ({len(section.encoder)})",
            got=len(section.decoder),
            advice="Shorten it; convolutions at the last resolution go into network.final.",
        )
    coarsest = coarsest_stride(section)
    if any(size < 1 or size % coarsest for size in shape):
        raise DeclarationError(
            "preprocessing.shape",
            expected=f"multiples of {coarsest}, the network's coarsest stride",
            got=list(shape),
            advice="Round each up.",
        )
