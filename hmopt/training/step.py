"""One optimizer step."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from hmopt.declaration import HypernetworkOptions, LossOptions, TrainingOptions
from hmopt.errors import DataError
from hmopt.losses import RegisteredBatch, Terms, balanced_loss, loss_terms
from hmopt.networks import Hypermorph, RegistrationNetwork
from hmopt.space import Setting
from hmopt.training.batches import Batch


class Model(Protocol):
    """What registers at settings: a hypermorph, or a network that stands for one setting."""

    registration: RegistrationNetwork

    def __call__(self, moving: Tensor, fixed: Tensor, setting: Setting) -> Tensor:
        """Give the velocity of images of shape (batch, 1, *shape) at a setting."""
        ...


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What the loss of a step is made of.

    Parameters
    ----------
    section
        Declares its terms.
    scale
        What the similarity is multiplied by.
    overlap_labels
        Values in the label maps that the overlap loss sees.
    spacing
        Size of a voxel where the cohort's spacing is anisotropic, else None.

    Examples
    --------
    >>> Loss(section=LossOptions(), scale=2.0, overlap_labels=(1, 2), spacing=None).scale
    2.0
    """

    section: LossOptions
    scale: float
    overlap_labels: tuple[int, ...]
    spacing: tuple[float, ...] | None

    def terms(self, model: Model, batch: Batch, setting: Setting) -> Terms:
        """Register a batch at a setting and give the terms of its loss; without label maps the overlap loss is 0."""
        velocity = model(batch.moving, batch.fixed, setting)
        registered = RegisteredBatch(
            moving=batch.moving,
            fixed=batch.fixed,
            moving_labels=batch.moving_labels,
            fixed_labels=batch.fixed_labels,
            velocity=velocity,
            displacement=model.registration.displacement(velocity),
            spacing=self.spacing,
            options=self.section,
            overlap_labels=self.overlap_labels,
            scale=self.scale,
        )
        return loss_terms(registered, setting)


def make_optimizer(
    hypermorph: Hypermorph, training: TrainingOptions, hypernetwork: HypernetworkOptions
) -> torch.optim.Optimizer:
    """Give Adam with a rate of its own for the dense layers.

    Parameters
    ----------
    hypermorph
        What is trained.
    training
        Declares the learning rate of the base weights.
    hypernetwork
        Declares that of the dense layers as a share of it.

    Returns
    -------
    Optimizer
        Two groups of parameters, each with its `share` of the learning rate.

    Examples
    --------
    >>> from hmopt.networks import build_hypermorph
    >>> network = {"encoder": [4, 4], "decoder": [4], "final": []}
    >>> declared = {"network": network, "hypernetwork": {"units": [8]}, "hyperparameters": {"regularization": {}}}
    >>> hypermorph = build_hypermorph({"shape": [16, 16], **declared})
    >>> optimizer = make_optimizer(hypermorph, TrainingOptions(), HypernetworkOptions(learning_rate_share=0.5))
    >>> [group["share"] for group in optimizer.param_groups]
    [1.0, 0.5]
    """
    dense = [
        *hypermorph.hypernetwork.trunk.parameters(),
        *hypermorph.hypernetwork.heads.parameters(),
    ]
    groups = [
        {"params": [hypermorph.hypernetwork.base], "share": 1.0},
        {"params": dense, "share": hypernetwork.learning_rate_share},
    ]
    return torch.optim.Adam(groups, lr=training.learning_rate, fused=True)


def learning_rate(training: TrainingOptions, step: int) -> float:
    """Give the learning rate of a step, from 0 on: half a cosine from the declared rate to zero.

    Examples
    --------
    >>> learning_rate(TrainingOptions(steps=100, learning_rate=1e-3), 50)
    0.0005
    """
    return float(
        f"{training.learning_rate * (1 + math.cos(math.pi * step / training.steps)) / 2:.12g}"
    )


def take_step(
    model: Model,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    batch: Batch,
    setting: Setting,
    rate: float,
) -> tuple[float, Terms]:
    """Move the weights once, and give the loss and its terms before that.

    Parameters
    ----------
    model, optimizer
        What registers, and what moves its weights.
    loss
        What is minimized, divided as in `balanced_loss`.
    batch
        The pairs to register.
    setting
        A value for each hyperparameter, the same for the whole batch.
    rate
        Learning rate; each group of weights takes its `share` of it.

    Returns
    -------
    float
        The loss.
    Terms
        What it is made of, free of its gradients.

    Raises
    ------
    DataError
        If the loss is no finite number; then the weights are as they were.

    Examples
    --------
    >>> from hmopt.networks import build_hypermorph
    >>> network = {"encoder": [4, 4], "decoder": [4], "final": []}
    >>> declared = {"network": network, "hypernetwork": {"units": [8]}, "hyperparameters": {"regularization": {}}}
    >>> hypermorph = build_hypermorph({"shape": [16, 16], **declared})
    >>> optimizer = make_optimizer(hypermorph, TrainingOptions(), HypernetworkOptions())
    >>> loss = Loss(section=LossOptions(similarity="mse"), scale=2.0, overlap_labels=(), spacing=None)
    >>> moving, fixed = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    >>> batch = Batch(moving=moving, fixed=fixed, moving_labels=None, fixed_labels=None)
    >>> total, terms = take_step(hypermorph, optimizer, loss, batch, {"regularization": 0.0}, rate=1e-4)
    >>> total, float(terms.dissimilarity)
    (2.0, 1.0)
    """
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    terms = loss.terms(model, batch, setting)
    total = balanced_loss(terms, setting, loss.scale)
    if not math.isfinite(value := float(total.detach())):
        # before gradients are taken: those of warping by NaN crash torch
        raise DataError(
            "training", expected="a finite loss", got=value, advice="Lower the learning rate."
        )
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value, terms.detach()


@torch.no_grad()
def average_weights(averages: Iterable[Tensor], module: nn.Module, decay: float, step: int) -> None:
    """Move running averages towards a module's weights; early on faster, so that the start is soon forgotten.

    Parameters
    ----------
    averages
        One for each tensor of the module's `state_dict()`, in its order; they are changed.
    module
        What is trained.
    decay
        Share of the averages that stays: at most this, and at most (1 + step) / (10 + step).
    step
        Steps done before the one that led to the module's weights.

    Examples
    --------
    >>> layer, averages = nn.Linear(1, 1), [torch.zeros(1, 1), torch.zeros(1)]
    >>> average_weights(averages, layer, decay=0.0, step=5)
    >>> torch.equal(averages[0], layer.weight)
    True
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(
        list(averages), [weight.detach() for weight in module.state_dict().values()], share
    )
