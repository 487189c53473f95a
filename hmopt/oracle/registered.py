"""What oracles that register images share: batches of pairs go in, blocks of measurements come out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.metric import find_metric
from hmopt.metrics import measure
from hmopt.oracle.images import CohortTensors
from hmopt.records import Block, Pair
from hmopt.space import Index, Space

BATCH_VOXELS = 2**22
"""Voxels of a batch's images, at most: measuring takes some hundred bytes for each."""
BATCH_ON_CPU = 8
"""Pairs of a batch on a processor, at most: more make it no faster."""

Register = Callable[[Tensor, Tensor], Tensor]
"""Gives the displacement (n, d, *shape), in voxels, of moving and fixed images (n, 1, *shape)."""


class RegisteringOracle(ABC):
    """An oracle that registers the pairs of a cohort and measures what came of it.

    Parameters
    ----------
    cohort
        Where the images of pairs are.
    device
        Where to compute.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    """

    def __init__(self, cohort: PreparedCohort, device: torch.device | str = "cpu", batch: int | None = None) -> None:
        self.cohort = cohort
        self.device = torch.device(device)
        self.batch = batch or fitting_batch(cohort.shape, self.device)
        self._images = CohortTensors(cohort, self.device)

    @property
    @abstractmethod
    def space(self) -> Space:
        """The hyperparameters that settings are of."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of everything that decides the values."""

    @abstractmethod
    def register(self, index: Index) -> Register:
        """Give what registers images at a setting."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that are measured."""
        return self.cohort.labels

    def measure(self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]) -> Iterator[Block]:
        """Measure every setting on every pair, a batch of pairs at a time, setting by setting.

        Raises
        ------
        DeclarationError
            If a metric is not declared.
        DataError
            If an image of a pair is not in the cohort.
        """
        for name in metrics:
            find_metric(name)
        self._images.check(pairs)
        return self._blocks(settings, pairs, metrics)

    def displacement(self, index: Index, pair: Pair) -> Tensor:
        """Give the displacement of one pair at a setting: (d, *shape), in voxels."""
        with torch.inference_mode():
            images = self._images.load([pair])
            return self.register(index)(images.moving, images.fixed)[0]

    def _blocks(self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]) -> Iterator[Block]:
        for index in settings:
            register = self.register(index)
            for start in range(0, len(pairs), self.batch):
                yield self._block(index, register, pairs[start : start + self.batch], metrics)

    @torch.inference_mode()
    def _block(self, index: Index, register: Register, pairs: Sequence[Pair], metrics: Sequence[str]) -> Block:
        images = self._images.load(pairs)
        values = measure(
            metrics,
            register(images.moving, images.fixed),
            images.moving,
            images.fixed,
            images.moving_labels,
            images.fixed_labels,
            len(self.labels),
            self.cohort.spacing_mm,
        )
        return Block(index=index, pairs=tuple(pair.id for pair in pairs), labels=self.labels, values=values)


def fitting_batch(shape: tuple[int, ...], device: torch.device) -> int:
    """Give how many pairs to measure at a time.

    Examples
    --------
    >>> fitting_batch((160, 160), torch.device("cpu")), fitting_batch((160, 160), torch.device("cuda"))
    (8, 163)
    >>> fitting_batch((160, 192, 224), torch.device("cpu"))
    1
    """
    fitting = max(1, BATCH_VOXELS // math.prod(shape))
    return min(fitting, BATCH_ON_CPU) if device.type == "cpu" else fitting
