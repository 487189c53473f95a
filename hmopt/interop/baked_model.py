"""Registration networks of one setting, as functions on NumPy arrays: baked ones, or trained alone."""

import copy
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from hmopt.declaration import PreprocessingOptions
from hmopt.errors import CheckpointError, sides_text
from hmopt.files import checked
from hmopt.interop.bake import Baked
from hmopt.interop.model import FileModel, Image, check_shapes
from hmopt.model_file import check_header, weights_hash
from hmopt.networks import NETWORK_FORMAT, RegistrationNetwork, coarsest_stride, load_network
from hmopt.space import Setting, Space, value_text
from hmopt.spatial import image_tensor

NO_SPACE = Space(hyperparameters=())
"""The one setting of a network without hyperparameters is `{}`."""


class BakedModel(FileModel):
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

    def __init__(
        self,
        path: Path,
        network: RegistrationNetwork,
        header: dict[str, Any],
        device: torch.device | str = "cpu",
    ) -> None:
        self.path = path
        self.header = header
        self._device = torch.device(device)
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
    def shape(self) -> tuple[int, ...]:
        """Voxels of the grid that it was trained on."""
        return tuple(self.header["architecture"]["shape"])

    @property
    def preprocessing(self) -> PreprocessingOptions:
        """How the images were prepared that it was trained on."""
        check_header(self.path, self.header, needed=["preprocessing"])
        return checked(
            self.header["preprocessing"],
            PreprocessingOptions,
            field=str(self.path),
            error=CheckpointError,
            what="the header of a registration network",
            advice="Restore the file, or bake the model again.",
        )

    @property
    def stride(self) -> int | None:
        """It takes every grid whose axes are multiples of this; None, of a network of one's own: only its own."""
        options = self.network.options
        is_own = getattr(options, "callable", None) is not None
        return None if is_own else coarsest_stride(options)

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the displacement of two prepared images, (d, *shape), in voxels."""
        return self._integrated(moving, fixed, setting, sign=1)

    def inverse_displacement(
        self, moving: Image, fixed: Image, setting: Setting
    ) -> NDArray[np.float32]:
        """Return the inverse of the displacement, exp(-v) where it is exp(v), (d, *shape), in voxels."""
        return self._integrated(moving, fixed, setting, sign=-1)

    @torch.inference_mode()
    def _integrated(
        self, moving: Image, fixed: Image, setting: Setting, sign: Literal[1, -1]
    ) -> NDArray[np.float32]:
        """Return the displacement at time 1 or -1 of the flow of the velocity."""
        self.space.index(setting)
        check_shapes(moving, fixed, self.shape, self.stride)
        moving_tensor = image_tensor([moving]).to(self._device)
        fixed_tensor = image_tensor([fixed]).to(self._device)
        velocity = self.network(moving_tensor, fixed_tensor)
        displacement = self.network.displacement(sign * velocity)[0]
        array: NDArray[np.float32] = displacement.cpu().numpy()
        return array

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
