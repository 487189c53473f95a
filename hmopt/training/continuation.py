"""Registration without a model: continuation from strong regularization to weak.

The minimum at one λ is a good start for the next weaker one. Each registration therefore walks down
a fixed ladder of λ, from a velocity of zero, which is the minimum at λ = 1. A sweep over λ visits the
rungs anyway, so that it costs little more than the weakest λ alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from hmopt.files import content_hash
from hmopt.space import Setting, Space, Value, as_number, even_indices
from hmopt.spatial import velocity_to_displacement
from hmopt.training.latest import LatestVelocities
from hmopt.training.refinement import Refinement

Values = tuple[Value, ...]
"""Of every hyperparameter, in the order of the space."""

LADDER_BY = "regularization"
"""The hyperparameter whose values are the rungs; others have a ladder for each of their values."""
RUNGS = 10
"""Even values of λ, both ends among them."""
KEPT_BYTES = 2**29
"""Velocities at rungs that stay in memory, those found last."""
KEPT_BYTES_OF_ENDS = 2**27
"""The same at full resolution: an inverse is made of the same one."""


class Registered(NamedTuple):
    """Registered pairs.

    Parameters
    ----------
    velocities
        (n, d, *shape / stride), in voxels of their own grid; (n, d, *shape) where the last
        iterations are at full resolution.
    seconds
        (n,): from a velocity of zero on, also of what was found earlier.
    """

    velocities: Tensor
    seconds: Tensor


class Continuation:
    """Finds velocities by minimizing the loss of each pair at one λ after the other.

    Parameters
    ----------
    refinement
        What is minimized, and by how many iterations at each λ; those at full resolution follow at
        the setting itself.
    space
        The hyperparameters.
    stride
        Image voxels to a voxel of the velocity along each axis.
    integration_steps
        Scaling-and-squaring steps from velocity to displacement.

    Examples
    --------
    From the strongest rung down to the setting, which may lie between two:

    >>> from hmopt.declaration import LossOptions
    >>> from hmopt.space import Hyperparameter
    >>> from hmopt.training.refinement import PairLoss
    >>> refinement = Refinement(
    ...     loss=PairLoss(options=LossOptions(), scale=1.0, spacing=None), iterations=10
    ... )
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> continuation = Continuation(refinement, space, stride=2, integration_steps=5)
    >>> [one["regularization"] for one in continuation.chain({"regularization": 0.75})]
    [1.0, 0.89, 0.78, 0.75]
    """

    def __init__(
        self, refinement: Refinement, space: Space, stride: int, integration_steps: int
    ) -> None:
        self._refinement = refinement
        self._space = space
        self._stride = stride
        self._steps = integration_steps
        # of the regularization, rising; none without it
        self._rungs: list[Value] = []
        if LADDER_BY in space.names:
            ladder = space.hyperparameters[space.names.index(LADDER_BY)]
            self._rungs = [ladder.value(rung) for rung in even_indices(ladder, RUNGS)]
        self._latest: LatestVelocities[tuple[str, Values]] = LatestVelocities(KEPT_BYTES)
        self._latest_ends: LatestVelocities[tuple[str, Values]] = LatestVelocities(
            KEPT_BYTES_OF_ENDS
        )

    @property
    def identity(self) -> str:
        """Hash of everything that decides the velocities of two images."""
        return content_hash(
            "continuation",
            self._refinement.identity,
            self._stride,
            self._steps,
            list(self._space.names),
            self._rungs,
        )

    def chain(self, setting: Setting) -> list[Setting]:
        """Return the settings that a registration passes: the rungs above, and the setting itself."""
        if not self._rungs:
            return [setting]
        here = as_number(setting[LADDER_BY])
        stronger = [rung for rung in self._rungs if as_number(rung) > here]
        passed = [{**setting, LADDER_BY: rung} for rung in reversed(stronger)]
        return [*passed, setting]

    def registered(
        self, setting: Setting, names: Sequence[str], moving: Tensor, fixed: Tensor
    ) -> Registered:
        """Return the velocities of n pairs at a setting, and how long each takes.

        Parameters
        ----------
        setting
            A value for every hyperparameter, on the lattice or between.
        names
            What stands for each pair: a velocity that was found under a name is not looked for again.
        moving, fixed
            (n, 1, *shape), sides of the shape multiples of the stride.

        Returns
        -------
        Registered
            It does not depend on what else was asked for, or in which order.
        """
        count, _, *shape = moving.shape
        sides = [side // self._stride for side in shape]
        velocities = list(moving.new_zeros(count, len(shape), *sides))
        seconds = [0.0] * count
        of_rung = replace(self._refinement, full_resolution_iterations=0)
        stages = [(step, of_rung, self._latest) for step in self.chain(setting)]
        if self._refinement.full_resolution_iterations:
            of_end = replace(self._refinement, iterations=0)
            stages.append((setting, of_end, self._latest_ends))
        for step, refinement, latest in stages:
            values = tuple(step[name] for name in self._space.names)
            rows = []
            for row, name in enumerate(names):
                known = latest.find((name, values))
                if known is None:
                    rows.append(row)
                else:
                    velocities[row], seconds[row] = known
            if not rows:
                continue
            began = perf_counter()
            start = torch.stack([velocities[row] for row in rows])
            found = refinement.refined(start, moving[rows], fixed[rows], step, self.integrated)
            share_s = (perf_counter() - began) / len(rows)
            for row, velocity in zip(rows, found.fields, strict=True):
                velocities[row] = velocity
                seconds[row] += share_s
                latest.keep((names[row], values), velocity, seconds[row])
        return Registered(velocities=torch.stack(velocities), seconds=torch.tensor(seconds))

    def integrated(self, velocity: Tensor, stride: int | None = None) -> Tensor:
        """Return the displacements of velocities, as `registered` returns them: (n, d, *shape), in voxels."""
        stride = stride or self._refinement.final_stride or self._stride
        return velocity_to_displacement(velocity, self._steps, stride)
