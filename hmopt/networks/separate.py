"""A registration network that was trained at one setting, and its file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hmopt.declaration import NetworkOptions
from hmopt.errors import HmoptError
from hmopt.networks.checkpoint import (
    building_from,
    check_size,
    check_tensors,
    load_weights,
    network_of,
    read_header,
    save_tensors,
)
from hmopt.networks.custom import make_registration
from hmopt.networks.registration import RegistrationNetwork
from hmopt.space import Setting

FORMAT = "hmopt-registration-network-1"


class SeparateNetwork(nn.Module):
    """An ordinary registration network, called as a hypermorph is, for one setting only.

    Parameters
    ----------
    registration
        The network.
    setting
        The setting that it is trained at.

    Examples
    --------
    >>> import torch
    >>> options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    >>> network = RegistrationNetwork(options, (16, 16))
    >>> separate = SeparateNetwork(network, {"regularization": 0.3})
    >>> image = torch.ones(1, 1, 16, 16)
    >>> torch.equal(separate(image, image, {"regularization": 0.3}), network(image, image))
    True
    """

    def __init__(self, registration: RegistrationNetwork, setting: Setting) -> None:
        super().__init__()
        self.registration = registration
        self.setting = dict(setting)

    def forward(self, moving: Tensor, fixed: Tensor, setting: Setting) -> Tensor:
        """Predict the velocity of a batch of image pairs at the one setting.

        Parameters
        ----------
        moving, fixed
            (batch, 1, *shape).
        setting
            The setting of the network.

        Returns
        -------
        Tensor
            (batch, d, *shape / velocity_stride), in voxels of its own grid.

        Raises
        ------
        HmoptError
            If another setting is asked for.
        """
        return self.velocities(moving, fixed, [setting])

    def velocities(self, moving: Tensor, fixed: Tensor, settings: Sequence[Setting]) -> Tensor:
        """Predict the same; as of a hypermorph, each of the settings registers its part of the batch.

        Raises
        ------
        HmoptError
            If one of them is another setting.
        """
        for setting in settings:
            self._check(setting)
        velocity: Tensor = self.registration(moving, fixed)
        return velocity

    def _check(self, setting: Setting) -> None:
        if setting != self.setting:
            raise HmoptError(
                "setting",
                expected=str(self.setting),
                got=dict(setting),
                advice="Train a network for it.",
            )


def save_network(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a registration network's tensors, with a header that says what they are.

    Parameters
    ----------
    path
        The file; it is replaced whole.
    tensors
        The network's `state_dict()`, or averages of it.
    header
        Values that JSON can hold, among them the `architecture`: `shape` and the options `network`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "network.safetensors"
    >>> options = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    >>> tensors = RegistrationNetwork(options, (16, 16)).state_dict()
    >>> declared = {"shape": [16, 16], "network": options.model_dump()}
    >>> save_network(path, tensors, {"architecture": declared})
    >>> network, header = load_network(path)
    >>> header["architecture"]["shape"]
    [16, 16]
    """
    save_tensors(path, FORMAT, tensors, header)


def load_network(
    path: Path, *, trust_code: bool = True
) -> tuple[RegistrationNetwork, dict[str, Any]]:
    """Load the registration network in a file.

    Parameters
    ----------
    path
        The file.
    trust_code
        Whether the Python file that makes it may be run, where it is a network of the user; false
        for files of somebody else.

    Returns
    -------
    RegistrationNetwork
        On the CPU.
    dict
        The file's header.

    Raises
    ------
    CheckpointError
        If the file cannot be used.

    Examples
    --------
    >>> load_network(Path("nowhere/network.safetensors"))
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: nowhere/network.safetensors: expected a trained model, ...
    """
    header = read_header(path, FORMAT)
    found = network_of(path, header["architecture"], trust_code)
    with building_from(path):
        declared = header["architecture"]
        options = found or NetworkOptions(**declared["network"])
        shape = tuple(declared["shape"])
        if found is None:
            check_size(path, options, len(shape))
        network = make_registration(options, shape)
        if found is None:
            check_tensors(path, network)
        load_weights(path, network)
    return network.eval(), header
