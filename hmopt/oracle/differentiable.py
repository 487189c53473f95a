"""Scores with a gradient by the setting: what hyperparameters can be tuned by without trying them out.

A score is a function of a registered batch. That of a metric is the metric of the catalogue itself,
where torch can differentiate it: partial-volume Dice, image similarity, the spread of the log
Jacobian, or one of your own. Folding, surface distances and nearest-neighbour labels change in steps
and have no gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from hmopt.catalogue import METRICS, SIMILARITIES, Metric, Similarity
from hmopt.declaration import LossOptions
from hmopt.errors import DeclarationError
from hmopt.losses.similarity import find_similarity
from hmopt.metrics.measure import Registration
from hmopt.metrics.originals import Originals
from hmopt.networks import RegistrationNetwork
from hmopt.spatial import warp

INVERSE_CONSISTENCY = "inverse_consistency"
LANDMARKS = "landmarks"
FURTHER: Mapping[str, str] = {
    INVERSE_CONSISTENCY: "distance from the start after there and back (voxels)",
    LANDMARKS: "distance of landmarks (mm)",
}
"""Titles of the objectives that are neither a metric nor a similarity."""

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
    def backward_displacement(self) -> Tensor:
        """Of the same images with their parts exchanged: (n, d, *shape), in voxels."""
        return self._displacement(self.images.fixed, self.images.moving)

    @cached_property
    def registration(self) -> Registration:
        """The pairs with their displacements, as metrics take them."""
        return Registration(originals=self.images, displacement=self.displacement)

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
        Name of a metric or a similarity loss, `inverse_consistency` or `landmarks`.
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
        A metric that can be differentiated, a similarity loss, `inverse_consistency` or
        `landmarks`.
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
        If there is no such objective, or `landmarks` has none.

    Examples
    --------
    >>> make_objective("dice").direction, make_objective("inverse_consistency").direction
    ('maximize', 'minimize')
    """
    if name in METRICS:
        record = METRICS[name]
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
    if name == INVERSE_CONSISTENCY:
        title = FURTHER[name]
        return SettingObjective(
            name=name, title=title, direction="minimize", score=inverse_inconsistency
        )
    if name == LANDMARKS:
        if not points:
            raise DeclarationError(
                "landmarks", expected="points of the images", got="none", advice="Give them."
            )
        title = FURTHER[name]
        return SettingObjective(
            name=name, title=title, direction="minimize", score=_LandmarkScore(points)
        )
    known = ", ".join([*METRICS, *SIMILARITIES, *FURTHER])
    raise DeclarationError(
        "objective", expected=f"one of {known}", got=repr(name), advice="Correct the name."
    )


@dataclass(frozen=True)
class _MetricScore:
    metric: Metric
    label: int | None

    def __call__(self, batch: DifferentiableBatch) -> Tensor:
        values: Tensor = self.metric.compute(batch.registration)
        if not values.requires_grad:
            raise DeclarationError(
                "objective",
                expected="a metric with a gradient, as dice, similarity or log_jacobian_sd",
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
        options = self.loss.model_copy(update={"similarity": self.similarity.name})
        compute = find_similarity(options)
        moved = batch.registration.moved
        fixed = batch.images.fixed
        # each pair by itself: the loss of a batch mixes them
        losses = [compute(moved[row : row + 1], fixed[row : row + 1]) for row in range(len(moved))]
        return torch.stack(losses)


def inverse_inconsistency(batch: DifferentiableBatch) -> Tensor:
    """Compute how far voxels end from where they began, after one displacement and that of the way back.

    With φ the registration of a pair and ψ that of the pair with its images exchanged, the mean over
    voxels x of ‖ψ(φ(x)) - x‖. It is 0 where the one is the inverse of the other.

    Parameters
    ----------
    batch
        n pairs.

    Returns
    -------
    Tensor
        (n,), in voxels.

    References
    ----------
    Christensen and Johnson, IEEE TMI 20, 2001.
    """
    there = batch.displacement
    # ψ(φ(x)) = φ(x) + backward(φ(x))
    back = warp(batch.backward_displacement, there)
    squared = (there + back).square().sum(1)
    # the square root has no gradient at 0
    distance = (squared + _SMALLEST).sqrt()
    return distance.flatten(1).mean(1)


_SMALLEST = 1e-12
"""Added to squared distances, in squared units of them."""


@dataclass(frozen=True)
class _LandmarkScore:
    points: Points

    def __call__(self, batch: DifferentiableBatch) -> Tensor:
        registration = batch.registration
        scores = []
        for place in range(len(batch.images.moving)):
            of_fixed = self.points.get(registration.fixed_names[place])
            of_moving = self.points.get(registration.moving_names[place])
            if of_fixed is None or of_moving is None:
                scores.append(registration.displacement.new_full((), torch.nan))
                continue
            mapped = map_points(registration, place, of_fixed)
            there = torch.as_tensor(of_moving, dtype=mapped.dtype, device=mapped.device)
            squared = (mapped - there).square().sum(1)
            scores.append((squared + _SMALLEST).sqrt().mean())
        return torch.stack(scores)


def map_points(registration: Registration, place: int, points_mm: NDArray[np.float64]) -> Tensor:
    """Map points of a fixed image to the moving image, as `Registration.map_points_mm`, with a gradient.

    Parameters
    ----------
    registration
        n pairs.
    place
        Which of them.
    points_mm
        (k, 3), in the world of the fixed image's file.

    Returns
    -------
    Tensor
        (k, 3), in mm in the world of the moving image's file.
    """
    displacement = registration.displacement[place]
    d, *shape = displacement.shape
    count = len(points_mm)
    homogeneous = np.vstack([points_mm.T, np.ones(count)])
    voxels = np.linalg.inv(registration.fixed_to_world[place]) @ homogeneous
    start = torch.as_tensor(voxels, dtype=displacement.dtype, device=displacement.device)

    # from voxels to [-1, 1], the last axis first, as `grid_sample` has it
    last = torch.tensor(shape, dtype=displacement.dtype, device=displacement.device) - 1
    scaled = 2 * start[:d] / last.clamp(min=1).unsqueeze(1) - 1
    grid = scaled.flip(0).T.reshape(1, count, *[1] * (d - 1), d)
    sampled = functional.grid_sample(
        displacement.unsqueeze(0), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    shift = sampled.reshape(d, count)
    still = start[d:]
    ends = torch.cat([start[:d] + shift, still])

    to_world = torch.as_tensor(
        registration.moving_to_world[place], dtype=ends.dtype, device=ends.device
    )
    mapped: Tensor = (to_world @ ends)[:3].T
    return mapped
