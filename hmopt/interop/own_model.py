"""Hypermorphs that hmopt trained, as functions on NumPy arrays."""

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from hmopt.declaration import NetworkOptions, PreprocessingOptions
from hmopt.errors import CheckpointError, sides_text
from hmopt.files import checked
from hmopt.interop.bake import Baked
from hmopt.interop.model import FileModel, Image, check_shapes
from hmopt.interop.velocity_model import VelocityModel
from hmopt.model_file import check_header
from hmopt.networks import (
    Hypermorph,
    RegistrationNetwork,
    coarsest_stride,
    hypermorph_hash,
    load_hypermorph,
)
from hmopt.space import Setting, Space
from hmopt.spatial import image_tensor


class OwnModel(VelocityModel, FileModel):
    """A model that hmopt wrote: one whose registration networks give velocities, with a header that tells its grid.

    To add one, derive from this class, and write `title`, `identity`, `space`, `_options` and `_network`.

    Parameters
    ----------
    path
        Its file, for messages.
    header
        What the file says of it.
    device
        Where it runs.
    """

    _what = "the header of a trained model"
    _advice = "Restore the file, or move it away and train again."

    def __init__(self, path: Path, header: dict[str, Any], device: torch.device | str) -> None:
        self.path = path
        self.header = header
        self._device = torch.device(device)

    @property
    @abstractmethod
    def _options(self) -> NetworkOptions:
        """The architecture of the registration network."""

    @abstractmethod
    def _network(self, setting: Setting) -> RegistrationNetwork:
        """Return the registration network of a setting, on the device."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._device

    def registration_network(self, setting: Setting) -> RegistrationNetwork:
        """Return the ordinary registration network of a setting, on the device.

        Raises
        ------
        DeclarationError
            If the setting is not of the model's space.
        """
        self.space.index(setting)
        return self._network(setting)

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
            what=self._what,
            advice=self._advice,
        )

    @property
    def stride(self) -> int | None:
        """It takes every grid whose axes are multiples of this; None, of a network of one's own: only its own."""
        options = self._options
        return None if options.callable else coarsest_stride(options)

    def pair_velocity(self, moving: Image, fixed: Image, setting: Setting) -> Tensor:
        """Return the velocity of two prepared images, (1, d, *shape / stride), in voxels of its own grid."""
        moving_tensor, fixed_tensor = self.tensors(moving, fixed)
        return self.velocity(moving_tensor, fixed_tensor, setting)

    def tensors(self, moving: Image, fixed: Image) -> tuple[Tensor, Tensor]:
        """Return two prepared images on the model's device, (1, 1, *shape) each.

        Raises
        ------
        DataError
            If they have a shape that the model does not take.
        """
        check_shapes(moving, fixed, self.shape, self.stride)
        moving_tensor = image_tensor([moving]).to(self._device)
        fixed_tensor = image_tensor([fixed]).to(self._device)
        return moving_tensor, fixed_tensor

    def velocity(self, moving: Tensor, fixed: Tensor, setting: Setting) -> Tensor:
        """Return the velocities of n pairs, (n, d, *shape / stride), in voxels of their own grid."""
        velocity: Tensor = self._network(setting)(moving, fixed)
        return velocity

    def integrated(self, velocity: Tensor, setting: Setting, stride: int | None = None) -> Tensor:
        """Return the displacements of velocities, (n, d, *shape), in voxels of the images.

        Parameters
        ----------
        velocity
            (n, d, *shape / stride), in voxels of its own grid.
        setting
            A value for every hyperparameter.
        stride
            Image voxels to a voxel of the velocity along each axis; None: as the network predicts them.
        """
        displacement: Tensor = self._network(setting).displacement(velocity, stride)
        return displacement


class HypermorphModel(OwnModel):
    """A hypermorph that hmopt trained.

    Parameters
    ----------
    path
        Its file, for messages.
    hypermorph
        The trained network.
    header
        What the file says of it.
    device
        Where it runs.
    """

    def __init__(
        self,
        path: Path,
        hypermorph: Hypermorph,
        header: dict[str, Any],
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(path, header, device)
        self.hypermorph = hypermorph.eval().to(self._device)
        self._baked: tuple[Setting, RegistrationNetwork] | None = None

    @property
    def title(self) -> str:
        """What the model is, in a few words."""
        shape = sides_text(self.shape)
        return f"hypermorph of hmopt, {shape} voxels"

    @property
    def identity(self) -> str:
        """Hash of weights, architecture and hyperparameters."""
        return hypermorph_hash(self.hypermorph)

    @property
    def space(self) -> Space:
        """The hyperparameters that the hypermorph is conditioned on."""
        return self.hypermorph.space

    def bake(self, setting: Setting) -> Baked:
        """Return the ordinary network of a setting, with what must be known to use it."""
        self.space.index(setting)
        declared = self.header["architecture"]
        architecture = {"shape": declared["shape"], "network": declared["network"]}
        header = {**self.header, "architecture": architecture, "setting": dict(setting)}
        # those of the hypermorph's file; that of a baked network is another, and does not refine by itself
        for key in ("format", "version", "refine"):
            header.pop(key, None)
        return Baked(
            network=self.hypermorph.bake(setting).cpu().eval(),
            shape=self.shape,
            stride=self.stride,
            preprocessing=self.preprocessing,
            header=header,
        )

    @property
    def _options(self) -> NetworkOptions:
        return self.hypermorph.registration.options

    def _network(self, setting: Setting) -> RegistrationNetwork:
        """Return the network of a setting, that of the last call where it is the same."""
        if self._baked is not None:
            last, network = self._baked
            if last == setting:
                return network
        network = self.hypermorph.bake(setting)
        self._baked = (dict(setting), network)
        return network


def recognizes(path: Path) -> bool:
    """Tell whether a file holds a hypermorph that hmopt wrote."""
    try:
        with safe_open(path, framework="np") as file:
            return "hmopt" in (file.metadata() or {})
    except Exception:  # whatever a file of another format makes of it
        return False


def read(
    path: Path,
    device: torch.device | str = "cpu",
    declared_order: Iterable[str] | None = None,
    *,
    trust_code: bool = False,
) -> HypermorphModel:
    """Return the hypermorph in a file that hmopt wrote.

    Parameters
    ----------
    path
        The file.
    device
        Where it runs.
    declared_order
        Names of its hyperparameters in the order of their declaration, for a file of an earlier
        version, which does not tell it; None: that of the catalogue.
    trust_code
        Whether the Python file that makes its network may be run, where it is one of the user.

    Raises
    ------
    CheckpointError
        If the file cannot be used, or needs code that is not trusted.
    """
    hypermorph, header = load_hypermorph(path, declared_order=declared_order, trust_code=trust_code)
    return HypermorphModel(path, hypermorph, header, device)
