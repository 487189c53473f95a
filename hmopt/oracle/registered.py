"""What oracles that register images share: batches of pairs go in, blocks of measurements come out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.catalogue import find_metric
from hmopt.data.prepared import PreparedCohort
from hmopt.metrics import Originals, measure
from hmopt.oracle.images import CohortTensors
from hmopt.records import Block, Pair
from hmopt.space import Index, Space

BATCH_VOXELS = 2**22
"""Voxels of a batch's images, at most: measuring takes some hundred bytes for each."""
BATCH_ON_CPU = 8
"""Pairs of a batch on a processor, at most: more make it no faster."""

SETTINGS_AT_ONCE = 64
"""Settings whose networks are kept while every batch of pairs passes them: what a batch needs at all is made once."""

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

    def __init__(
        self, cohort: PreparedCohort, device: torch.device | str = "cpu", batch: int | None = None
    ) -> None:
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

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Measure every setting on every pair: a batch of pairs at a time, at all settings.

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

    def _blocks(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        for start in range(0, len(settings), SETTINGS_AT_ONCE):
            kept = [
                (index, self.register(index))
                for index in settings[start : start + SETTINGS_AT_ONCE]
            ]
            for batch, originals in self._images.batches(pairs, self.batch):
                ids = tuple(pair.id for pair in batch)
                for index, register in kept:
                    values = _measured(register, originals, metrics)
                    yield Block(index=index, pairs=ids, labels=self.labels, values=values)


@torch.inference_mode()
def _measured(
    register: Register, originals: Originals, metrics: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    return measure(metrics, originals, register(originals.moving, originals.fixed))


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
