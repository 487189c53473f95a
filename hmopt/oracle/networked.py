"""What oracles share that have a registration network for each setting."""

from abc import abstractmethod
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.networks import RegistrationNetwork
from hmopt.oracle.registered import SETTINGS_AT_ONCE, Register, RegisteringOracle
from hmopt.space import Index

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the dimensions of a convolution's weights: convolutions take half the time this way."""


class NetworkOracle(RegisteringOracle):
    """An oracle that registers with an ordinary network at each setting.

    Parameters
    ----------
    cohort
        Where the images of pairs are.
    device
        Where to compute.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    """

    def __init__(
        self, cohort: PreparedCohort, device: torch.device | str = "cpu", batch: int | None = None
    ) -> None:
        super().__init__(cohort, device, batch)
        self.network = lru_cache(maxsize=SETTINGS_AT_ONCE)(self._ready)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: the networks that are kept are made again there."""
        return {name: value for name, value in self.__dict__.items() if name != "network"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` gave."""
        self.__dict__.update(state)
        self.network = lru_cache(maxsize=SETTINGS_AT_ONCE)(self._ready)

    @abstractmethod
    def make_network(self, index: Index) -> RegistrationNetwork:
        """Give the network of a setting, on the oracle's device, its weights nobody else's."""

    def register(self, index: Index) -> Register:
        """Give what registers images at a setting, its network made once."""
        network = self.network(index)

        def registered(moving: Tensor, fixed: Tensor) -> Tensor:
            return network.displacement(network(moving, fixed))

        return registered

    def _ready(self, index: Index) -> RegistrationNetwork:
        network = self.make_network(index)
        for weight in network.parameters():
            if weight.dim() in CHANNELS_LAST:
                weight.data = weight.data.contiguous(memory_format=CHANNELS_LAST[weight.dim()])
        return network
