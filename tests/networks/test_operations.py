"""Operations that networks take, against closed forms."""

from torch import nn

from hmopt.declaration import NetworkOptions
from hmopt.networks import (
    Hypernetwork,
    RegistrationNetwork,
    hypernetwork_operations,
    registration_operations,
)


def test_four_times_the_voxels_take_four_times_the_operations() -> None:
    section = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    one, four = (
        registration_operations(RegistrationNetwork(section, (side, side)), (side, side))
        for side in (16, 32)
    )
    assert four == 4 * one


def test_a_hypernetwork_takes_two_operations_for_each_weight_of_its_layers() -> None:
    hypernetwork = Hypernetwork(nn.Linear(5, 3), hyperparameters=2, units=[8, 16])
    assert hypernetwork_operations(hypernetwork) == 2 * (4 * 8 + 8 * 16 + 16 * (5 * 3 + 3))
