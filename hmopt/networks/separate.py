"""A registration network that was trained for one setting, and its file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from hmopt.declaration import NetworkOptions
from hmopt.errors import CheckpointError, HmoptError
from hmopt.files import one_line
from hmopt.networks.checkpoint import load_weights, read_header, save_tensors
from hmopt.networks.registration import RegistrationNetwork

FORMAT = "hmopt-registration-network-1"


class SeparateNetwork(nn.Module):
    """An ordinary registration network, called as a hypermorph is, that stands for one setting.

    Parameters
    ----------
    registration
        The network.
    setting
        What it stands for.

    Examples
    --------
    >>> import torch
    >>> network = RegistrationNetwork(NetworkOptions(encoder=[4, 4], decoder=[4], final=[]), (16, 16))
    >>> image = torch.ones(1, 1, 16, 16)
    >>> separate = SeparateNetwork(network, {"regularization": 0.3})
    >>> torch.equal(separate(image, image, {"regularization": 0.3}), network(image, image))
    True
    """

    def __init__(self, registration: RegistrationNetwork, setting: Mapping[str, float]) -> None:
        super().__init__()
        self.registration = registration
        self.setting = dict(setting)

    def forward(self, moving: Tensor, fixed: Tensor, setting: Mapping[str, float]) -> Tensor:
        """Give the velocity of images of shape (batch, 1, *shape) at the one setting.

        Raises
        ------
        HmoptError
            If another setting is asked for.
        """
        if setting != self.setting:
            advice = "Train a network for it."
            raise HmoptError(
                "setting", expected=str(self.setting), got=dict(setting), advice=advice
            )
        velocity: Tensor = self.registration(moving, fixed)
        return velocity


def save_network(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a registration network's tensors, with a header that says what they are.

    Parameters
    ----------
    path
        The file; it is replaced whole.
    tensors
        The network's `state_dict()`, or averages of it.
    header
        Values that JSON can hold, among them the `architecture`: `shape` and the section `network`.

    Examples
    --------
    >>> import tempfile
    >>> section = NetworkOptions(encoder=[4, 4], decoder=[4], final=[])
    >>> path = Path(tempfile.mkdtemp()) / "network.safetensors"
    >>> built_as = {"shape": [16, 16], "network": section.model_dump()}
    >>> save_network(path, RegistrationNetwork(section, (16, 16)).state_dict(), {"architecture": built_as})
    >>> network, header = load_network(path)
    >>> header["architecture"]["shape"]
    [16, 16]
    """
    save_tensors(path, FORMAT, tensors, header)


def load_network(path: Path) -> tuple[RegistrationNetwork, dict[str, Any]]:
    """Give the registration network in a file, and its header.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    RegistrationNetwork
        On the CPU.
    dict
        The header.

    Raises
    ------
    CheckpointError
        If the file cannot be used.

    Examples
    --------
    >>> load_network(Path("nowhere/network.safetensors"))
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: nowhere/network.safetensors: expected a trained model, got no file. Run ...
    """
    header = read_header(path, FORMAT)
    try:
        built_as = header["architecture"]
        network = RegistrationNetwork(
            NetworkOptions(**built_as["network"]), tuple(built_as["shape"])
        )
        load_weights(path, network)
    except CheckpointError:
        raise
    except (
        RuntimeError,
        ValidationError,
        HmoptError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        raise CheckpointError(
            str(path),
            expected="weights of its own architecture",
            got=one_line(error),
            advice="Train again.",
        ) from error
    return network.eval(), header
