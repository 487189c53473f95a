"""Refinement of a registration: the loss of one pair is minimized over its velocity.

What a network predicts is close to the minimum for most pairs, and at it for none. Some iterations
on the velocity itself, with the loss and the setting that the network was trained for, close what
is left of this *amortization gap*.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmopt.catalogue import (
    Record,
    changing_similarity,
    find_hyperparameter,
    find_regularizer,
    find_similarity,
)
from hmopt.declaration import LossOptions, RefineOptions
from hmopt.declaration.model import Feature, check_features
from hmopt.errors import CheckpointError, DeclarationError
from hmopt.files import checked, content_hash
from hmopt.losses import RegisteredBatch, loss_terms, weighted_loss
from hmopt.space import Setting, numbers_of
from hmopt.spatial import refine_displacement
from hmopt.spatial.smoothing import sobolev_smooth
from hmopt.training.loss import anisotropic_spacing

VERSION = 1
"""Raised whenever the same velocity would be refined to another one."""
STIFFNESS = 3.0
"""How much a step is smoothed, in squared voxels of the velocity's grid (see `smooth`)."""
FIRST_STEP = 0.5
"""Largest component of the first step, in voxels of the velocity's grid."""
LARGEST_STEP = 1.0
"""The same of any later step."""
MEMORY = 8
"""Steps that the curvature is estimated from."""
VOXELS_ON_CPU = 2**18
"""Of images that are refined together on a processor, at most: more leave its caches. Eight volumes of
48 x 64 x 48 take half as long again together as one by one, slices of 160 x 160 less."""
PATIENCE = 5
TOLERANCE = 1e-3
"""A pair stops where its last 5 iterations lowered its loss by less than this share of it."""

Evaluate = Callable[[Tensor, Sequence[int]], tuple[Tensor, Tensor]]
"""From velocities (k, d, *shape) of some pairs and their k numbers to losses (k,) and gradients."""
Integrate = Callable[[Tensor, int], Tensor]
"""From a velocity and its stride to the displacement on the images' grid, as a registration network
has it. The stride is the voxels of the images to one of the velocity."""


@dataclass(frozen=True, kw_only=True)
class PairLoss:
    """The loss of single pairs, without the terms that need labels.

    Labels of a pair that is to be registered are not known: hyperparameters that weigh such terms,
    as `label_weight`, count as 0, and the data term is the similarity alone.

    Parameters
    ----------
    options
        Declares the terms.
    scale
        What the similarity loss is multiplied by.
    spacing
        Size of a voxel where the spacing is anisotropic, else None.
    """

    options: LossOptions
    scale: float
    spacing: tuple[float, ...] | None

    @property
    def identity(self) -> str:
        """Hash of everything that decides the values."""
        declared = self.options.model_dump(mode="json", exclude={"scale", "overlap_labels"})
        records: list[Record] = [
            find_similarity(self.options.similarity),
            find_regularizer(self.options.regularizer),
        ]
        versions = [record.version for record in records]
        return content_hash("pair loss", declared, self.scale, self.spacing, versions)

    def comparing(self, features: Sequence[Feature] | None) -> "PairLoss":
        """Return the same loss with a similarity of other features; None: of the same.

        Raises
        ------
        DeclarationError
            If there are no such features, or the similarity does not take them.
        """
        if features is None:
            return self
        declared = self.options.model_dump(mode="json")
        options = checked(
            {**declared, "features": list(features)},
            LossOptions,
            field="refine",
            error=DeclarationError,
            what="features of images",
            advice="Correct them, or leave them out.",
        )
        check_features("refine.features", options.features, options.similarity)
        return replace(self, options=options)

    def values(
        self,
        moving: Tensor,
        fixed: Tensor,
        velocity: Tensor,
        displacement: Tensor,
        setting: Setting,
    ) -> Tensor:
        """Compute the loss of each pair by itself: means over a batch would mix them.

        Parameters
        ----------
        moving, fixed
            (n, 1, *shape).
        velocity
            (n, d, *shape / stride), in voxels of its own grid.
        displacement
            (n, d, *shape), in voxels.
        setting
            A value for every hyperparameter.

        Returns
        -------
        Tensor
            (n,).

        Raises
        ------
        DeclarationError
            If the loss does not know a hyperparameter.
        """
        weights = without_labels(numbers_of(setting))
        together = RegisteredBatch(
            moving=moving,
            fixed=fixed,
            moving_labels=None,
            fixed_labels=None,
            velocity=velocity,
            displacement=displacement,
            spacing=self.spacing,
            options=self.options,
            overlap_labels=(),
            scale=self.scale,
        )
        together = together.with_terms_of_each(weights)
        losses = []
        # a term of all pairs mixes them
        for one in together.divided(len(moving)):
            terms = loss_terms(one, weights)
            loss = weighted_loss(terms, weights, self.scale)
            losses.append(loss)
        return torch.stack(losses)


def without_labels(setting: Mapping[str, float]) -> dict[str, float]:
    """Return a setting without the hyperparameters whose terms need labels.

    Raises
    ------
    DeclarationError
        If a hyperparameter is not in the catalogue.

    Examples
    --------
    >>> without_labels({"regularization": 0.25, "label_weight": 0.5})
    {'regularization': 0.25}
    """
    return {
        name: value for name, value in setting.items() if not find_hyperparameter(name).needs_labels
    }


def known_loss(
    loss: Mapping[str, Any] | None,
    scale: float | None,
    spacing_mm: Sequence[float] | None,
    where: Path | str,
    hyperparameters: Sequence[str] = (),
) -> PairLoss:
    """Return the loss that a model was trained under, as its header tells it.

    Parameters
    ----------
    loss
        The table `[loss]`; None where it is not known.
    scale
        What the similarity loss was multiplied by; None where it is not known.
    spacing_mm
        Of the grid; None where it is not known.
    where
        What an error names.
    hyperparameters
        Names of those that the model is conditioned on.

    Raises
    ------
    CheckpointError
        If the loss is not known, has a weight for each region, or a hyperparameter changes its
        similarity, whose scale then differs from setting to setting.

    Examples
    --------
    >>> known_loss({"similarity": "mse"}, 2.0, (1.0, 1.0), "model").spacing is None
    True
    >>> known_loss(None, None, None, "model.h5")
    Traceback (most recent call last):
    hmopt.errors.CheckpointError: model.h5: loss: expected the loss that the model was trained under, got none. ...
    """
    what = "the loss that the model was trained under"
    if not loss or scale is None:
        raise CheckpointError(
            f"{where}: loss",
            expected=what,
            got="none",
            advice="Register without refinement; the model file does not contain a loss.",
        )
    regions = loss.get("regions")
    if regions:
        raise CheckpointError(
            f"{where}: refinement",
            expected="a loss that needs no label maps of the pair",
            got=f"one with regions ({', '.join(regions)})",
            advice="Register without refinement.",
        )
    changing = changing_similarity(hyperparameters, str(loss.get("similarity", "")))
    if changing:
        raise CheckpointError(
            f"{where}: refinement",
            expected="hyperparameters that leave the similarity as it is",
            got=", ".join(changing),
            advice="Register without refinement.",
        )
    declared = {key: value for key, value in loss.items() if key in LossOptions.model_fields}
    options = checked(
        {**declared, "scale": scale},
        LossOptions,
        field=f"{where}: loss",
        error=CheckpointError,
        what=what,
        advice="Register without refinement.",
    )
    return PairLoss(options=options, scale=scale, spacing=anisotropic_spacing(spacing_mm))


class Minimum(NamedTuple):
    """What a minimization found.

    Parameters
    ----------
    fields
        (n, d, *shape).
    converged
        (n,): whether each stopped by itself, before its iterations were used up.
    """

    fields: Tensor
    converged: Tensor


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """Lowers the loss of pairs by some iterations on their velocities.

    Parameters
    ----------
    loss
        What is minimized.
    iterations
        Steps that are tried, at most, for each pair.
    full_resolution_iterations
        Further ones at most, with a velocity on the grid of the images.
    """

    loss: PairLoss
    iterations: int
    full_resolution_iterations: int = 0

    @classmethod
    def declared(cls, loss: PairLoss, options: RefineOptions) -> "Refinement":
        """Return the refinement that `[refine]` declares, of a loss as it was trained.

        Raises
        ------
        DeclarationError
            If the similarity does not take the declared features.
        """
        return cls(
            loss=loss.comparing(options.features),
            iterations=options.iterations,
            full_resolution_iterations=options.full_resolution_iterations,
        )

    @property
    def identity(self) -> str:
        """Hash of everything that decides what a velocity becomes."""
        further = []
        if self.full_resolution_iterations:
            further.append(self.full_resolution_iterations)
        return content_hash("refinement", VERSION, self.iterations, self.loss.identity, *further)

    @property
    def final_stride(self) -> int | None:
        """Image voxels to a voxel of a refined velocity; None: as many as where it starts."""
        return 1 if self.full_resolution_iterations else None

    def refined(
        self,
        velocity: Tensor,
        moving: Tensor,
        fixed: Tensor,
        setting: Setting,
        integrate: Integrate,
    ) -> Minimum:
        """Return velocities whose losses are as low as the iterations get them, and never higher.

        Parameters
        ----------
        velocity
            (n, d, *shape / stride): where to start.
        moving, fixed
            (n, 1, *shape).
        setting
            A value for every hyperparameter.
        integrate
            From a velocity and its stride to the displacement on the images' grid.

        Returns
        -------
        Minimum
            Velocities (n, d, *shape / stride), or (n, d, *shape) after iterations at full
            resolution. That of a pair does not depend on the others.
        """
        together = _pairs_together(fixed)
        parts = []
        with torch.inference_mode(False), torch.enable_grad():
            for start in range(0, len(fixed), together):
                some = slice(start, start + together)
                pairs = _Pairs(
                    loss=self.loss,
                    moving=_outside_inference(moving[some]),
                    fixed=_outside_inference(fixed[some]),
                    setting=setting,
                    integrate=integrate,
                )
                found = self._minimum(pairs, _outside_inference(velocity[some]))
                parts.append(found)
        return Minimum(
            fields=torch.cat([part.fields for part in parts]),
            converged=torch.cat([part.converged for part in parts]),
        )

    def _minimum(self, pairs: "_Pairs", velocity: Tensor) -> Minimum:
        """Return the minima of pairs that are refined together."""
        stride = pairs.fixed.shape[2] // velocity.shape[2]
        found = minimize(pairs.losses_at(stride), velocity, self.iterations)
        if not self.full_resolution_iterations:
            return found
        finer = refine_displacement(found.fields, stride)
        return minimize(pairs.losses_at(1), finer, self.full_resolution_iterations)


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Pairs that are refined together, and what else decides their losses but the velocity."""

    loss: PairLoss
    moving: Tensor
    fixed: Tensor
    setting: Setting
    integrate: Integrate

    def losses_at(self, stride: int) -> Evaluate:
        """Return the function that evaluates velocities of a stride."""

        def evaluate(trial: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
            chosen = list(rows)
            wanted = trial.requires_grad_()
            displacement = self.integrate(wanted, stride)
            losses = self.loss.values(
                self.moving[chosen], self.fixed[chosen], wanted, displacement, self.setting
            )
            total = losses.sum()
            (gradient,) = torch.autograd.grad(total, wanted)
            return losses.detach(), gradient

        return evaluate


def minimize(evaluate: Evaluate, start: Tensor, iterations: int) -> Minimum:
    """Minimize the losses of several pairs, each by itself, over smooth fields.

    Every pair has an L-BFGS of its own (Nocedal and Wright, Numerical Optimization, 2006, algorithm
    7.4) whose first guess of the inverse Hessian is a smoothing. An iteration evaluates one trial of
    every pair that has not stopped; a trial that does not lower the loss is followed by a shorter
    one in the same direction.

    Parameters
    ----------
    evaluate
        Computes losses and gradients, the gradient of a pair from its own loss alone.
    start
        (n, d, *shape).
    iterations
        Trials of each pair at most.

    Returns
    -------
    Minimum
        For each pair the field with the lowest loss that was found.

    Examples
    --------
    The minimum of the mean squared distance to 2:

    >>> def evaluate(fields, rows):
    ...     distance = fields.detach() - 2
    ...     return distance.square().mean((1, 2, 3)), 2 * distance / distance[0].numel()
    >>> minimize(evaluate, torch.zeros(1, 2, 4, 4), iterations=10).fields.mean().round(decimals=3)
    tensor(2.)
    """
    if not iterations:
        return Minimum(fields=start, converged=torch.zeros(len(start), dtype=torch.bool))
    descents = [_Descent(field) for field in start]
    # and one evaluation at the start
    for _ in range(iterations + 1):
        rows = [row for row, descent in enumerate(descents) if not descent.has_stopped]
        if not rows:
            break
        trials = torch.stack([descents[row].trial for row in rows])
        losses, gradients = evaluate(trials, rows)
        values = losses.double().tolist()
        for row, loss, gradient in zip(rows, values, gradients, strict=True):
            descents[row].observe(loss, gradient)
    return Minimum(
        fields=torch.stack([descent.best for descent in descents]),
        converged=torch.tensor([descent.has_stopped for descent in descents]),
    )


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A step s, the change y of the gradient along it, and the curvatures s·y and y·P y.

    P is the smoothing.
    """

    step: Tensor
    change: Tensor
    curvature: float
    smooth_curvature: float


class _Descent:
    """L-BFGS of one pair, a trial at a time.

    Parameters
    ----------
    start
        (d, *shape).
    """

    def __init__(self, start: Tensor) -> None:
        self.trial = start
        self.best = start
        self.has_stopped = False
        self._gradient: Tensor | None = None
        self._direction = torch.zeros_like(start)
        self._share = 1.0
        self._slope = 0.0
        self._steps: list[_Step] = []
        self._lowest: list[float] = []
        """The lowest loss after each evaluation."""

    def observe(self, loss: float, gradient: Tensor) -> None:
        """Take the loss and the gradient at the trial, and choose the next one.

        Parameters
        ----------
        loss
            A number; what is not finite is no improvement.
        gradient
            (d, *shape).
        """
        if self._gradient is None:
            self._accept(loss, gradient)
            return
        lowest = self._lowest[-1]
        # Armijo's condition: a small part of the fall that the slope promises
        promised = 1e-4 * self._share * self._slope
        if loss < lowest - promised:
            self._remember(gradient)
            self._accept(loss, gradient)
        else:
            self._lowest.append(lowest)
            self._shorten(loss)
        self._stop_if_flat()

    def _accept(self, loss: float, gradient: Tensor) -> None:
        self.best = self.trial
        self._gradient = gradient
        self._lowest.append(loss)
        self._turn(gradient)
        self.trial = self.best - self._direction

    def _turn(self, gradient: Tensor) -> None:
        """Choose the direction of the next steps, against which the loss falls."""
        direction = self._newton(gradient)
        slope = _dot(direction, gradient)
        if not slope > 0:
            # the estimate of the curvature is of no use
            self._steps = []
            direction = _smoothed(gradient)
            slope = _dot(direction, gradient)
        largest = float(direction.abs().max())
        if not slope > 0 or not largest > 0:
            # a minimum
            self.has_stopped = True
            return
        allowed = LARGEST_STEP if self._steps else FIRST_STEP
        if largest > allowed or not self._steps:
            factor = allowed / largest
            direction = direction * factor
            slope *= factor
        self._direction = direction
        self._slope = slope
        self._share = 1.0

    def _newton(self, gradient: Tensor) -> Tensor:
        """Return the estimated inverse Hessian times the gradient, by the two loops of L-BFGS."""
        if not self._steps:
            return _smoothed(gradient)
        rest = gradient
        weights = []
        for one in reversed(self._steps):
            weight = _dot(one.step, rest) / one.curvature
            rest = torch.add(rest, one.change, alpha=-weight)
            weights.append(weight)
        last = self._steps[-1]
        direction = _smoothed(rest) * (last.curvature / last.smooth_curvature)
        for one, weight in zip(self._steps, reversed(weights), strict=True):
            correction = _dot(one.change, direction) / one.curvature
            direction = torch.add(direction, one.step, alpha=weight - correction)
        return direction

    def _remember(self, gradient: Tensor) -> None:
        """Keep an accepted step where the loss curves upwards along it."""
        assert self._gradient is not None
        step = self.trial - self.best
        change = gradient - self._gradient
        curvature = _dot(step, change)
        lengths = (_dot(step, step) * _dot(change, change)) ** 0.5
        if curvature <= 1e-4 * lengths:
            return
        smooth_curvature = _dot(change, _smoothed(change))
        kept = _Step(
            step=step, change=change, curvature=curvature, smooth_curvature=smooth_curvature
        )
        self._steps = [*self._steps, kept][-MEMORY:]

    def _shorten(self, loss: float) -> None:
        """Try a tenth to a half of the step: where the parabola through what is known is lowest."""
        missed = loss - self._lowest[-1] + self._share * self._slope
        shorter = 0.5
        if missed > 0:
            shorter = self._share * self._slope / (2 * missed)
        shorter = min(0.5, max(0.1, shorter))
        self._share *= shorter
        self.trial = torch.add(self.best, self._direction, alpha=-self._share)

    def _stop_if_flat(self) -> None:
        """Stop where the last iterations gained next to nothing."""
        if len(self._lowest) <= PATIENCE:
            return
        now = self._lowest[-1]
        gained = self._lowest[-1 - PATIENCE] - now
        if gained < TOLERANCE * abs(now):
            self.has_stopped = True


def _smoothed(field: Tensor) -> Tensor:
    """Smooth a field (d, *shape)."""
    return sobolev_smooth(field.unsqueeze(0), STIFFNESS).squeeze(0)


def _dot(one: Tensor, other: Tensor) -> float:
    return float(torch.dot(one.flatten(), other.flatten()))


def _pairs_together(images: Tensor) -> int:
    """Return how many pairs of images (n, 1, *shape) are refined together."""
    if images.device.type != "cpu":
        return len(images)
    return max(1, VOXELS_ON_CPU // images[0].numel())


def _outside_inference(tensor: Tensor) -> Tensor:
    """Return a tensor that can take part in gradients, which those of inference mode cannot; copies can."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()
