"""Models whose registrations are refined, as functions on NumPy arrays."""

import hashlib

import numpy as np
from torch import Tensor

from hmopt.declaration import RefineOptions
from hmopt.errors import CheckpointError, DeclarationError
from hmopt.files import content_hash
from hmopt.interop.model import Image, Model
from hmopt.interop.own_model import OwnModel
from hmopt.interop.velocity_model import VelocityModel
from hmopt.space import Setting, Space
from hmopt.training.latest import LatestVelocities
from hmopt.training.refinement import Refinement, known_loss

KEPT_BYTES = 2**27
"""Velocities that stay in memory, those found last: an inverse is made of the same ones."""


class RefinedModel(VelocityModel):
    """A model of hmopt whose velocities some iterations refine, pair by pair.

    Parameters
    ----------
    model
        Where velocities start.
    options
        `[refine]`: iterations that lower the loss that the model was trained under (see
        `hmopt.training.refinement`).

    Raises
    ------
    CheckpointError
        If the header of the model does not tell its loss, or the setting of a baked one.
    DeclarationError
        If the similarity does not take the features.
    """

    def __init__(self, model: OwnModel, options: RefineOptions) -> None:
        self._model = model
        header = model.header
        loss = header.get("loss")
        scale = None if loss is None else loss.get("scale")
        # of a baked model, whose space is empty
        self._baked_at: Setting = header.get("setting", {})
        names = [*model.space.names, *self._baked_at]
        pair_loss = known_loss(loss, scale, header.get("spacing_mm"), model.path, names)
        self._refinement = Refinement.declared(pair_loss, options)
        if not model.space.names and not self._baked_at:
            raise CheckpointError(
                f"{model.path}: setting",
                expected="the setting that the network was trained or baked at",
                got="none",
                advice="Register without refinement.",
            )
        self._latest: LatestVelocities[str] = LatestVelocities(KEPT_BYTES)

    @property
    def space(self) -> Space:
        """The hyperparameters of the model."""
        return self._model.space

    @property
    def unrefined_identity(self) -> str:
        """Identity of the model alone."""
        return self._model.identity

    def pair_velocity(self, moving: Image, fixed: Image, setting: Setting) -> Tensor:
        """Return the refined velocity of two prepared images, found once.

        It is (1, d, *shape / stride), or (1, d, *shape) after iterations at full resolution.
        """
        key = content_hash(_bytes_hash(moving), _bytes_hash(fixed), dict(setting))
        known = self._latest.find(key)
        if known is not None:
            return known.velocity
        moving_tensor, fixed_tensor = self._model.tensors(moving, fixed)
        start = self._model.velocity(moving_tensor, fixed_tensor, setting)
        found = self._refinement.refined(
            start,
            moving_tensor,
            fixed_tensor,
            {**self._baked_at, **setting},
            lambda trial, stride: self._model.integrated(trial, setting, stride),
        )
        velocity = found.fields
        self._latest.keep(key, velocity)
        return velocity

    def integrated(self, velocity: Tensor, setting: Setting) -> Tensor:
        """Return the displacements of velocities, (n, d, *shape), in voxels of the images."""
        return self._model.integrated(velocity, setting, self._refinement.final_stride)


def refined_model(model: Model, options: RefineOptions) -> Model:
    """Return a model whose registrations are refined, or the model itself for 0 iterations.

    Parameters
    ----------
    model, options
        As of `RefinedModel`.

    Raises
    ------
    CheckpointError
        If the header of the model does not tell its loss.
    DeclarationError
        If the model gives displacements and no velocity, or the similarity does not take the features.
    """
    if not options.iterations:
        return model
    if not isinstance(model, OwnModel):
        raise DeclarationError(
            "refine.iterations, --refine",
            expected="0 with a model that gives displacements and no velocity",
            got=options.iterations,
            advice="Leave it out; velocities come from models that hmopt trained.",
        )
    return RefinedModel(model, options)


def _bytes_hash(image: Image) -> str:
    content = np.ascontiguousarray(image).tobytes()
    return hashlib.sha256(content).hexdigest()
