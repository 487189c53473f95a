"""Pairs of a prepared cohort as tensors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.errors import DataError
from hmopt.records import Pair

KEPT_VOXELS = 2**28
"""Voxels whose intensities and labels, 8 bytes each, stay on the device between batches: 2 GiB."""


@dataclass(frozen=True, kw_only=True)
class PairTensors:
    """Images (n, 1, *shape), float32, and label maps (n, *shape), int32, of n pairs."""

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor
    fixed_labels: Tensor


class CohortTensors:
    """Images and label maps of a cohort on a device; those used last stay there.

    Parameters
    ----------
    cohort
        The prepared cohort.
    device
        Where tensors go.
    """

    def __init__(self, cohort: PreparedCohort, device: torch.device) -> None:
        self.cohort = cohort
        self.device = device
        self._item = lru_cache(maxsize=max(2, KEPT_VOXELS // math.prod(cohort.shape)))(self._read)

    def check(self, pairs: Sequence[Pair]) -> None:
        """Refuse pairs of images that the cohort does not have.

        Raises
        ------
        DataError
            If there is such a pair.
        """
        known = set(self.cohort.images.index)
        for name in (name for pair in pairs for name in (pair.moving, pair.fixed)):
            if name not in known:
                raise DataError(
                    "pairs", expected="images of the cohort", got=repr(name), advice="Draw the pairs from it."
                )

    def load(self, pairs: Sequence[Pair]) -> PairTensors:
        """Give the images and label maps of some pairs."""
        moving = [self._item(pair.moving) for pair in pairs]
        fixed = [self._item(pair.fixed) for pair in pairs]
        return PairTensors(
            moving=torch.stack([image for image, _ in moving]),
            fixed=torch.stack([image for image, _ in fixed]),
            moving_labels=torch.stack([labels for _, labels in moving]),
            fixed_labels=torch.stack([labels for _, labels in fixed]),
        )

    def _read(self, name: str) -> tuple[Tensor, Tensor]:
        image = torch.from_numpy(self.cohort.image(name)).float()[None]
        labels = torch.from_numpy(self.cohort.label_map(name).astype(np.int32))
        return image.to(self.device), labels.to(self.device)
