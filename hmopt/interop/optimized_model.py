"""Registration without a model, as a function on NumPy arrays."""

import hashlib

import torch
from torch import Tensor

from hmopt.interop.model import Image
from hmopt.interop.velocity_model import VelocityModel
from hmopt.space import Setting, Space
from hmopt.spatial import image_tensor
from hmopt.training.continuation import Continuation


class OptimizedModel(VelocityModel):
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

    def pair_velocity(self, moving: Image, fixed: Image, setting: Setting) -> Tensor:
        """Return the velocity of two prepared images, in voxels of its own grid.

        It is (1, d, *shape / stride), or (1, d, *shape) after iterations at full resolution.

        Raises
        ------
        DeclarationError
            If the setting is not of the space.
        """
        self._space.index(setting)
        moving_tensor = image_tensor([moving]).to(self._device)
        fixed_tensor = image_tensor([fixed]).to(self._device)
        # the same two images again, as for an inverse, are found by their content
        name = hashlib.sha256(moving_tensor.cpu().numpy().tobytes())
        name.update(fixed_tensor.cpu().numpy().tobytes())
        found = self._continuation.registered(
            setting, [name.hexdigest()], moving_tensor, fixed_tensor
        )
        return found.velocities

    def integrated(self, velocity: Tensor, setting: Setting) -> Tensor:
        """Return the displacements of velocities, (n, d, *shape), in voxels of the images."""
        return self._continuation.integrated(velocity)
