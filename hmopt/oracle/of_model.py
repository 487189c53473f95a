"""The oracle of a model that another program trained."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.files import content_hash
from hmopt.interop.model import FileModel
from hmopt.metrics import Originals
from hmopt.oracle.registered import RegisteringOracle
from hmopt.records import Block, Pair
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
    space
        The model's hyperparameters with the steps and defaults of a study; None: with its own.
    """

    def __init__(
        self,
        model: FileModel,
        cohort: PreparedCohort,
        device: torch.device | str = "cpu",
        batch: int | None = None,
        *,
        space: Space | None = None,
    ) -> None:
        super().__init__(cohort, device, batch)
        self._model = model
        self._space = model.space if space is None else space
        self._identity = content_hash("file", model.identity, cohort.measured_identity)

    @property
    def space(self) -> Space:
        """The hyperparameters that the model is conditioned on."""
        return self._space

    @property
    def identity(self) -> str:
        """Hash of the model and the prepared cohort."""
        return self._identity

    @property
    def is_slow_to_set(self) -> bool:
        """Whether a new setting of the model takes long."""
        return self._model.is_slow_to_set

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Register a batch of pairs."""
        setting = self.space.setting(index)
        moving = images.moving[:, 0].cpu().numpy()
        fixed = images.fixed[:, 0].cpu().numpy()
        displacements = self._model.displacements(moving, fixed, setting)
        return torch.from_numpy(displacements).to(self.device)

    def _blocks(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Measure all settings on a batch of pairs before the next one, unless a setting takes long."""
        if not self.is_slow_to_set:
            yield from super()._blocks(settings, pairs, metrics)
            return
        for index in settings:
            yield from super()._blocks([index], pairs, metrics)
