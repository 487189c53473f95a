"""A pair of full size, 160×192×224, from images to the moved image, without gradients.

The first row has the same U-Net on both sides, the velocity and its integration at full resolution: VoxelMorph's
`VxmPairwise`, asked for the moved image too. The second has what each side does when nothing is said: hmopt's network
as `[network]` declares it by default, wholly at half resolution, and `VxmPairwise` with its own defaults.
"""

import torch
import voxelmorph as vxm
from torch import Tensor

from benchmarks.cohorts import make_network
from benchmarks.oracle import FULL_RESOLUTION
from benchmarks.rows import Measured, row
from benchmarks.timing import medians
from benchmarks.voxelmorph_side import VoxelMorph
from hmopt.declaration import NetworkSection
from hmopt.networks import RegistrationNetwork
from hmopt.spatial import warp

FULL_SIZE = (160, 192, 224)
REPETITIONS = 2


def register(network: RegistrationNetwork, moving: Tensor, fixed: Tensor) -> Tensor:
    """Give the moved image."""
    return warp(moving, network.displacement(network(moving, fixed)))


def compare(network: RegistrationNetwork, pairwise: vxm.nn.models.VxmPairwise) -> Measured:
    """Compare a pair of both sides."""
    moving, fixed = torch.rand(2, 1, 1, *FULL_SIZE)
    sides = {
        "hmopt": lambda: register(network.eval(), moving, fixed),
        "VoxelMorph": lambda: pairwise.eval()(moving, fixed, return_warped_source=True),
    }
    with torch.inference_mode():
        seconds = medians(sides, REPETITIONS)
    weights = {"hmopt": network, "VoxelMorph": pairwise}
    counted = {name: sum(weight.numel() for weight in module.parameters()) for name, module in weights.items()}
    note = ", ".join(f"{name} {seconds[name]:.3g} s with {counted[name] / 1000:.0f} k weights" for name in seconds)
    return Measured(seconds["VoxelMorph"] / seconds["hmopt"], note)


@row(
    "full-size-same-resolutions",
    goal=1.3,
    better="higher",
    unit="×",
    against="VoxelMorph 0.3.4, U-Net and integration at the same resolutions",
    network="U-Net 16-32-32-32, velocity at full resolution, 160×192×224",
)
def same_resolutions() -> Measured:
    """A full-size pair, everything at full resolution."""
    return compare(make_network(FULL_RESOLUTION, FULL_SIZE), VoxelMorph(FULL_RESOLUTION, 3).pairwise)


@row(
    "full-size-defaults",
    goal=2.2,
    better="higher",
    unit="×",
    against="VoxelMorph 0.3.4's default, U-Net 16-16-16-16-16 and integration at full resolution",
    network="hmopt's default, U-Net 16-32-32-32 at half resolution, 160×192×224",
)
def defaults() -> Measured:
    """A full-size pair, each side's default."""
    network = make_network(NetworkSection(), FULL_SIZE)
    return compare(network, vxm.nn.models.VxmPairwise(ndim=3, source_channels=1, target_channels=1))
