"""Registration without a model, as a function on NumPy arrays."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmopt.interop.model import Image
from hmopt.space import Setting, Space
from hmopt.spatial import image_tensor
from hmopt.training.continuation import Continuation


class OptimizedModel:
    """Registers two prepared images by minimizing their loss, from strong λ to weak.

    Parameters
    ----------
    continuation
        Finds velocities.
    space
        The hyperparameters.
    device
        Where to compute.
    """

    def __init__(
        self, continuation: Continuation, space: Space, device: torch.device | str = "cpu"
    ) -> None:
        self._continuation = continuation
        self._space = space
        self._device = torch.device(device)

    @property
    def space(self) -> Space:
        """The hyperparameters."""
        return self._space

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        """Return the displacement of two prepared images, (d, *shape), in voxels."""
        velocity = self._velocity(moving, fixed, setting)
        return self._integrated(velocity)

    def inverse_displacement(
        self, moving: Image, fixed: Image, setting: Setting
    ) -> NDArray[np.float32]:
        """Return exp(-v) where the displacement is exp(v), (d, *shape), in voxels."""
        velocity = self._velocity(moving, fixed, setting)
        return self._integrated(-velocity)

    def _velocity(self, moving: Image, fixed: Image, setting: Setting) -> Tensor:
        moving_tensor = image_tensor([moving]).to(self._device)
        fixed_tensor = image_tensor([fixed]).to(self._device)
        # the same two images again, as for an inverse, are found by their content
        name = hashlib.sha256(moving_tensor.cpu().numpy().tobytes())
        name.update(fixed_tensor.cpu().numpy().tobytes())
        index = self._space.index(setting)
        return self._continuation.velocity(index, [name.hexdigest()], moving_tensor, fixed_tensor)

    @torch.inference_mode()
    def _integrated(self, velocity: Tensor) -> NDArray[np.float32]:
        displacement = self._continuation.integrated(velocity)[0]
        array: NDArray[np.float32] = displacement.cpu().numpy()
        return array
