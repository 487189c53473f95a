"""Refinement of a pair against a loop over Adam with VoxelMorph 0.3.4's modules.

Both lower 1 - NCC of the moved image plus the velocity's gradient, with a window of nine voxels and
equal weights, over the velocity of one pair, from a velocity of zero: at half the resolution of the
images, integrated by as many steps. VoxelMorph's side is its integration, its resizing and its
warping, neurite's losses, and `torch.optim.Adam` on the velocity. hmopt's side is `Refinement`, as
`hmopt register --refine` runs it.

An iteration of Adam is one evaluation of loss and gradient. So is one of hmopt's L-BFGS: a trial of
its line search that is refused counts as an iteration too. The rows compare evaluations a second,
with all that the optimizers do between them. The note compares iterations: how many of hmopt's reach
the loss that Adam, on hmopt's loss, reaches after 25.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import neurite as ne
import torch
import voxelmorph as vxm
from torch import Tensor

from benchmarks.cohorts import NETWORK, SHAPE, make_synthetic_pair
from benchmarks.rows import Measured, row
from benchmarks.timing import medians, milliseconds
from benchmarks.training import SETTING, SLICE
from hmopt.declaration import LossOptions
from hmopt.space import Setting
from hmopt.spatial import velocity_to_displacement
from hmopt.training import PairLoss, Refinement

STRIDE = 2
"""Voxels of the images to one of the velocity."""
STEPS = NETWORK.integration_steps
ITERATIONS = 25
LONGEST = 60
"""Iterations in which the loss of Adam is looked for."""
RATE = 0.1
WEIGHT = 0.5
"""Of either term, as `SETTING` has it."""
AGAINST = "Adam on the velocity with VoxelMorph 0.3.4's modules and neurite's losses"

LossOf = Callable[[Tensor], Tensor]
"""The loss of a velocity (1, d, *shape / 2)."""


@dataclass(frozen=True, kw_only=True)
class RecordedLoss(PairLoss):
    """hmopt's loss of a pair, which keeps the value of every evaluation."""

    found: list[float] = field(default_factory=list)

    def values(
        self,
        moving: Tensor,
        fixed: Tensor,
        velocity: Tensor,
        displacement: Tensor,
        setting: Setting,
    ) -> Tensor:
        """Compute the loss, and keep it."""
        losses = super().values(moving, fixed, velocity, displacement, setting)
        self.found.extend(losses.tolist())
        return losses


def integrated(velocity: Tensor, stride: int = STRIDE) -> Tensor:
    """Return the displacement of a velocity on the images' grid, by hmopt."""
    return velocity_to_displacement(velocity, STEPS, stride)


def recorded_loss() -> RecordedLoss:
    """Return hmopt's loss, without values yet."""
    return RecordedLoss(options=LossOptions(), scale=1.0, spacing=None)


def images_of(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return two images that can be registered, (1, 1, *shape) each."""
    pair = make_synthetic_pair(shape)
    moving = torch.from_numpy(pair.moving)[None, None]
    fixed = torch.from_numpy(pair.fixed)[None, None]
    return moving, fixed


def zero_velocity(image: Tensor) -> Tensor:
    """Return the velocity that both sides start from, (1, d, *shape / 2)."""
    _, _, *shape = image.shape
    sides = [side // STRIDE for side in shape]
    return torch.zeros(1, len(shape), *sides)


def by_refinement(moving: Tensor, fixed: Tensor, iterations: int) -> list[float]:
    """Refine by hmopt; return the loss at the start and at every trial."""
    loss = recorded_loss()
    refinement = Refinement(loss=loss, iterations=iterations)
    refinement.refined(zero_velocity(fixed), moving, fixed, SETTING, integrated)
    return loss.found


def voxelmorph_loss(moving: Tensor, fixed: Tensor) -> LossOf:
    """Return the loss by VoxelMorph's modules, as one of its users would write it."""
    integrate = vxm.nn.modules.IntegrateVelocityField(steps=STEPS)
    resize = vxm.nn.modules.ResizeDisplacementField(float(STRIDE))
    warp = vxm.nn.modules.SpatialTransformer()
    similarity = ne.nn.modules.NCC(window_size=LossOptions().window)
    smoothness = ne.nn.modules.SpatialGradient(penalty="l2")

    def loss(velocity: Tensor) -> Tensor:
        displacement = resize(integrate(velocity))
        moved = warp(moving, displacement)
        dissimilarity = 1 - similarity(moved, fixed).mean()
        total: Tensor = (1 - WEIGHT) * dissimilarity + WEIGHT * smoothness(velocity)
        return total

    return loss


def hmopt_loss(moving: Tensor, fixed: Tensor) -> LossOf:
    """Return the loss that hmopt's refinement lowers."""
    loss = PairLoss(options=LossOptions(), scale=1.0, spacing=None)

    def of_velocity(velocity: Tensor) -> Tensor:
        return loss.values(moving, fixed, velocity, integrated(velocity), SETTING)[0]

    return of_velocity


def by_adam(loss: LossOf, start: Tensor, iterations: int) -> Tensor:
    """Return the velocity after some steps of Adam."""
    velocity = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([velocity], lr=RATE)
    for _ in range(iterations):
        optimizer.zero_grad()
        loss(velocity).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return velocity.detach()


def iterations_to(target: float, losses: list[float]) -> int | None:
    """Return the first place in a list of losses, the start's being 0, that is at most a target.

    Examples
    --------
    >>> iterations_to(0.5, [1.0, 0.6, 0.7, 0.4])
    3
    >>> iterations_to(0.1, [1.0, 0.6]) is None
    True
    """
    for iteration, loss in enumerate(losses):
        if loss <= target:
            return iteration
    return None


def in_words(iterations: int | None) -> str:
    """Return how many iterations it took."""
    return f"not after {LONGEST}" if iterations is None else f"after {iterations}"


def compare(shape: tuple[int, ...], repetitions: int) -> Measured:
    """Compare evaluations a second, and in the note the iterations to one loss."""
    moving, fixed = images_of(shape)
    start = zero_velocity(fixed)
    theirs = voxelmorph_loss(moving, fixed)
    sides: dict[str, Callable[[], object]] = {
        "hmopt": lambda: by_refinement(moving, fixed, ITERATIONS),
        "VoxelMorph": lambda: by_adam(theirs, start, ITERATIONS),
    }
    # of the start too; fewer where the descent stops before the last iteration
    evaluations = {
        "hmopt": len(by_refinement(moving, fixed, ITERATIONS)),
        "VoxelMorph": ITERATIONS,
    }
    seconds = medians(sides, repetitions)
    each = {name: seconds[name] / evaluations[name] for name in sides}

    ours = hmopt_loss(moving, fixed)
    with_adam = by_adam(ours, start, ITERATIONS)
    with torch.no_grad():
        target = float(ours(with_adam))
    needed = iterations_to(target, by_refinement(moving, fixed, LONGEST))
    note = (
        f"{milliseconds(each)} an evaluation of loss and gradient, line search included; "
        f"L-BFGS reaches the loss of {ITERATIONS} steps of Adam at rate {RATE} {in_words(needed)}"
    )
    return Measured(each["VoxelMorph"] / each["hmopt"], note)


@row(
    "refinement-2d",
    goal=3,
    better="higher",
    unit="×",
    against=AGAINST,
    network="none: a velocity at half resolution, 5 integration steps, window 9, 160×160",
    limit="Of one core an evaluation takes 5 to 6 ms: 2 of sampling (integration, finer grid, warping), as much as "
    "VoxelMorph's, and 1.4 of NCC in place of 8; the rest is L-BFGS and many calls of small operations.",
)
def refinement_in_2d() -> Measured:
    """Evaluations of loss and gradient a second in refining a pair of slices."""
    return compare(SLICE, repetitions=5)


@row(
    "refinement-3d",
    goal=3,
    better="higher",
    unit="×",
    against=AGAINST,
    network="none: a velocity at half resolution, 5 integration steps, window 9, 48×64×48",
    limit="Integration and warping take 13 of hmopt's 25 ms of one core and 23 of VoxelMorph's 99; NCC takes 6 in "
    "place of 67. From process to process hmopt's evaluation varies from 19 to 31 ms, and the ratio from 2.3 to 3.4.",
)
def refinement_in_3d() -> Measured:
    """Evaluations of loss and gradient a second in refining a pair of volumes."""
    return compare(SHAPE, repetitions=3)
