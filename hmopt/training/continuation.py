"""Registration without a model: continuation from strong regularization to weak.

The minimum at one λ is a good start for the next weaker one. Each registration therefore walks down
a fixed ladder of λ, from a velocity of zero, which is the minimum at λ = 1. A sweep over λ visits the
rungs anyway, so that it costs little more than the weakest λ alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hmopt.files import content_hash
from hmopt.space import Index, Space, even_indices
from hmopt.spatial import velocity_to_displacement
from hmopt.training.latest import LatestVelocities
from hmopt.training.refinement import Refinement

LADDER_BY = "regularization"
"""The hyperparameter whose values are the rungs; others have a ladder for each of their values."""
RUNGS = 10
"""Even values of λ, both ends among them."""
KEPT_BYTES = 2**29
"""Velocities at rungs that stay in memory, those found last."""


class Continuation:
    """Finds velocities by minimizing the loss of each pair at one λ after the other.

    Parameters
    ----------
    refinement
        What is minimized, and by how many iterations at each λ.
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
    >>> [space.setting(index)["regularization"] for index in continuation.chain((150,))]
    [1.0, 0.89, 0.78, 0.75]
    """

    def __init__(
        self, refinement: Refinement, space: Space, stride: int, integration_steps: int
    ) -> None:
        self._refinement = refinement
        self._space = space
        self._stride = stride
        self._steps = integration_steps
        self._latest: LatestVelocities[tuple[str, Index]] = LatestVelocities(KEPT_BYTES)

    @property
    def identity(self) -> str:
        """Hash of everything that decides the velocities of two images."""
        names = list(self._space.names)
        rungs = []
        if LADDER_BY in names:
            ladder = self._space.hyperparameters[names.index(LADDER_BY)]
            rungs = [ladder.value(rung) for rung in even_indices(ladder, RUNGS)]
        return content_hash(
            "continuation", self._refinement.identity, self._stride, self._steps, names, rungs
        )

    def chain(self, index: Index) -> list[Index]:
        """Return the settings that a registration passes: the rungs above, and the setting itself."""
        names = self._space.names
        if LADDER_BY not in names:
            return [index]
        place = names.index(LADDER_BY)
        rungs = even_indices(self._space.hyperparameters[place], RUNGS)
        stronger = [rung for rung in rungs if rung > index[place]]
        before = index[:place]
        after = index[place + 1 :]
        passed = [(*before, rung, *after) for rung in sorted(stronger, reverse=True)]
        return [*passed, index]

    def velocity(self, index: Index, names: Sequence[str], moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the velocities of n pairs at a setting.

        Parameters
        ----------
        index
            The setting on the lattice.
        names
            What stands for each pair: a velocity that was found under a name is not looked for again.
        moving, fixed
            (n, 1, *shape), sides of the shape multiples of the stride.

        Returns
        -------
        Tensor
            (n, d, *shape / stride), in voxels of its own grid. It does not depend on what else was
            asked for, or in which order.
        """
        count, _, *shape = moving.shape
        sides = [side // self._stride for side in shape]
        velocities = list(moving.new_zeros(count, len(shape), *sides))
        for step in self.chain(index):
            rows = []
            for row, name in enumerate(names):
                known = self._latest.find((name, step))
                if known is None:
                    rows.append(row)
                else:
                    velocities[row] = known
            if not rows:
                continue
            start = torch.stack([velocities[row] for row in rows])
            setting = self._space.setting(step)
            found = self._refinement.refined(
                start, moving[rows], fixed[rows], setting, self.integrated
            )
            for row, velocity in zip(rows, found.fields, strict=True):
                velocities[row] = velocity
                self._latest.keep((names[row], step), velocity)
        return torch.stack(velocities)

    def integrated(self, velocity: Tensor) -> Tensor:
        """Return the displacements of velocities: (n, d, *shape), in voxels of the images."""
        return velocity_to_displacement(velocity, self._steps, self._stride)
