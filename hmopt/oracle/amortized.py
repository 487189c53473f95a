"""The oracle of one hypermorph: a setting costs no more than a pass through a network."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hmopt.data.prepared import PreparedCohort
from hmopt.files import content_hash
from hmopt.networks import Hypermorph, RegistrationNetwork, hypermorph_hash
from hmopt.oracle.differentiable import DifferentiableBatch, Score
from hmopt.oracle.registered import NetworkOracle, TrainingFacts
from hmopt.records import Pair
from hmopt.space import Index, Space


class AmortizedOracle(NetworkOracle):
    """Measures settings on pairs of a cohort with the networks that a hypermorph predicts.

    Parameters
    ----------
    model
        The trained hypermorph.
    cohort
        Holds the images of pairs.
    device
        Where to compute.
    batch
        Pairs at a time; values do not depend on it. Left out: as many as fit well.
    facts
        How the model was trained.
    """

    def __init__(
        self,
        model: Hypermorph,
        cohort: PreparedCohort,
        device: torch.device | str = "cpu",
        batch: int | None = None,
        facts: TrainingFacts | None = None,
    ) -> None:
        super().__init__(cohort, device, batch)
        weights = hypermorph_hash(model)
        self._identity = content_hash(weights, cohort.measured_identity)
        # landmarks are measured with, but the file of a model knows nothing of them
        of_file = content_hash(weights, cohort.identity)
        self._file_identity = of_file if cohort.landmarks else None
        self._facts = facts or TrainingFacts()
        self._model = model.eval().to(self.device)

    @property
    def space(self) -> Space:
        """The hyperparameters that the model is conditioned on."""
        return self._model.space

    @property
    def identity(self) -> str:
        """Hash of the model's weights, architecture and hyperparameters, and of the cohort."""
        return self._identity

    @property
    def file_identity(self) -> str | None:
        """Identity of the model by its file alone; None where it is `identity`: the cohort has no landmarks."""
        return self._file_identity

    @property
    def facts(self) -> TrainingFacts:
        """How the model was trained."""
        return self._facts

    def score_and_gradient(
        self, places: Sequence[float], pairs: Sequence[Pair], score: Score
    ) -> tuple[float, NDArray[np.float64]]:
        """Compute the mean score of pairs at places along the ranges, and its gradient by these places.

        The gradient goes from the score through the displacement and the registration network to the
        hypernetwork, by automatic differentiation.

        Parameters
        ----------
        places
            Where each value of a setting lies along its range, in [0, 1].
        pairs
            Of the cohort; those without a score do not count.
        score
            From a registered batch of n pairs to n scores, NaN of pairs that have none.

        Returns
        -------
        float
            NaN where no pair has a score.
        NDArray
            (hyperparameters,).

        References
        ----------
        Hoopes et al., MELBA 2022, section 3.3.
        """
        total = 0.0
        count = 0
        gradient = np.zeros(len(places))
        for _, images in self._images.batches(pairs, self.batch):
            with torch.inference_mode(False), torch.enable_grad():
                base = self._model.hypernetwork.base
                inputs = torch.tensor(
                    places, dtype=base.dtype, device=base.device, requires_grad=True
                )
                registered = DifferentiableBatch(
                    network=self._model.registration,
                    weights=self._model.weights_at(inputs),
                    images=images,
                )
                scores = score(registered)
                known = torch.isfinite(scores)
                if not known.any():
                    continue
                of_batch = scores[known].sum()
                (slope,) = torch.autograd.grad(of_batch, inputs)
            total += float(of_batch.detach())
            count += int(known.sum())
            gradient += slope.double().cpu().numpy()
        if not count:
            return math.nan, gradient
        return total / count, gradient / count

    def make_network(self, index: Index) -> RegistrationNetwork:
        """Return the network whose weights the model predicts at a setting."""
        setting = self.space.setting(index)
        return self._model.bake(setting)
