"""Scores with a gradient by the setting: what hyperparameters can be tuned by without trying them out.

A score is a function of a registered batch. That of a metric is the metric of the catalogue itself,
where torch can differentiate it: partial-volume Dice, image similarity, the spread of the log
Jacobian, the inverse consistency error, or one of your own. Folding, surface distances and
nearest-neighbour labels change in steps and have no gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from hmopt.catalogue import METRICS, SIMILARITIES, Metric, Similarity
from hmopt.catalogue.metrics import BACKWARD, LOSS, ONWARD
from hmopt.declaration import LossOptions
from hmopt.declaration.model import ONLY_INTENSITY
from hmopt.errors import DeclarationError
from hmopt.losses.similarity import find_similarity
from hmopt.metrics.landmarks import on_plane
from hmopt.metrics.measure import Registration
from hmopt.metrics.originals import Originals
from hmopt.networks import RegistrationNetwork

LANDMARKS = "landmarks"
"""Name of the objective that is neither a metric nor a similarity."""
SHORT_NAMES: Mapping[str, str] = {"inverse_consistency": "inverse_consistency_voxels"}
"""Metrics that have a shorter name as objectives."""

Points = Mapping[str, NDArray[np.float64]]
"""By image: its landmarks, (k, 3), in mm in the world of its file, in one order for all images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DifferentiableBatch:
    """n pairs that a network with predicted weights registers.

    Parameters
    ----------
    network
        The registration network.
    weights
        Its weights by name, as a hypernetwork predicts them.
    images
        The n pairs.
    """

    network: RegistrationNetwork
    weights: Mapping[str, Tensor]
    images: Originals

    @cached_property
    def displacement(self) -> Tensor:
        """From the fixed to the moving images: (n, d, *shape), in voxels."""
        return self._displacement(self.images.moving, self.images.fixed)

    @cached_property
    def registration(self) -> Registration:
        """The pairs with their displacements, as metrics take them."""
        return Registration(originals=self.images, displacement=self.displacement)

    @cached_property
    def registration_both_ways(self) -> Registration:
        """The same with the displacements of the reversed pairs, for metrics that ask for them."""
        reversed_displacement = self._displacement(self.images.fixed, self.images.moving)
        return replace(self.registration, reversed_displacement=reversed_displacement)

    def _displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        weights = dict(self.weights)
        velocity: Tensor = functional_call(self.network, weights, (moving, fixed))
        return self.network.displacement(velocity)


Score = Callable[[DifferentiableBatch], Tensor]
"""From a registered batch to one score for each pair, (n,); NaN of a pair that has none."""


@dataclass(frozen=True, kw_only=True)
class SettingObjective:
    """What a setting is tuned by.

    Parameters
    ----------
    name
        Name of a metric or a similarity loss, or `landmarks`.
    title
        What a page calls it.
    direction
        Whether larger or smaller scores are better.
    score
        Computes it.
    """

    name: str
    title: str
    direction: Literal["maximize", "minimize"]
    score: Score


def make_objective(
    name: str,
    label: int | None = None,
    points: Points | None = None,
    loss: LossOptions | None = None,
) -> SettingObjective:
    """Return the objective of a name.

    Parameters
    ----------
    name
        A metric that can be differentiated (`inverse_consistency` is short for
        `inverse_consistency_voxels`), a similarity loss, or `landmarks`.
    label
        Place of a label from 0 on, for a metric of labels; None: the mean over the labels that a
        pair has.
    points
        Landmarks by image, for `landmarks`.
    loss
        Options of a similarity loss, as its window; None: their defaults.

    Raises
    ------
    DeclarationError
        If there is no such objective, it cannot be one, `landmarks` has no points, or another one
        has some.

    Examples
    --------
    >>> make_objective("dice").direction, make_objective("mse").direction
    ('maximize', 'minimize')
    """
    name = SHORT_NAMES.get(name, name)
    if points is not None and name != LANDMARKS:
        raise DeclarationError(
            "points",
            expected=f"none with the objective {name}",
            got=f"those of {len(points)} images",
            advice=f"Choose the objective {LANDMARKS}, or leave them out.",
        )
    if name in METRICS:
        record = METRICS[name]
        _check_metric(record)
        return SettingObjective(
            name=name,
            title=record.title,
            direction=record.direction,
            score=_MetricScore(record, label),
        )
    if name in SIMILARITIES:
        similarity = SIMILARITIES[name]
        return SettingObjective(
            name=name,
            title=similarity.title,
            direction="minimize",
            score=_SimilarityScore(similarity, loss or LossOptions()),
        )
    if name == LANDMARKS:
        if not points:
            raise DeclarationError(
                "landmarks",
                expected="points of the images",
                got="none",
                advice="Give their table by --points.",
            )
        return SettingObjective(
            name=name,
            title="distance of landmarks (mm)",
            direction="minimize",
            score=_LandmarkScore(points),
        )
    known = ", ".join([*METRICS, *SIMILARITIES, *SHORT_NAMES, LANDMARKS])
    raise DeclarationError(
        "objective", expected=f"one of {known}", got=repr(name), advice="Correct the name."
    )


def _check_metric(metric: Metric) -> None:
    """Refuse a metric of which it is known before any registration that it cannot be an objective.

    Raises
    ------
    DeclarationError
        If it needs a third subject, is of the landmarks of the cohort, or is not of the displacement.
    """
    advice = "Choose another one; the sweep of `hmopt search` needs no gradient."
    if ONWARD in metric.parameters:
        got = f"{metric.name}, which needs registrations to a third subject"
        advice = "Choose another one, as inverse_consistency; `hmopt search` measures this one."
    elif metric.is_of_landmarks:
        got = f"{metric.name}, which has none"
        advice = "Choose landmarks, and give the points by --points."
    elif metric.is_by_product or metric.name == LOSS:
        got = f"{metric.name}, which has none"
    else:
        return
    raise DeclarationError("objective", expected=WITH_A_GRADIENT, got=got, advice=advice)


WITH_A_GRADIENT = "a metric with a gradient, as dice, similarity or log_jacobian_sd"


@dataclass(frozen=True)
class _MetricScore:
    metric: Metric
    label: int | None

    def __call__(self, batch: DifferentiableBatch) -> Tensor:
        goes_back = BACKWARD in self.metric.parameters
        registration = batch.registration_both_ways if goes_back else batch.registration
        values: Tensor = self.metric.compute(registration)
        is_known = bool(torch.isfinite(values).any())
        if is_known and not values.requires_grad:
            raise DeclarationError(
                "objective",
                expected=WITH_A_GRADIENT,
                got=f"{self.metric.name}, which changes in steps",
                advice="Choose another one; the sweep of `hmopt search` needs no gradient.",
            )
        if values.dim() == 1:
            return values
        if self.label is not None:
            return values[:, self.label]
        # the mean over the labels that a pair has; NaN where it has none
        known = torch.isfinite(values)
        total = values.masked_fill(~known, 0.0).sum(1)
        return total / known.sum(1)


@dataclass(frozen=True)
class _SimilarityScore:
    similarity: Similarity
    loss: LossOptions

    def __call__(self, batch: DifferentiableBatch) -> Tensor:
        # of the images themselves, as a metric is
        changed = {"similarity": self.similarity.name, "features": ONLY_INTENSITY}
        options = self.loss.model_copy(update=changed)
        compute = find_similarity(options)
        moved = batch.registration.moved
        fixed = batch.images.fixed
        # each pair by itself: the loss of a batch mixes them
        losses = [compute(moved[row : row + 1], fixed[row : row + 1]) for row in range(len(moved))]
        return torch.stack(losses)


_SMALLEST = 1e-12
"""Added to squared distances, in mm²: the square root has no gradient at 0."""


@dataclass(frozen=True)
class _LandmarkScore:
    points: Points

    def __call__(self, batch: DifferentiableBatch) -> Tensor:
        registration = batch.registration
        nothing = registration.displacement.new_full((), torch.nan)
        scores = []
        for place in range(len(batch.images.moving)):
            of_fixed = self.points.get(registration.fixed_names[place])
            of_moving = self.points.get(registration.moving_names[place])
            if of_fixed is None or of_moving is None:
                scores.append(nothing)
                continue
            mapped = registration.mapped_points_mm(place, of_fixed)
            on_moving = apply_affine(np.linalg.inv(registration.moving_to_world[place]), of_moving)
            has_place = torch.from_numpy(on_plane(on_moving, registration.displacement.shape[1]))
            # as the metrics of landmarks: those where no displacement is known are left out
            counts = torch.isfinite(mapped).all(1) & has_place
            if not counts.any():
                scores.append(nothing)
                continue
            apart = mapped[counts] - torch.from_numpy(of_moving)[counts]
            squared = apart.square().sum(1)
            distance = (squared + _SMALLEST).sqrt().mean()
            scores.append(distance.to(nothing))
        return torch.stack(scores)
