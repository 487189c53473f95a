"""What is trained: a hypermorph at settings drawn for each step, or a network at one setting."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

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
from hmopt.training.batches import draw_setting
from hmopt.training.loss import Model
from hmopt.training.optimization import make_optimizer

Weights = Mapping[str, Tensor]
"""Tensors by name, as `state_dict` returns them."""
Header = Mapping[str, Any]
"""What a model's file tells about its training, as values that JSON can hold."""


class Trainable(ABC):
    """What the training loop trains, and what it asks of it.

    Once: `make_optimizer`. In every step: `draw_setting`, then `model` at that setting. At
    checkpoints, with averaged weights: `network`, which is measured, and `save`.
    """

    model: Model
    """Registers a batch at a setting."""
    module: nn.Module
    """Holds the weights that are optimized and averaged."""

    @abstractmethod
    def make_optimizer(self) -> Optimizer:
        """Return what optimizes the weights of `module`."""

    @abstractmethod
    def draw_setting(self, generator: np.random.Generator) -> Setting:
        """Draw the setting of a step.

        All trainables draw as many numbers, so that all see the same pairs at the same seed.
        """

    @abstractmethod
    def network(self, weights: Weights) -> RegistrationNetwork:
        """Return a registration network of given weights, to measure the tune Dice with."""

    @abstractmethod
    def save(self, path: Path, weights: Weights, header: Header) -> None:
        """Write given weights, with a header that also says what they are."""


class TrainableHypermorph(Trainable):
    """The declared hypermorph, its first weights drawn by torch's global generator.

    Parameters
    ----------
    study
        The declaration.
    shape
        Voxels of the prepared images along each axis.
    device
        Where it is trained.
    """

    def __init__(self, study: Study, shape: tuple[int, ...], device: torch.device) -> None:
        self._study = study
        self._architecture = architecture(study, shape)
        self._hypermorph = build_hypermorph(self._architecture).to(device)
        self.model = self._hypermorph
        self.module = self._hypermorph.hypernetwork

    def make_optimizer(self) -> Optimizer:
        """Return Adam with a learning rate of its own for the dense layers."""
        study = self._study
        training = study.training
        return make_optimizer(self._hypermorph, training, study.hypernetwork)

    def draw_setting(self, generator: np.random.Generator) -> Setting:
        """Draw a setting from its prior."""
        return draw_setting(self._hypermorph.space, generator)

    def network(self, weights: Weights) -> RegistrationNetwork:
        """Return the network at the baseline setting."""
        hypermorph = copy.deepcopy(self._hypermorph)
        hypermorph.hypernetwork.load_state_dict(weights)
        baseline = hypermorph.space.default
        return hypermorph.bake(baseline)

    def save(self, path: Path, weights: Weights, header: Header) -> None:
        """Write a hypermorph."""
        hypermorph = {"architecture": self._architecture}
        save_hypermorph(path, weights, {**hypermorph, **header})


class TrainableNetwork(Trainable):
    """An ordinary registration network at one setting.

    Its first weights are those that the base weights of a hypermorph of the same seed start as.

    Parameters
    ----------
    study
        The declaration.
    shape
        Voxels of the prepared images along each axis.
    device
        Where it is trained.
    setting
        The setting.
    """

    def __init__(
        self, study: Study, shape: tuple[int, ...], device: torch.device, setting: Setting
    ) -> None:
        self._study = study
        self._setting = setting
        options = study.network
        self._architecture = {"shape": list(shape), "network": options.model_dump()}
        self._network = RegistrationNetwork(options, shape).to(device)
        self.model = SeparateNetwork(self._network, setting)
        self.module = self._network

    def make_optimizer(self) -> Optimizer:
        """Return Adam."""
        rate = self._study.training.learning_rate
        return torch.optim.Adam(self.module.parameters(), lr=rate, fused=True)

    def draw_setting(self, generator: np.random.Generator) -> Setting:
        """Return the one setting, and leave the numbers that a hypermorph would draw it from."""
        draw_setting(self._study.space, generator)
        return self._setting

    def network(self, weights: Weights) -> RegistrationNetwork:
        """Return the network."""
        network = copy.deepcopy(self._network)
        network.load_state_dict(weights)
        return network

    def save(self, path: Path, weights: Weights, header: Header) -> None:
        """Write an ordinary network."""
        network = {"architecture": self._architecture, "setting": self._setting}
        save_network(path, weights, {**network, **header})
