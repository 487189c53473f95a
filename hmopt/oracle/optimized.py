"""The oracle that needs no model: the loss of each pair is minimized from a velocity of zero."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hmopt.data.pairs import draw_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import RefineOptions, Study
from hmopt.errors import DeclarationError, sides_text
from hmopt.files import content_hash
from hmopt.metrics import Originals
from hmopt.networks.registration import velocity_stride
from hmopt.oracle.registered import SETTINGS_AT_ONCE, Outcome, TrainingFacts, VelocityOracle
from hmopt.records import Pair
from hmopt.space import Index, Space
from hmopt.training.continuation import Continuation, Registered
from hmopt.training.loss import PAIRS_LOOKED_AT, loss_scale
from hmopt.training.refinement import Refinement, known_loss


class OptimizedOracle(VelocityOracle):
    """Measures settings with velocities that are found pair by pair, from strong λ to weak.

    Parameters
    ----------
    study
        Declares the loss, the grid of the velocity (`[network]`) and the iterations (`[refine]`).
    cohort
        Holds the images of pairs.
    device
        Where to compute.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.

    Raises
    ------
    DataError
        If the scale of the loss cannot be estimated.
    DeclarationError
        If the grid of the velocity does not fit the images.
    """

    def __init__(
        self,
        study: Study,
        cohort: PreparedCohort,
        device: torch.device | str = "cpu",
        batch: int | None = None,
    ) -> None:
        super().__init__(cohort, device, batch)
        self._study = study
        self._scale = optimized_scale(study, cohort)
        self._continuation = make_continuation(study, cohort, self._scale, study.refine)

    @property
    def space(self) -> Space:
        """The declared hyperparameters."""
        return self._study.space

    @property
    def identity(self) -> str:
        """Hash of loss, iterations, the grid of the velocity and the cohort."""
        return content_hash("optimized", self._continuation.identity, self.cohort.measured_identity)

    @property
    def settings_together(self) -> int:
        """As many as a sweep has: each starts from the next stronger one."""
        return SETTINGS_AT_ONCE

    @property
    def facts(self) -> TrainingFacts:
        """The declared loss and its scale; there was no training."""
        loss = self._study.loss.model_dump(mode="json")
        return TrainingFacts(loss=loss, loss_scale=self._scale, spacing_mm=self.cohort.spacing_mm)

    def velocity(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Return the velocities of a batch of pairs."""
        return self._registered(index, pairs, images).velocities

    def _outcome(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Outcome:
        found = self._registered(index, pairs, images)
        return Outcome(
            displacement=self.integrated(index, found.velocities),
            velocity=found.velocities,
            seconds=found.seconds,
        )

    def _registered(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Registered:
        names = [pair.id for pair in pairs]
        setting = self.space.setting(index)
        return self._continuation.registered(setting, names, images.moving, images.fixed)

    def integrated(self, index: Index, velocity: Tensor, stride: int | None = None) -> Tensor:
        """Return the displacements of velocities."""
        return self._continuation.integrated(velocity, stride)


def optimized_scale(study: Study, cohort: PreparedCohort) -> float:
    """Return the loss scale of a study without training: as in training, of pairs to search on.

    It does not depend on how many pairs are searched.

    Raises
    ------
    DataError
        If pairs could not be told from registered ones by the similarity.
    """
    looked_at = study.pairs.model_copy(update={"search": PAIRS_LOOKED_AT})
    pairs = draw_pairs(cohort, looked_at, "search")
    return loss_scale(cohort, pairs, study.loss, study.pairs.seed)


def make_continuation(
    study: Study, cohort: PreparedCohort, scale: float, options: RefineOptions
) -> Continuation:
    """Return what finds the velocities of a study without training.

    Parameters
    ----------
    study, cohort
        The declaration and its prepared images.
    scale
        Of the loss.
    options
        `[refine]`.

    Raises
    ------
    DeclarationError
        If there are no iterations, or the grid of the velocity does not fit the images.
    """
    if not options.iterations:  # which can be asked for in `register`
        raise DeclarationError(
            "refine.iterations",
            expected='at least 1 with model.source = "optimize"',
            got=options.iterations,
            advice="Declare a number of iterations, such as 20.",
        )
    stride = velocity_stride(study.network)
    if any(side % stride for side in cohort.shape):
        raise DeclarationError(
            "preprocessing.shape",
            expected=f"multiples of {stride}, the stride of the velocity",
            got=sides_text(cohort.shape),
            advice="Round each up.",
        )
    declared = study.loss.model_dump(mode="json")
    loss = known_loss(declared, scale, cohort.spacing_mm, "study.toml", study.space.names)
    refinement = Refinement.declared(loss, options)
    return Continuation(refinement, study.space, stride, study.network.integration_steps)
