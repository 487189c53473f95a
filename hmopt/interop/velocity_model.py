"""Models that give velocities, as functions on NumPy arrays: their displacements have an inverse."""

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.interop.model import Image
from hmopt.space import Setting


class VelocityModel(ABC):
    """A model that registers by the flow of a stationary velocity v.

    The displacement is that of exp(v), the flow at time 1. At time -1 it is at exp(-v), the
    inverse.

    To add one, derive from this class, and write `pair_velocity` and `integrated`.
    """

    @abstractmethod
    def pair_velocity(self, moving: Image, fixed: Image, setting: Setting) -> Tensor:
        """Return the velocity of two prepared images, (1, d, *shape / stride), in voxels of its own grid."""

    @abstractmethod
    def integrated(self, velocity: Tensor, setting: Setting) -> Tensor:
        """Return the displacements of velocities, as `pair_velocity` returns them: (n, d, *shape), in voxels."""

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the displacement of two prepared images, (d, *shape), in voxels."""
        return self._flow(moving, fixed, setting, time=1)

    def inverse_displacement(
        self, moving: Image, fixed: Image, setting: Setting
    ) -> NDArray[np.float32]:
        """Return the inverse of the displacement, exp(-v) where it is exp(v), (d, *shape), in voxels."""
        return self._flow(moving, fixed, setting, time=-1)

    @torch.inference_mode()
    def _flow(
        self, moving: Image, fixed: Image, setting: Setting, time: Literal[1, -1]
    ) -> NDArray[np.float32]:
        """Return the displacement of the flow at a time."""
        velocity = self.pair_velocity(moving, fixed, setting)
        displacement = self.integrated(time * velocity, setting)[0]
        array: NDArray[np.float32] = displacement.cpu().numpy()
        return array
