"""How many floating-point operations networks take: two for each multiplication and addition of it."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from hmopt.networks.hypernetwork import Hypernetwork
from hmopt.networks.registration import RegistrationNetwork


def registration_operations(network: RegistrationNetwork, shape: tuple[int, ...]) -> int:
    """Give what a registration network's convolutions take for one pair, without its gradients.

    Parameters
    ----------
    network
        The network, on the CPU.
    shape
        Voxels of the images along each axis.

    Examples
    --------
    >>> from hmopt.declaration import NetworkOptions
    >>> network = RegistrationNetwork(NetworkOptions(encoder=[4, 4], decoder=[4], final=[]), (16, 16))
    >>> registration_operations(network, (16, 16)) > 0
    True
    """
    image = torch.zeros(1, 1, *shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image, image)
    return int(counter.get_total_flops())


def hypernetwork_operations(hypernetwork: Hypernetwork) -> int:
    """Give what a hypernetwork's dense layers take for one setting, without their gradients.

    Examples
    --------
    >>> from torch import nn
    >>> hypernetwork_operations(Hypernetwork(nn.Linear(3, 2), hyperparameters=1, units=[8]))
    160
    """
    layers = [*hypernetwork.trunk, hypernetwork.heads]
    return sum(2 * layer.in_features * layer.out_features for layer in layers)
