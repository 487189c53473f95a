"""The hypermorph: a registration network whose weights a hypernetwork predicts from a setting."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hmopt.model_file import weights_hash
from hmopt.networks.custom import constants
from hmopt.networks.hypernetize import assign, copied_module, deep_copy
from hmopt.networks.hypernetwork import Hypernetwork
from hmopt.networks.registration import RegistrationNetwork
from hmopt.space import Setting, Space
from hmopt.spatial import divided

CONSTANTS = "constants/"
"""What names of buffers begin with in a file."""


class Hypermorph(nn.Module):
    """One network in place of a registration network for each setting λ.

    With g the registration network of weights θ, and h the hypernetwork of learned weights ω, the
    velocity that registers a moving image m to a fixed image f is

        v = g(m, f; θ),     θ = h(λ; ω)

    From λ to the convolutions it takes three steps:

    1. `Space.to_unit_interval`: the place t of λ along its range (or that of log λ), in [0, 1].
    2. `encode`: the point (cos πt/2, sin πt/2) of the unit circle.
    3. `Hypernetwork.forward`: the weights θ, which `functional_call` puts into the U-Net.

    In training (`hmopt.training.loop.run_training`) λ also weighs the loss, in
    `hmopt.losses.weighted_loss`.

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
        # its own weights are never used: each call puts predicted ones in their place
        self.registration = registration.requires_grad_(False)

    def weights(self, setting: Setting) -> dict[str, Tensor]:
        """Predict the registration network's weights θ at a setting, by name."""
        # in the order of the space, whatever the order of the setting
        places = self.space.to_unit_interval(setting)
        base = self.hypernetwork.base
        inputs = torch.tensor(places, dtype=base.dtype, device=base.device)
        return self.weights_at(inputs)

    def weights_at(self, places: Tensor) -> dict[str, Tensor]:
        """Predict the same at places along the ranges, (hyperparameters,), in [0, 1]; gradients flow to them.

        Of the places of k settings, (k, hyperparameters), it stacks them along a first axis.
        """
        weights: dict[str, Tensor] = self.hypernetwork(places)
        return weights

    def forward(self, moving: Tensor, fixed: Tensor, setting: Setting) -> Tensor:
        """Predict the velocity of a batch of image pairs at a setting.

        Parameters
        ----------
        moving, fixed
            (batch, 1, *shape).
        setting
            A value for each hyperparameter, the same for the whole batch.

        Returns
        -------
        Tensor
            (batch, d, *shape / velocity_stride), in voxels of its own grid.
        """
        weights = self.weights(setting)
        images = (moving, fixed)
        velocity: Tensor = functional_call(self.registration, weights, images)
        return velocity

    def velocities(self, moving: Tensor, fixed: Tensor, settings: Sequence[Setting]) -> Tensor:
        """Predict the velocity of a batch in parts, at a setting each.

        Parameters
        ----------
        moving, fixed
            (batch, 1, *shape).
        settings
            k of them: the first batch / k pairs are registered at the first setting, and so on.

        Returns
        -------
        Tensor
            (batch, d, *shape / velocity_stride), equal up to rounding to the parts one by one.
        """
        if len(settings) == 1:
            return self.forward(moving, fixed, settings[0])
        places = [self.space.to_unit_interval(setting) for setting in settings]
        base = self.hypernetwork.base
        inputs = torch.tensor(places, dtype=base.dtype, device=base.device)
        weights = self.weights_at(inputs)
        count = len(settings)
        are_equal_parts = len(moving) % count == 0
        if self.registration.takes_weights_of_several_settings and are_equal_parts:
            velocity: Tensor = functional_call(self.registration, weights, (moving, fixed))
            return velocity

        parts = zip(divided(moving, count), divided(fixed, count), strict=True)
        velocities = []
        for row, images in enumerate(parts):
            weights_of_setting = {name: stacked[row] for name, stacked in weights.items()}
            velocity = functional_call(self.registration, weights_of_setting, images)
            velocities.append(velocity)
        return torch.cat(velocities)

    def bake(self, setting: Setting) -> RegistrationNetwork:
        """Return an ordinary registration network with the weights of a setting."""
        network = copied_module(self.registration)
        with torch.no_grad():
            weights = self.weights(setting)
        assign(network, weights)
        return network

    def constants(self) -> dict[str, Tensor]:
        """Return the buffers of the registration network, named as in a file."""
        found = constants(self.registration)
        return {f"{CONSTANTS}{name}": tensor for name, tensor in found.items()}

    def load_constants(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what `constants` returned."""
        own = self.constants()
        for name, tensor in tensors.items():
            own[name].copy_(tensor)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hypermorph":
        """Return a copy, also where the registration network keeps outputs of an earlier call."""
        return deep_copy(self, memo)


def hypermorph_hash(model: Hypermorph) -> str:
    """Return a hash of a hypermorph's weights, architecture and hyperparameters, 16 digits.

    Examples
    --------
    >>> from hmopt.declaration import NetworkOptions
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    >>> hypermorph = Hypermorph(RegistrationNetwork(options, (16, 16)), space, widths=[8])
    >>> len(hypermorph_hash(hypermorph))
    16
    """
    state = {**model.hypernetwork.state_dict(), **model.constants()}
    tensors = {}
    for name, tensor in state.items():
        tensors[name] = tensor.detach().cpu().contiguous().numpy()
    hyperparameters = [(h.name, h.low, h.high, h.prior) for h in model.space.hyperparameters]
    return weights_hash(tensors, model.registration.options, hyperparameters)
