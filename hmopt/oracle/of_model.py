"""The oracle of a model that another program trained."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.files import content_hash
from hmopt.interop.model import FileModel
from hmopt.metrics import Originals
from hmopt.oracle.registered import RegisteringOracle
from hmopt.records import Pair
from hmopt.space import Index, Space


class ModelOracle(RegisteringOracle):
    """Measures settings on pairs of a cohort with a model that was read from a file.

    Parameters
    ----------
    model
        Registers two prepared images at a setting.
    cohort
        Holds the images of pairs.
    device
        Where metrics are computed.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    """

    def __init__(
        self,
        model: FileModel,
        cohort: PreparedCohort,
        device: torch.device | str = "cpu",
        batch: int | None = None,
    ) -> None:
        super().__init__(cohort, device, batch)
        self._model = model
        self._identity = content_hash("file", model.identity, cohort.identity)

    @property
    def space(self) -> Space:
        """The hyperparameters that the model is conditioned on."""
        return self._model.space

    @property
    def identity(self) -> str:
        """Hash of the model and the prepared cohort."""
        return self._identity

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Register a batch of pairs, one after the other."""
        setting = self.space.setting(index)
        moving = images.moving[:, 0].cpu().numpy()
        fixed = images.fixed[:, 0].cpu().numpy()
        displacements = []
        for row in range(len(pairs)):
            found = self._model.displacement(moving[row], fixed[row], setting)
            displacements.append(found)
        stacked = torch.from_numpy(np.stack(displacements))
        return stacked.to(self.device)
