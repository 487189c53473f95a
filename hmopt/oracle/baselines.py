"""The baselines of a study's model: oracles that are trained, and kept in the study folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.files import content_hash
from hmopt.networks import RegistrationNetwork, architecture, load_hypermorph, load_network
from hmopt.oracle.amortized import AmortizedOracle
from hmopt.oracle.open import facts_of, load_trained
from hmopt.oracle.registered import NetworkOracle, TrainingFacts
from hmopt.progress import Track, silent
from hmopt.space import Index, Setting, Space
from hmopt.study_folder import StudyFolder
from hmopt.training.identity import network_key
from hmopt.training.loss import with_scales
from hmopt.training.train import train_hypermorph, train_network, with_budget


class RetrainedOracle(NetworkOracle):
    """Measures settings on pairs of a cohort with networks trained for one setting each.

    Parameters
    ----------
    study
        Declares how the networks are trained: network, loss, steps and seed (see `with_budget`).
    cohort
        Where images are, of the pairs to train on and to measure.
    folder
        Where the networks are kept; what is not there is trained when it is asked for.
    track
        Shows the progress of a training.
    device
        Where to train and compute.
    batch
        Pairs that are measured at a time; values do not depend on it. Left out: as many as fit
        well.
    """

    def __init__(
        self,
        study: Study,
        cohort: PreparedCohort,
        folder: Path,
        track: Track = silent,
        device: torch.device | str = "cpu",
        batch: int | None = None,
    ) -> None:
        super().__init__(cohort, device, batch)
        self._study = study
        self._folder = folder
        self._track = track

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: all but the display of progress."""
        state = super().__getstate__()
        state["_track"] = silent
        return state

    @property
    def space(self) -> Space:
        """The declared hyperparameters."""
        return self._study.space

    @property
    def identity(self) -> str:
        """Hash of how its networks are trained, known before any of them is."""
        key = network_key(self._study, self.cohort)
        return content_hash("retrained", key)

    @property
    def facts(self) -> TrainingFacts:
        """How its networks are trained."""
        loss = self._study.loss
        steps = self._study.training.steps
        return TrainingFacts(loss=loss.model_dump(mode="json"), loss_scale=loss.scale, steps=steps)

    def path(self, index: Index) -> Path:
        """Return where the network of a setting is kept."""
        setting = self.space.setting(index)
        return self._folder / f"{setting_name(setting)}.safetensors"

    def missing(self, settings: Sequence[Index]) -> list[Index]:
        """Return the settings whose networks are still to be trained."""
        return [index for index in settings if not self.path(index).exists()]

    def train(self, index: Index) -> Path:
        """Train the network of a setting if it is not there, and return its file.

        Raises
        ------
        CheckpointError
            If there is a network of another declaration or cohort.
        DataError
            If there is no pair to train on, or the loss ceases to be a finite number.
        """
        with torch.inference_mode(False):
            setting = self.space.setting(index)
            return train_network(
                self._study, self.cohort, setting, self.path(index), self._track, self.device
            )

    def make_network(self, index: Index) -> RegistrationNetwork:
        """Return the network of a setting, which may take as long as a training does."""
        path = self.train(index)
        with torch.inference_mode(False):
            network, _ = load_network(path)
            network = network.to(self.device)
            return network.requires_grad_(False)


def setting_name(setting: Setting) -> str:
    """Return a file name that stands for a setting.

    Examples
    --------
    >>> setting_name({"regularization": 0.35, "label_weight": 0.5})
    'regularization-0.35-label_weight-0.5'
    """
    parts = [f"{name}-{value:.12g}" for name, value in setting.items()]
    return "-".join(parts)


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
        self._scaled = with_scales(study, cohort)

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
        model, header = load_hypermorph(path, built_as)
        model.space = study.space
        facts = facts_of(header, study.loss.model_dump(mode="json"))
        return AmortizedOracle(model, self._cohort, self._device, facts=facts)
