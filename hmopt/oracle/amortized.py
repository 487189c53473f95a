"""The oracle that one hypermorph stands behind: a setting costs no more than a pass through a network."""

import hashlib
from functools import lru_cache

import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.files import content_hash
from hmopt.networks import Hypermorph, RegistrationNetwork
from hmopt.oracle.registered import SETTINGS_AT_ONCE, Register, RegisteringOracle
from hmopt.space import Index, Space

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the dimensions of a convolution's weights: convolutions take half the time this way."""


class AmortizedOracle(RegisteringOracle):
    """Measures settings on pairs of a cohort with the networks that a hypermorph predicts.

    Parameters
    ----------
    model
        The trained hypermorph.
    cohort
        Where the images of pairs are.
    device
        Where to compute.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    """

    def __init__(
        self, model: Hypermorph, cohort: PreparedCohort, device: torch.device | str = "cpu", batch: int | None = None
    ) -> None:
        super().__init__(cohort, device, batch)
        self._identity = content_hash(model_hash(model), cohort.identity)
        self._model = model.eval().to(self.device)
        self._baked = lru_cache(maxsize=SETTINGS_AT_ONCE)(self._bake)

    @property
    def space(self) -> Space:
        """The hyperparameters that the model is conditioned on."""
        return self._model.space

    @property
    def identity(self) -> str:
        """Hash of the model's weights and architecture, its hyperparameters, and the prepared cohort."""
        return self._identity

    def register(self, index: Index) -> Register:
        """Give what registers images at a setting, its weights predicted once."""
        network = self._baked(index)

        def registered(moving: Tensor, fixed: Tensor) -> Tensor:
            return network.displacement(network(moving, fixed).contiguous())

        return registered

    def _bake(self, index: Index) -> RegistrationNetwork:
        network = self._model.bake(self.space.setting(index))
        for weight in network.parameters():
            if weight.dim() in CHANNELS_LAST:
                weight.data = weight.data.contiguous(memory_format=CHANNELS_LAST[weight.dim()])
        return network


def model_hash(model: Hypermorph) -> str:
    """Give 16 hexadecimal digits that stand for a model's weights, architecture and hyperparameters."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.hypernetwork.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    hyperparameters = [(h.name, h.low, h.high, h.prior) for h in model.space.hyperparameters]
    return content_hash(digest.hexdigest(), model.registration.section.model_dump(), hyperparameters)
