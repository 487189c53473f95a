"""Optimization: Adam, the learning rate, the average of weights, and one step."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from hmopt.declaration import HypernetworkOptions, TrainingOptions
from hmopt.errors import DivergedError
from hmopt.losses import Terms
from hmopt.networks import Hypermorph
from hmopt.space import Setting
from hmopt.training.batches import Batch
from hmopt.training.group import Group
from hmopt.training.loss import Loss, Model

Tensors = list[Tensor] | tuple[Tensor, ...]


def make_optimizer(
    hypermorph: Hypermorph, training: TrainingOptions, hypernetwork: HypernetworkOptions
) -> Optimizer:
    """Return Adam for a hypermorph, with a learning rate of its own for the dense layers.

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
        Two groups of parameters: base weights, then dense layers.

    Examples
    --------
    >>> from hmopt.networks import build_hypermorph
    >>> network = {"encoder": [4, 4], "decoder": [4], "final": []}
    >>> declared = {"shape": [16, 16], "network": network, "hypernetwork": {"widths": [8]}}
    >>> hypermorph = build_hypermorph({**declared, "hyperparameters": {"regularization": {}}})
    >>> training = TrainingOptions(learning_rate=1e-3)
    >>> optimizer = make_optimizer(hypermorph, training, HypernetworkOptions())
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.001, 0.0002]
    """
    network = hypermorph.hypernetwork
    rate = training.learning_rate
    dense_layers = [*network.trunk.parameters(), *network.heads.parameters()]
    groups = [
        {"params": [network.base], "lr": rate},
        {"params": dense_layers, "lr": rate * hypernetwork.learning_rate_share},
    ]
    return torch.optim.Adam(groups, fused=True)


def make_schedule(optimizer: Optimizer, steps: int, done: int = 0, warm_up: int = 0) -> LambdaLR:
    """Return the schedule of the learning rate: half a cosine to zero, times a linear warm-up.

        rate(k) = rate · min(1, (k + 1) / warm_up) · (1 + cos(π k / steps)) / 2,     k = 0, 1, …, steps

    The rate is a function of k alone, so that a resumed training needs no state of the schedule
    (`CosineAnnealingLR` computes each rate from the one before).

    Parameters
    ----------
    optimizer
        Each of its groups has its rate as `lr`.
    steps
        Optimizer steps of the training.
    done
        Steps done already.
    warm_up
        First steps, over which the rate rises; 0: none.

    Examples
    --------
    >>> optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1e-3)
    >>> make_schedule(optimizer, steps=100, done=50).get_last_lr()
    [0.0005]
    """

    def share(step: int) -> float:
        angle = math.pi * step / steps
        half_cosine = (1 + math.cos(angle)) / 2
        risen = min(1, (step + 1) / max(warm_up, 1))
        return risen * half_cosine

    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # where torch looks for it when steps were done before
    return LambdaLR(optimizer, share, last_epoch=done - 1)


def make_average(module: nn.Module, decay: float) -> AveragedModel:
    """Return the running average of a module's weights, which `update_parameters` moves.

    After step k = 1, 2, … with weights w_k,

        average_k = d_k · average_{k-1} + (1 - d_k) · w_k,     d_k = min(decay, k / (k + 9))

    from average_0 = w_0, the first weights. Early on d_k is small, so that these are soon
    forgotten.

    Parameters
    ----------
    module
        What is trained; its weights now are w_0.
    decay
        In [0, 1); 0 keeps the last weights.

    Examples
    --------
    >>> layer = nn.Linear(1, 1)
    >>> average = make_average(layer, decay=0.0)
    >>> _ = nn.init.ones_(layer.weight)
    >>> average.update_parameters(layer)
    >>> torch.equal(average.module.weight, layer.weight)
    True
    """

    def move(averages: Tensors, weights: Tensors, _: object) -> None:
        # Not the count that torch passes: that one lies on the weights' device, and reading it
        # would make the processor wait for an accelerator in every step.
        step = int(average.n_averaged)
        warm_up = step / (step + 9)
        kept = min(decay, warm_up)
        torch._foreach_lerp_(averages, weights, 1 - kept)

    average = AveragedModel(module, multi_avg_fn=move)
    average.update_parameters(module)  # counts the first weights, which are copied
    return average


def take_step(
    model: Model,
    optimizer: Optimizer,
    loss: Loss,
    batch: Batch,
    settings: Sequence[Setting],
    gradient_norm: float | None = None,
) -> tuple[float, Terms]:
    """Move the weights once, by the mean gradient of all pairs; return a loss and its terms before.

    Parameters
    ----------
    model, optimizer
        What registers, and what moves its weights.
    loss
        What is minimized: its `balanced`.
    batch
        The pairs to register.
    settings
        k of them, at most as many as pairs: the first n / k of n pairs are registered at the first
        setting, and so on.
    gradient_norm
        Length that the gradient of all weights is shortened to where it is longer; None: none.

    Returns
    -------
    float
        The loss of the pairs at the first setting.
    Terms
        What it is made of, detached from its gradients.

    Raises
    ------
    DivergedError
        If the loss is not a finite number; then the weights are as they were.

    Examples
    --------
    >>> from hmopt.declaration import LossOptions
    >>> from hmopt.networks import build_hypermorph
    >>> network = {"encoder": [4, 4], "decoder": [4], "final": []}
    >>> declared = {"shape": [16, 16], "network": network, "hypernetwork": {"widths": [8]}}
    >>> hypermorph = build_hypermorph({**declared, "hyperparameters": {"regularization": {}}})
    >>> optimizer = make_optimizer(hypermorph, TrainingOptions(), HypernetworkOptions())
    >>> options = LossOptions(similarity="mse")
    >>> loss = Loss(options=options, scale=2.0, overlap_labels=(), spacing=None)
    >>> moving, fixed = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    >>> batch = Batch(moving=moving, fixed=fixed, moving_labels=None, fixed_labels=None)
    >>> total, terms = take_step(hypermorph, optimizer, loss, batch, [{"regularization": 0.0}])
    >>> total, float(terms.dissimilarity)
    (2.0, 1.0)
    """
    found = _add_gradients(model, optimizer, loss, batch, settings)
    _shorten(optimizer, gradient_norm)
    optimizer.step()
    return found[0]


def take_step_together(
    model: Model,
    optimizer: Optimizer,
    loss: Loss,
    batch: Batch,
    settings: Sequence[Setting],
    group: Group,
    pairs: int,
    gradient_norm: float | None = None,
) -> tuple[float, Terms]:
    """Take the step that `take_step` takes, as one of several processes with a part of the pairs each.

    With g_p the mean gradient of the n_p pairs of process p, and n = Σ n_p, all move their weights by

        g = Σ_p n_p / n · g_p

    which is the mean gradient of all n pairs, but for rounding.

    Parameters
    ----------
    model, optimizer, loss
        As of `take_step`; the weights are the same in all processes.
    batch, settings
        This process's own.
    group
        The processes.
    pairs
        n.
    gradient_norm
        Length that g is shortened to where it is longer; None: none.

    Returns
    -------
    float
        The loss of the pairs at the first of these settings.
    Terms
        What it is made of, detached from its gradients.

    Raises
    ------
    DivergedError
        If the loss is not a finite number in one of the processes; then the weights are as they were.
    """
    found: list[tuple[float, Terms]] = []
    failure: DivergedError | None = None
    try:
        found = _add_gradients(model, optimizer, loss, batch, settings)
    except DivergedError as error:
        failure = error  # the others are told first, which wait for this process
    share = len(batch.moving) / pairs
    failed = _add_over_processes(optimizer, share, failure is not None, group)
    if failed:
        raise failure or DivergedError(
            "training",
            expected="a finite loss",
            got="another number on another device",
            advice="Lower the learning rate.",
        )
    _shorten(optimizer, gradient_norm)
    optimizer.step()
    return found[0]


def _add_over_processes(optimizer: Optimizer, share: float, has_failed: bool, group: Group) -> bool:
    """Replace each gradient by the sum of all processes' shares; return whether one of them has failed."""
    parameters: list[Tensor] = []
    for each in optimizer.param_groups:
        parameters.extend(each["params"])
    flat = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            gradient = torch.zeros_like(parameter)
        flat.append(share * gradient.flatten())
    # in one vector with the gradients, so that the processes wait for each other once
    failures = flat[0].new_tensor([float(has_failed)])
    total = group.total(torch.cat([*flat, failures]))

    sizes = [len(part) for part in flat]
    *gradients, failures = torch.split(total, [*sizes, 1])
    for parameter, added in zip(parameters, gradients, strict=True):
        parameter.grad = added.view_as(parameter)
    return bool(failures.item())


def _add_gradients(
    model: Model, optimizer: Optimizer, loss: Loss, batch: Batch, settings: Sequence[Setting]
) -> list[tuple[float, Terms]]:
    """Give the weights the mean gradient of all pairs; return the loss and its terms at each setting."""
    optimizer.zero_grad(set_to_none=True)
    parts = loss.registered(model, batch, settings)
    mean = torch.zeros((), device=batch.moving.device)
    found = []
    for setting, part in zip(settings, parts, strict=True):
        # λ decided the network's weights above, and decides those of the terms here
        terms = loss.terms_of(part, setting)
        of_part = loss.balanced(terms, setting)
        found.append((_finite(of_part), terms.detach()))
        share = len(part.moving) / len(batch.moving)
        mean = mean + share * of_part
    mean.backward()  # type: ignore[no-untyped-call]
    return found


def _shorten(optimizer: Optimizer, gradient_norm: float | None) -> None:
    """Shorten the gradient of all weights where it is longer."""
    if gradient_norm is None:
        return
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    nn.utils.clip_grad_norm_(weights, gradient_norm)


def _finite(loss: Tensor) -> float:
    """Return the value of a loss, before gradients are taken: those of warping by NaN crash torch."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DivergedError(
            "training", expected="a finite loss", got=value, advice="Lower the learning rate."
        )
    return value
