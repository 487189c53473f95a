"""Registration networks of one setting, as functions on NumPy arrays: baked ones, or trained alone."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from hmopt.declaration import NetworkOptions
from hmopt.errors import sides_text
from hmopt.interop.bake import Baked
from hmopt.interop.own_model import OwnModel
from hmopt.model_file import weights_hash
from hmopt.networks import NETWORK_FORMAT, RegistrationNetwork, load_network
from hmopt.space import Setting, Space, value_text

NO_SPACE = Space(hyperparameters=())
"""The one setting of a network without hyperparameters is `{}`."""


class BakedModel(OwnModel):
    """A registration network of one setting, which hmopt wrote.

    Parameters
    ----------
    path
        Its file, for messages.
    network
        The network.
    header
        What the file says of it.
    device
        Where it runs.
    """

    _what = "the header of a registration network"
    _advice = "Restore the file, or bake the model again."

    def __init__(
        self,
        path: Path,
        network: RegistrationNetwork,
        header: dict[str, Any],
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(path, header, device)
        self.network = network.eval().to(self._device)

    @property
    def title(self) -> str:
        """What the model is, in a few words."""
        shape = sides_text(self.shape)
        setting = self.header.get("setting", {})
        values = [f"{name} {value_text(value)}" for name, value in setting.items()]
        at = f" at {', '.join(values)}" if values else ""
        return f"registration network of hmopt{at}, {shape} voxels"

    @property
    def identity(self) -> str:
        """Hash of weights and architecture."""
        tensors = {}
        for name, tensor in self.network.state_dict().items():
            tensors[name] = tensor.cpu().contiguous().numpy()
        return weights_hash(tensors, self.network.options, [])

    @property
    def space(self) -> Space:
        """No hyperparameter: its only setting is `{}`."""
        return NO_SPACE

    @property
    def _options(self) -> NetworkOptions:
        return self.network.options

    def _network(self, setting: Setting) -> RegistrationNetwork:
        """Return the network itself, of its only setting."""
        self.space.index(setting)
        return self.network

    def bake(self, setting: Setting) -> Baked:
        """Return the network itself, to be written in another form."""
        self.space.index(setting)
        header = {"setting": {}, **self.header}
        # they are added anew
        for key in ("format", "version"):
            header.pop(key, None)
        network = copy.deepcopy(self.network).cpu()
        return Baked(
            network=network,
            shape=self.shape,
            stride=self.stride,
            preprocessing=self.preprocessing,
            header=header,
        )


def recognizes(path: Path) -> bool:
    """Tell whether a file holds a registration network that hmopt wrote."""
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})["hmopt"])
            return bool(header["format"] == NETWORK_FORMAT)
    except Exception:  # whatever a file of another format makes of it
        return False


def read(path: Path, device: torch.device | str = "cpu", *, trust_code: bool = False) -> BakedModel:
    """Return the registration network in a file that hmopt wrote.

    Parameters
    ----------
    path
        The file.
    device
        Where it runs.
    trust_code
        Whether the Python file that makes it may be run, where it is a network of the user.

    Raises
    ------
    CheckpointError
        If the file cannot be used, or needs code that is not trusted.
    """
    network, header = load_network(path, trust_code=trust_code)
    return BakedModel(path, network, header, device)
