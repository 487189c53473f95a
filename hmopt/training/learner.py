"""What a training trains: a hypermorph at settings drawn anew for each step, or one network for one setting."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hmopt.declaration import Study
from hmopt.networks import (
    RegistrationNetwork,
    SeparateNetwork,
    architecture,
    build_hypermorph,
    save_hypermorph,
    save_network,
)
from hmopt.space import Setting
from hmopt.training.prior import draw_setting
from hmopt.training.step import Model, make_optimizer

Tensors = dict[str, Tensor]


class Learner(ABC):
    """What is trained: the loop asks it for settings, and hands it averages of its weights to judge and to keep."""

    @property
    @abstractmethod
    def model(self) -> Model:
        """What registers a batch at a setting."""

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """What holds the weights that are moved and averaged."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """Give what moves the weights: groups of them, each with its `share` of the learning rate."""

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> Setting:
        """Draw the setting of a step; whatever is trained takes as many numbers, so that all see the same pairs."""

    @abstractmethod
    def network(self, averages: Tensors) -> RegistrationNetwork:
        """Give the network that the tune Dice is measured with: of averaged weights, at one setting."""

    @abstractmethod
    def save(self, path: Path, averages: Tensors, header: dict[str, Any]) -> None:
        """Write averaged weights, and what is built of them, with a header."""


class HypermorphLearner(Learner):
    """The declared hypermorph, its first weights drawn by torch's global generator.

    Parameters
    ----------
    study
        The declaration.
    shape
        Voxels of the prepared images along each axis.
    device
        Where it lives.
    """

    def __init__(self, study: Study, shape: tuple[int, ...], device: torch.device) -> None:
        self._study, self._built_as = study, architecture(study, shape)
        self._hypermorph = build_hypermorph(self._built_as).to(device)

    @property
    def model(self) -> Model:
        """The hypermorph."""
        return self._hypermorph

    @property
    def module(self) -> nn.Module:
        """The hypernetwork."""
        return self._hypermorph.hypernetwork

    def optimizer(self) -> torch.optim.Optimizer:
        """Give Adam with a rate of its own for the dense layers."""
        return make_optimizer(self._hypermorph, self._study.training, self._study.hypernetwork)

    def draw(self, generator: np.random.Generator) -> Setting:
        """Draw a setting from its prior."""
        return draw_setting(self._hypermorph.space, generator)

    def network(self, averages: Tensors) -> RegistrationNetwork:
        """Give the network at the default setting."""
        averaged = copy.deepcopy(self._hypermorph)
        averaged.hypernetwork.load_state_dict(averages)
        return averaged.bake(averaged.space.default)

    def save(self, path: Path, averages: Tensors, header: dict[str, Any]) -> None:
        """Write a hypermorph."""
        save_hypermorph(path, averages, {"architecture": self._built_as, **header})


class NetworkLearner(Learner):
    """An ordinary registration network for one setting; its first weights are those that a hypermorph's base starts as.

    Parameters
    ----------
    study
        The declaration.
    shape
        Voxels of the prepared images along each axis.
    device
        Where it lives.
    setting
        What it is trained for.
    """

    def __init__(
        self,
        study: Study,
        shape: tuple[int, ...],
        device: torch.device,
        setting: Mapping[str, float],
    ) -> None:
        self._study, self._shape = study, shape
        self._separate = SeparateNetwork(
            RegistrationNetwork(study.network, shape).to(device), setting
        )

    @property
    def model(self) -> Model:
        """The network, called with its setting."""
        return self._separate

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self._separate.registration

    def optimizer(self) -> torch.optim.Optimizer:
        """Give Adam."""
        group = {"params": list(self.module.parameters()), "share": 1.0}
        return torch.optim.Adam([group], lr=self._study.training.learning_rate, fused=True)

    def draw(self, generator: np.random.Generator) -> Setting:
        """Give the one setting."""
        draw_setting(self._study.space, generator)
        return self._separate.setting

    def network(self, averages: Tensors) -> RegistrationNetwork:
        """Give the network."""
        averaged = copy.deepcopy(self._separate.registration)
        averaged.load_state_dict(averages)
        return averaged

    def save(self, path: Path, averages: Tensors, header: dict[str, Any]) -> None:
        """Write an ordinary network."""
        built_as = {"shape": list(self._shape), "network": self._study.network.model_dump()}
        save_network(
            path, averages, {"architecture": built_as, "setting": self._separate.setting, **header}
        )
