"""The baselines of a study's model: oracles that are trained and kept in the study folder."""

from dataclasses import dataclass
from pathlib import Path

import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.networks import architecture, load_hypermorph
from hmopt.oracle.amortized import AmortizedOracle
from hmopt.oracle.open import load_trained
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
        self._files = StudyFolder(folder)
        self._study = study
        self._cohort = cohort
        self._track = track
        self._device = device
        scale = study_scale(study, cohort)
        loss = study.loss.model_copy(update={"scale": scale})
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
        """Return the oracle of networks for one setting each, trained when they are asked for."""
        rate = self._study.compare.learning_rate
        study = with_budget(self._scaled, self._cohort, steps, seed, rate)
        folder = self._files.separate_folder(steps, seed, rate)
        return RetrainedOracle(study, self._cohort, folder, self._track, self._device)

    def hypermorph_path(self, steps: int, seed: int) -> Path:
        """Return the file of a hypermorph; that of the study's own steps and seed is its model."""
        own = self._study.training
        if (steps, seed) == (own.steps, own.seed):
            return self._files.model_file()
        return self._files.hypermorph_file(steps, seed)

    def hypermorph(self, steps: int, seed: int) -> AmortizedOracle:
        """Return the oracle of a hypermorph, trained first where it is not there.

        Raises
        ------
        CheckpointError
            If there is a model of another declaration or cohort, or the study's own is not there.
        DataError
            If the loss ceases to be a finite number.
        """
        path = self.hypermorph_path(steps, seed)
        if path == self._files.model_file():
            return load_trained(self._files.path, self._study, self._cohort, self._device)
        study = with_budget(self._scaled, self._cohort, steps, seed)
        train_hypermorph(study, self._cohort, path, self._track, self._device)
        built_as = architecture(study, self._cohort.shape)
        model, _ = load_hypermorph(path, built_as)
        model.space = study.space
        return AmortizedOracle(model, self._cohort, self._device)
