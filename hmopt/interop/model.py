"""What every model is to a script or a command: a function of two images and a setting."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from hmopt.networks import Hypermorph, RegistrationNetwork, load_hypermorph
from hmopt.space import Setting, Space
from hmopt.spatial.tensors import image_tensor

Image = NDArray[np.float32]
"""Intensities of a prepared image, (*shape)."""


class Model(Protocol):
    """Registers two prepared images at a setting.

    Implement it to let `hmopt register` use a model of another program: a property and a method.
    """

    @property
    def space(self) -> Space:
        """The hyperparameters that settings are of."""
        ...

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.floating]:
        """Return the displacement (d, *shape), in voxels."""
        ...


class HypermorphModel:
    """A hypermorph as a function on NumPy arrays.

    Parameters
    ----------
    hypermorph
        The trained network.
    device
        Where it runs.
    """

    def __init__(self, hypermorph: Hypermorph, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._hypermorph = hypermorph.eval().to(self._device)
        self._baked: tuple[Setting, RegistrationNetwork] | None = None

    @property
    def space(self) -> Space:
        """The hyperparameters that the hypermorph is conditioned on."""
        return self._hypermorph.space

    @torch.inference_mode()
    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the displacement (d, *shape), in voxels."""
        network = self._network(setting)
        moving_tensor = image_tensor([moving]).to(self._device)
        fixed_tensor = image_tensor([fixed]).to(self._device)
        velocity = network(moving_tensor, fixed_tensor)
        displacement = network.displacement(velocity)[0]
        array: NDArray[np.float32] = displacement.cpu().numpy()
        return array

    def _network(self, setting: Setting) -> RegistrationNetwork:
        """Return the network of a setting, that of the last call where it is the same."""
        if self._baked is not None:
            last, network = self._baked
            if last == setting:
                return network
        network = self._hypermorph.bake(setting)
        self._baked = (dict(setting), network)
        return network


def load_model(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[HypermorphModel, dict[str, Any]]:
    """Return the model in a file that hmopt wrote, and the file's header.

    Raises
    ------
    CheckpointError
        If the file cannot be used.
    """
    hypermorph, header = load_hypermorph(path)
    model = HypermorphModel(hypermorph, device)
    return model, header
