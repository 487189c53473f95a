"""The hypermorph: a registration network whose weights a hypernetwork predicts from a setting."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hmopt.networks.hypernetwork import Hypernetwork
from hmopt.networks.registration import RegistrationNetwork
from hmopt.space import Space


class Hypermorph(nn.Module):
    """One network that stands for registration networks of all settings.

    Parameters
    ----------
    registration
        The registration network; its own weights are only where the base weights start.
    space
        The hyperparameters.
    units
        Width of each dense layer of the hypernetwork.

    References
    ----------
    Hoopes et al., MELBA 2022, section 3.

    Examples
    --------
    >>> from hmopt.declaration import NetworkOptions
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> network = RegistrationNetwork(NetworkOptions(encoder=[4, 4], decoder=[4], final=[]), (16, 16))
    >>> hypermorph = Hypermorph(network, space, units=[8])
    >>> image = torch.zeros(1, 1, 16, 16)
    >>> baked = hypermorph.bake({"regularization": 0.3})
    >>> torch.equal(baked(image, image), hypermorph(image, image, {"regularization": 0.3}))
    True
    """

    def __init__(
        self, registration: RegistrationNetwork, space: Space, units: Sequence[int]
    ) -> None:
        super().__init__()
        self.hypernetwork = Hypernetwork(registration, len(space.hyperparameters), units)
        self.space = space
        self.registration = registration.requires_grad_(False)

    def weights(self, setting: Mapping[str, float]) -> dict[str, Tensor]:
        """Give the registration network's weights at a setting."""
        base = self.hypernetwork.base
        places = torch.tensor(
            self.space.to_unit_interval(setting), dtype=base.dtype, device=base.device
        )
        weights: dict[str, Tensor] = self.hypernetwork(places)
        return weights

    def forward(self, moving: Tensor, fixed: Tensor, setting: Mapping[str, float]) -> Tensor:
        """Give the velocity of images of shape (batch, 1, *shape) at a setting."""
        velocity: Tensor = functional_call(
            self.registration, self.weights(setting), (moving, fixed)
        )
        return velocity

    def bake(self, setting: Mapping[str, float]) -> RegistrationNetwork:
        """Give an ordinary registration network with the weights of a setting."""
        network = copy.deepcopy(self.registration)
        with torch.no_grad():
            network.load_state_dict(self.weights(setting))
        return network
