"""The slow truth: an oracle that trains an ordinary network for every setting that it is asked about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.files import content_hash
from hmopt.networks import RegistrationNetwork, load_network
from hmopt.oracle.networked import NetworkOracle
from hmopt.progress import Track, silent
from hmopt.space import Index, Setting, Space
from hmopt.training.identity import network_key
from hmopt.training.train import train_network


class RetrainedOracle(NetworkOracle):
    """Measures settings on pairs of a cohort with networks that are trained for one setting each, and kept.

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
        Pairs that are measured at a time; values do not depend on it. Left out: as many as fit well.
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
        self._study, self._folder, self._track = study, folder, track

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: it has no terminal to show the progress of a training on."""
        return {**super().__getstate__(), "_track": silent}

    @property
    def space(self) -> Space:
        """The declared hyperparameters."""
        return self._study.space

    @property
    def identity(self) -> str:
        """Hash of how its networks are trained, seed and steps included, known before any of them is."""
        return content_hash("retrained", network_key(self._study, self.cohort))

    def path(self, index: Index) -> Path:
        """Give where the network of a setting is kept."""
        return self._folder / f"{setting_name(self.space.setting(index))}.safetensors"

    def missing(self, settings: Sequence[Index]) -> list[Index]:
        """Give the settings whose networks are still to be trained."""
        return [index for index in settings if not self.path(index).exists()]

    def train(self, index: Index) -> Path:
        """Train the network of a setting if it is not there, and give its file.

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
        """Give the network of a setting, which may take as long as a training does."""
        path = self.train(index)
        with torch.inference_mode(False):
            return load_network(path)[0].to(self.device).requires_grad_(False)


def setting_name(setting: Setting) -> str:
    """Give a file name that stands for a setting.

    Examples
    --------
    >>> setting_name({"regularization": 0.35, "label_weight": 0.5})
    'regularization-0.35-label_weight-0.5'
    """
    return "-".join(f"{name}-{value:.12g}" for name, value in setting.items())
