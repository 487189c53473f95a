"""Pairs of a prepared cohort as tensors, a batch ahead of who asks for them."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort, prefetch
from hmopt.errors import DataError
from hmopt.metrics.originals import Originals
from hmopt.records import Pair

Item = tuple[Tensor, Tensor]
"""An image (1, *shape), float32, and its label map, shape, int32."""

KEPT_VOXELS = 2**28
"""Voxels whose intensities and labels, 8 bytes each, stay on an accelerator between batches: 2 GiB."""


class CohortTensors:
    """Images and label maps of a cohort on a device.

    On a processor nothing is kept: the cohort's arrays are memory-mapped, and the system keeps what there is room for.
    An accelerator keeps the images used last.

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
        self._keep_sent()

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: it sends images to its device itself."""
        return {"cohort": self.cohort, "device": self.device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` gave."""
        self.__dict__.update(state)
        self._keep_sent()

    def _keep_sent(self) -> None:
        self._sent = lru_cache(max(2, KEPT_VOXELS // math.prod(self.cohort.shape)))(self._send)

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
                    "pairs",
                    expected="images of the cohort",
                    got=repr(name),
                    advice="Draw the pairs from it.",
                )

    def batches(
        self, pairs: Sequence[Pair], size: int
    ) -> Iterator[tuple[Sequence[Pair], Originals]]:
        """Give pairs, some at a time, with their images; the next ones are read meanwhile."""
        parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        return zip(parts, prefetch(self.load, parts), strict=True)

    def load(self, pairs: Sequence[Pair]) -> Originals:
        """Give the images and label maps of some pairs."""
        moving, moving_labels = self._stacked([pair.moving for pair in pairs])
        fixed, fixed_labels = self._stacked([pair.fixed for pair in pairs])
        return Originals(
            moving=moving,
            fixed=fixed,
            moving_labels=moving_labels,
            fixed_labels=fixed_labels,
            label_count=len(self.cohort.labels),
            spacing_mm=self.cohort.spacing_mm,
            pairs=tuple(pairs),
            world_of=self.cohort.to_world,
        )

    def _stacked(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        if self.device.type == "cpu":
            # by numpy: threads that torch starts beside those that compute would take their processors
            images = np.stack([self.cohort.image(name) for name in names])[:, None].astype(
                np.float32, copy=False
            )
            labels = np.stack([self.cohort.label_map(name) for name in names]).astype(np.int32)
            return torch.from_numpy(images), torch.from_numpy(labels)
        items = [self._sent(name) for name in names]
        return torch.stack([image for image, _ in items]), torch.stack(
            [labels for _, labels in items]
        )

    def _send(self, name: str) -> Item:
        image = torch.from_numpy(self.cohort.image(name)).float()[None]
        labels = torch.from_numpy(self.cohort.label_map(name).astype(np.int32))
        image, labels = (
            tensor.pin_memory().to(self.device, non_blocking=True) for tensor in (image, labels)
        )
        return image, labels
