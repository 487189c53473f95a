"""VoxelMorph 0.3.4's own PyTorch modules, assembled as a U-Net that equals hmopt's.

`VxmPairwise` and its `BasicUNet` of neurite are used unchanged. hmopt's `encoder = [a, b, c, e]`
and `decoder = [p, q, q]` are `BasicUNet`'s features `[[a, b, c], [e, p, q]]`: the same convolutions
at the same resolutions, max pooling, leaky ReLU of slope 0.2, nearest upsampling. Only the head
differs: hmopt's is one convolution 3×3×3 to a velocity, VoxelMorph's is 1×1×1 and then 3×3×3 among
the velocity's components, which needs fewer operations. The tests hold both to the same velocity,
with hmopt's head made of VoxelMorph's two.

Where the velocity is coarser than the images, the finest upsampling blocks are left out of the list
that `BasicUNet` walks through, and the displacement is brought to the images' grid by VoxelMorph's
`ResizeDisplacementField`.
"""

import torch
import voxelmorph as vxm
from torch import Tensor, nn

from hmopt.declaration import NetworkOptions
from hmopt.networks import SLOPE, RegistrationNetwork


class VoxelMorph(nn.Module):
    """VoxelMorph's registration of a moving to a fixed image, (batch, 1, *shape), as hmopt's section declares it.

    Parameters
    ----------
    section
        With stride 1 and no final convolutions; a decoder of full length ends with two levels of one width.
    d
        Spatial axes.
    """

    def __init__(self, section: NetworkOptions, d: int) -> None:
        super().__init__()
        levels = len(section.encoder) - 1
        below = [section.encoder[-1], *section.decoder, *section.decoder[-1:] * levels][:levels]
        self.pairwise = vxm.nn.models.VxmPairwise(
            ndim=d,
            source_channels=1,
            target_channels=1,
            nb_features=[list(section.encoder[:-1]), below],
            activations=nn.LeakyReLU(SLOPE, inplace=True),
            integration_steps=section.integration_steps,
            unet_kwargs={"upsample_mode": "nearest"},
        )
        unet = self.pairwise.model
        unet.upsampling_conv_blocks = unet.upsampling_conv_blocks[: len(section.decoder)]
        self.stride = 2 ** (levels - len(section.decoder))
        self.resize = (
            vxm.nn.modules.ResizeDisplacementField(self.stride)
            if self.stride > 1
            else nn.Identity()
        )
        self.warp = vxm.nn.modules.SpatialTransformer()
        self.warp_labels = vxm.nn.modules.SpatialTransformer(interpolation_mode="nearest")

    def velocity(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the velocity on its own grid."""
        velocity: Tensor = self.pairwise(moving, fixed, return_field_type="velocity")
        return velocity

    def displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement on the images' grid."""
        displacement: Tensor = self.resize(self.pairwise(moving, fixed))
        return displacement


def dice_and_folding(
    displacement: Tensor, moved_labels: Tensor, fixed_labels: Tensor, labels: list[int]
) -> None:
    """Measure one pair by VoxelMorph's own functions, as `voxelmorph.py.utils` has them."""
    utils = vxm.py.utils
    utils.dice(moved_labels[0, 0].numpy(), fixed_labels[0, 0].numpy(), labels)
    (utils.jacobian_determinant(displacement[0].movedim(0, -1).numpy()) <= 0).mean()


def copy_weights(source: VoxelMorph, network: RegistrationNetwork) -> None:
    """Copy the weights of VoxelMorph's network into hmopt's, with VoxelMorph's two last convolutions composed."""
    unet, flow = source.pairwise.model, source.pairwise.flow_layer.conv0
    ups = [block.conv_block for block in unet.upsampling_conv_blocks]
    blocks = [
        *(block.conv_block for block in unet.downsampling_conv_blocks),
        unet.lowest_resolution_conv_block,
        *ups,
    ]
    with torch.no_grad():
        for ours, theirs in zip(
            [*network.unet.encoder, *network.unet.decoder], blocks, strict=True
        ):
            ours.load_state_dict(theirs.conv0.state_dict())
        narrow = unet.out_layer.conv0
        weight = torch.einsum("om...,mi->oi...", flow.weight, narrow.weight.flatten(1))
        network.velocity.load_state_dict({"weight": weight, "bias": flow.bias})
        narrow.bias.zero_()  # beyond the border, VoxelMorph's second convolution sees zeros and not this bias
