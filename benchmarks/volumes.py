"""A pair of full size, 160×192×224, from images to the moved image, without gradients.

The first row has the same U-Net on both sides, the velocity and its integration at full resolution:
VoxelMorph's `VxmPairwise`, asked for the moved image too. The second has the default of each
program: hmopt's network as `[network]` declares it by default, wholly at half resolution, and
`VxmPairwise` with its own defaults. The third is the largest anonymous memory of a process that
registers the pair of the first, and the fourth the seconds of the U-Net on the images' grid with
its velocity at half resolution.
"""

import sys

import torch
import voxelmorph as vxm
from torch import Tensor

from benchmarks.cohorts import NETWORK, make_network
from benchmarks.memory import peak_anonymous
from benchmarks.oracle import FULL_RESOLUTION
from benchmarks.rows import Measured, row
from benchmarks.timing import medians, timed
from benchmarks.voxelmorph_network import VoxelMorph
from hmopt.declaration import NetworkOptions
from hmopt.networks import RegistrationNetwork
from hmopt.spatial import warp

FULL_SIZE = (160, 192, 224)
REPETITIONS = 2


def register(network: RegistrationNetwork, moving: Tensor, fixed: Tensor) -> Tensor:
    """Return the moved image."""
    return warp(moving, network.displacement(network(moving, fixed)))


def compare(network: RegistrationNetwork, pairwise: vxm.nn.models.VxmPairwise) -> Measured:
    """Compare the registration of one pair by both programs."""
    moving, fixed = torch.rand(2, 1, 1, *FULL_SIZE)
    sides = {
        "hmopt": lambda: register(network.eval(), moving, fixed),
        "VoxelMorph": lambda: pairwise.eval()(moving, fixed, return_warped_source=True),
    }
    with torch.inference_mode():
        seconds = medians(sides, REPETITIONS)
    weights = {"hmopt": network, "VoxelMorph": pairwise}
    counted = {
        name: sum(weight.numel() for weight in module.parameters())
        for name, module in weights.items()
    }
    note = ", ".join(
        f"{name} {seconds[name]:.3g} s with {counted[name] / 1000:.0f} k weights"
        for name in seconds
    )
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
    return compare(
        make_network(FULL_RESOLUTION, FULL_SIZE), VoxelMorph(FULL_RESOLUTION, 3).pairwise
    )


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
    network = make_network(NetworkOptions(), FULL_SIZE)
    return compare(network, vxm.nn.models.VxmPairwise(ndim=3, source_channels=1, target_channels=1))


@row(
    "full-size-half-velocity",
    goal=8,
    better="lower",
    unit="s",
    against="nothing: seconds a pair on two threads",
    network="U-Net 16-32-32-32 on the images' grid, velocity and integration at half resolution, 160×192×224",
)
def half_velocity() -> Measured:
    """A full-size pair, integrated at half resolution."""
    network = make_network(NETWORK, FULL_SIZE).eval()
    moving, fixed = torch.rand(2, 1, 1, *FULL_SIZE)
    with torch.inference_mode():
        seconds = [timed(lambda: register(network, moving, fixed)) for _ in range(1 + REPETITIONS)]
    return Measured(
        min(seconds[1:]), f"the first, with memory still to be mapped, {seconds[0]:.3g} s"
    )


@row(
    "full-size-memory",
    goal=6,
    better="lower",
    unit="GB",
    against="nothing: largest anonymous memory of the process",
    network="U-Net 16-32-32-32, velocity at full resolution, 160×192×224",
)
def memory() -> Measured:
    """Memory of a full-size pair, everything at full resolution."""
    peak, _ = peak_anonymous([sys.executable, "-m", "benchmarks.volumes"])
    return Measured(peak / 1e9)


if __name__ == "__main__":
    with torch.inference_mode():
        register(make_network(FULL_RESOLUTION, FULL_SIZE).eval(), *torch.rand(2, 1, 1, *FULL_SIZE))
