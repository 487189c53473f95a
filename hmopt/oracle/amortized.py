"""The oracle of one hypermorph: a setting costs no more than a pass through a network."""

import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.files import content_hash
from hmopt.networks import Hypermorph, RegistrationNetwork, hypermorph_hash
from hmopt.oracle.registered import NetworkOracle, TrainingFacts
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
        self._identity = content_hash(hypermorph_hash(model), cohort.measured_identity)
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
    def facts(self) -> TrainingFacts:
        """How the model was trained."""
        return self._facts

    def make_network(self, index: Index) -> RegistrationNetwork:
        """Return the network whose weights the model predicts at a setting."""
        setting = self.space.setting(index)
        return self._model.bake(setting)
