"""The oracles that a study's model is compared with: trained where they are not there yet, kept in the study folder."""

from dataclasses import dataclass
from pathlib import Path

import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.networks import architecture, load_hypermorph
from hmopt.oracle.amortized import AmortizedOracle
from hmopt.oracle.open import load_oracle
from hmopt.oracle.retrained import RetrainedOracle
from hmopt.progress import Track, silent
from hmopt.space import Index
from hmopt.study_folder import StudyFolder
from hmopt.training.loss import study_scale
from hmopt.training.train import train_hypermorph, with_budget


@dataclass(frozen=True, kw_only=True)
class HypermorphTraining:
    """A hypermorph that is to be trained."""

    steps: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class NetworkTraining:
    """A network for one setting that is to be trained."""

    steps: int
    seed: int
    setting: Index


Training = HypermorphTraining | NetworkTraining


class BaselineOracles:
    """Opens oracles of other steps and seeds of one declaration.

    Parameters
    ----------
    folder
        The study folder, with its trained model; what is trained goes to `compare/` in it.
    study
        The declaration.
    cohort
        Its prepared images.
    track
        Shows the progress of trainings.
    device
        Where to train and compute.
    """

    def __init__(
        self,
        folder: Path,
        study: Study,
        cohort: PreparedCohort,
        track: Track = silent,
        device: torch.device | str = "cpu",
    ) -> None:
        self._folder, self._study, self._cohort, self._track, self._device = (
            folder,
            study,
            cohort,
            track,
            device,
        )
        loss = study.loss.model_copy(update={"scale": study_scale(study, cohort)})
        self._scaled = study.model_copy(update={"loss": loss})

    def train(self, training: Training) -> None:
        """Train what is not there yet, or continue where it was interrupted.

        Raises
        ------
        CheckpointError
            If there is a model of another declaration or cohort.
        DataError
            If there is no pair to train on, or the loss ceases to be a finite number.
        """
        if isinstance(training, NetworkTraining):
            self.separate(training.steps, training.seed).train(training.setting)
        else:
            self.hypermorph(training.steps, training.seed)

    def separate(self, steps: int, seed: int) -> RetrainedOracle:
        """Give the oracle of networks for one setting each, none of them trained before it is asked for."""
        rate = self._study.compare.learning_rate
        study = with_budget(self._scaled, self._cohort, steps, seed, rate)
        folder = StudyFolder(self._folder).separate_folder(steps, seed, rate)
        return RetrainedOracle(study, self._cohort, folder, self._track, self._device)

    def hypermorph_path(self, steps: int, seed: int) -> Path:
        """Give where a hypermorph is kept; the one of the study's own steps and seed is its model."""
        own = self._study.training
        if (steps, seed) == (own.steps, own.seed):
            return StudyFolder(self._folder).model_file()
        return StudyFolder(self._folder).hypermorph_file(steps, seed)

    def hypermorph(self, steps: int, seed: int) -> AmortizedOracle:
        """Give the oracle of a hypermorph, trained first where it is not there.

        Raises
        ------
        CheckpointError
            If there is a model of another declaration or cohort, or the study's own is not there.
        DataError
            If the loss ceases to be a finite number.
        """
        path = self.hypermorph_path(steps, seed)
        if path == StudyFolder(self._folder).model_file():
            return load_oracle(self._folder, self._study, self._cohort, "full", self._device)
        study = with_budget(self._scaled, self._cohort, steps, seed)
        train_hypermorph(study, self._cohort, path, self._track, self._device)
        model, _ = load_hypermorph(path, architecture(study, self._cohort.shape))
        model.space = study.space
        return AmortizedOracle(model, self._cohort, self._device)
