"""Both sides of a comparison do the same work: equal velocities, equal losses, equal steps."""

import pytest
import torch

from benchmarks.losses import losses
from benchmarks.training import hmopt_step, voxelmorph_step
from benchmarks.voxelmorph_network import VoxelMorph, copy_weights
from hmopt.declaration import NetworkOptions
from hmopt.networks import RegistrationNetwork

MARGIN = 8
"""A window reaches four voxels, and so does that of a window's gradient."""


def section(decoder: list[int]) -> NetworkOptions:
    return NetworkOptions(encoder=[4, 6, 8], decoder=decoder, final=[], stride=1)


@pytest.mark.parametrize("decoder", [[6, 6], [6]], ids=["full resolution", "half resolution"])
@pytest.mark.parametrize("shape", [(16, 24), (8, 16, 8)], ids=["2-D", "3-D"])
def test_with_voxelmorphs_weights_hmopts_network_gives_voxelmorphs_velocity(
    decoder: list[int], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    theirs, ours = (
        VoxelMorph(section(decoder), len(shape)),
        RegistrationNetwork(section(decoder), shape),
    )
    torch.nn.init.normal_(theirs.pairwise.flow_layer.conv0.weight, std=0.5)
    copy_weights(theirs, ours)
    moving, fixed = torch.rand(2, 2, 1, *shape)
    with torch.no_grad():
        expected, got = theirs.velocity(moving, fixed), ours(moving, fixed)
        displacement = theirs.displacement(moving, fixed)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert displacement.shape == ours.displacement(got).shape


@pytest.mark.parametrize("name", ["MONAI", "neurite"])
def test_away_from_the_border_all_losses_have_the_same_gradient(name: str) -> None:
    torch.manual_seed(0)
    fixed = torch.rand(1, 1, 32, 32)
    moved = (0.7 * fixed + 0.3 * torch.rand_like(fixed)).requires_grad_()
    gradients = {
        side: torch.autograd.grad(loss(moved, fixed), moved)[0]
        for side, loss in losses(d=2).items()
    }
    inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    torch.testing.assert_close(
        gradients[name][inner], gradients["hmopt"][inner], rtol=1e-3, atol=1e-7
    )


def test_a_step_lowers_the_loss_on_both_sides() -> None:
    torch.manual_seed(0)
    moving, fixed = torch.rand(2, 1, 1, 16, 16)
    for make in (hmopt_step, voxelmorph_step):
        step = make(section([6]), moving, fixed)
        values = [step() for _ in range(15)]
        assert values[-1] < values[0]
