"""The oracle of refined registrations: each pair's own loss, lowered from where a model starts it."""

from collections.abc import Sequence

from torch import Tensor

from hmopt.declaration import RefineOptions
from hmopt.declaration.model import Feature
from hmopt.errors import DeclarationError
from hmopt.files import content_hash
from hmopt.metrics import Originals
from hmopt.oracle.registered import Outcome, RegisteringOracle, TrainingFacts, VelocityOracle
from hmopt.records import Pair
from hmopt.space import Index, Space
from hmopt.training.refinement import Minimum, PairLoss, Refinement


class RefinedOracle(VelocityOracle):
    """Measures settings with velocities that some iterations refine, pair by pair.

    Parameters
    ----------
    oracle
        Where velocities start: of a hypermorph, of separate networks, of an ensemble.
    iterations
        Steps on the velocity of each pair, at most; they lower the loss that the model was trained
        under (see `hmopt.training.refinement`).
    batch
        Pairs at a time; values do not depend on it. Left out: as many as the oracle takes.
    features
        What the similarity compares; None: what it compared in training.
    full_resolution_iterations
        Further iterations at most, with a velocity on the grid of the images.

    Raises
    ------
    CheckpointError
        If the loss is not known.
    DeclarationError
        If the similarity does not take the features.
    """

    def __init__(
        self,
        oracle: VelocityOracle,
        iterations: int,
        batch: int | None = None,
        features: Sequence[Feature] | None = None,
        full_resolution_iterations: int = 0,
    ) -> None:
        super().__init__(oracle.cohort, oracle.device, batch or oracle.batch)
        self._oracle = oracle
        self._refinement = Refinement(
            loss=oracle.pair_loss.comparing(features),
            iterations=iterations,
            full_resolution_iterations=full_resolution_iterations,
        )

    @property
    def space(self) -> Space:
        """The hyperparameters of the model."""
        return self._oracle.space

    @property
    def identity(self) -> str:
        """Hash of the model's identity, the iterations and the loss."""
        return content_hash("refined", self._oracle.identity, self._refinement.identity)

    @property
    def unrefined_identity(self) -> str:
        """Identity of the model alone."""
        return self._oracle.identity

    @property
    def file_identity(self) -> str | None:
        """Identity of the model by its file alone; None where that is `unrefined_identity`."""
        return self._oracle.file_identity

    @property
    def settings_together(self) -> int:
        """One: a refinement takes far longer than reading its images."""
        return 1

    @property
    def pair_loss(self) -> PairLoss:
        """The loss that is lowered."""
        return self._refinement.loss

    @property
    def facts(self) -> TrainingFacts:
        """How the model was trained."""
        return self._oracle.facts

    def velocity(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Tensor:
        """Return the refined velocities of a batch of pairs."""
        return self._refined(index, pairs, images).fields

    def _outcome(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Outcome:
        found = self._refined(index, pairs, images)
        return Outcome(
            displacement=self.integrated(index, found.fields),
            velocity=found.fields,
            converged=found.converged,
        )

    def _refined(self, index: Index, pairs: Sequence[Pair], images: Originals) -> Minimum:
        start = self._oracle.velocity(index, pairs, images)
        return self._refinement.refined(
            start,
            images.moving,
            images.fixed,
            self.space.setting(index),
            lambda velocity, stride: self._oracle.integrated(index, velocity, stride),
        )

    def integrated(self, index: Index, velocity: Tensor, stride: int | None = None) -> Tensor:
        """Return the displacements of velocities, as the model integrates them."""
        return self._oracle.integrated(index, velocity, stride or self._refinement.final_stride)


def refine(oracle: RegisteringOracle, options: RefineOptions) -> RegisteringOracle:
    """Return an oracle whose registrations are refined, or the oracle itself for 0 iterations.

    Parameters
    ----------
    oracle
        Any that registers.
    options
        `[refine]`.

    Raises
    ------
    CheckpointError
        If the loss of the model is not known.
    DeclarationError
        If the model gives displacements and no velocity, or the similarity does not take the features.
    """
    if not options.iterations:
        return oracle
    if not isinstance(oracle, VelocityOracle):
        raise DeclarationError(
            "refine.iterations",
            expected="0 with a model that gives displacements and no velocity",
            got=options.iterations,
            advice="Leave [refine] out; velocities come from models that hmopt trained.",
        )
    return RefinedOracle(
        oracle,
        options.iterations,
        features=options.features,
        full_resolution_iterations=options.full_resolution_iterations,
    )
