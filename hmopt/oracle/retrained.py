"""The baseline: an oracle that trains an ordinary network for every setting that it is asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study
from hmopt.files import content_hash
from hmopt.networks import RegistrationNetwork, load_network
from hmopt.oracle.registered import NetworkOracle
from hmopt.progress import Track, silent
from hmopt.space import Index, Setting, Space
from hmopt.training.identity import network_key
from hmopt.training.train import train_network


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
