"""The hypermorph: a registration network whose weights a hypernetwork predicts from a setting."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hmopt.networks.hypernetwork import Hypernetwork
from hmopt.networks.registration import RegistrationNetwork
from hmopt.space import Setting, Space


class Hypermorph(nn.Module):
    """One network in place of a registration network for each setting.

    With g the registration network of weights θ, and h the hypernetwork of learned weights ω:

        θ(λ) = h(λ; ω),     u = g(m, f; θ(λ))

    From λ to the convolutions it takes three steps:

    1. `Space.units`: the value's place t in [0, 1] along its range (or its logarithm).
    2. `hypernetwork.encode`: the angle πt/2, as a point of the unit circle.
    3. `Hypernetwork.forward`: the weights, which `functional_call` puts into the U-Net.

    Parameters
    ----------
    registration
        The registration network; the base weights start as its own.
    space
        The hyperparameters.
    widths
        Outputs of each dense layer of the hypernetwork.

    References
    ----------
    Hoopes et al., MELBA 2022, section 3.

    Examples
    --------
    >>> from hmopt.declaration import NetworkOptions
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    >>> hypermorph = Hypermorph(RegistrationNetwork(options, (16, 16)), space, widths=[8])
    >>> image = torch.zeros(1, 1, 16, 16)
    >>> setting = {"regularization": 0.3}
    >>> baked = hypermorph.bake(setting)
    >>> torch.equal(baked(image, image), hypermorph(image, image, setting))
    True
    """

    def __init__(
        self, registration: RegistrationNetwork, space: Space, widths: Sequence[int]
    ) -> None:
        super().__init__()
        self.hypernetwork = Hypernetwork(registration, len(space.hyperparameters), widths)
        self.space = space
        self.registration = registration.requires_grad_(False)

    def weights(self, setting: Setting) -> dict[str, Tensor]:
        """Predict the registration network's weights at a setting."""
        base = self.hypernetwork.base
        units = self.space.to_unit_interval(setting)
        places = torch.tensor(units, dtype=base.dtype, device=base.device)
        weights: dict[str, Tensor] = self.hypernetwork(places)
        return weights

    def forward(self, moving: Tensor, fixed: Tensor, setting: Setting) -> Tensor:
        """Predict the velocity of a batch of image pairs at a setting.

        Parameters
        ----------
        moving, fixed
            (batch, 1, *shape).
        setting
            A value for each hyperparameter.

        Returns
        -------
        Tensor
            (batch, d, *shape / velocity_stride), in voxels of its own grid.
        """
        weights = self.weights(setting)
        images = (moving, fixed)
        velocity: Tensor = functional_call(self.registration, weights, images)
        return velocity

    def bake(self, setting: Setting) -> RegistrationNetwork:
        """Return an ordinary registration network with the weights of a setting."""
        network = copy.deepcopy(self.registration)
        with torch.no_grad():
            weights = self.weights(setting)
        network.load_state_dict(weights)
        return network
