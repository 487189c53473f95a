"""The loss of a training: its terms for a batch, and the scale that fixes what λ means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import LossOptions, Study
from hmopt.errors import DataError, DeclarationError
from hmopt.losses import ImageLoss, RegisteredBatch, Terms, find_similarity, loss_terms
from hmopt.networks import RegistrationNetwork
from hmopt.records import Pair
from hmopt.space import Setting, numbers_of
from hmopt.training.batches import Batch, load_images, training_pairs

PAIRS_LOOKED_AT = 64
"""Training pairs, at most, from which the loss scale is estimated."""
ANISOTROPY = 1.01
"""Ratio of the largest to the smallest voxel side above which regularizers see the spacing."""


class Model(Protocol):
    """What registers at settings: a hypermorph, or a network of one setting."""

    registration: RegistrationNetwork

    def __call__(self, moving: Tensor, fixed: Tensor, setting: Setting) -> Tensor:
        """Predict the velocity of images of shape (batch, 1, *shape) at a setting."""
        ...


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The loss of a training.

    Parameters
    ----------
    options
        Declares its terms.
    scale
        What the similarity loss is multiplied by.
    overlap_labels
        Values in the label maps that the overlap loss sees.
    spacing
        Size of a voxel where the cohort's spacing is anisotropic, else None.

    Examples
    --------
    >>> Loss(options=LossOptions(), scale=2.0, overlap_labels=(1, 2), spacing=None).scale
    2.0
    """

    options: LossOptions
    scale: float
    overlap_labels: tuple[int, ...]
    spacing: tuple[float, ...] | None

    def terms(self, model: Model, batch: Batch, setting: Setting) -> Terms:
        """Register a batch at a setting and compute the terms of its loss.

        Without label maps the overlap loss is 0.
        """
        velocity = model(batch.moving, batch.fixed, setting)
        registered = RegisteredBatch(
            moving=batch.moving,
            fixed=batch.fixed,
            moving_labels=batch.moving_labels,
            fixed_labels=batch.fixed_labels,
            velocity=velocity,
            displacement=model.registration.displacement(velocity),
            spacing=self.spacing,
            options=self.options,
            overlap_labels=self.overlap_labels,
            scale=self.scale,
        )
        return loss_terms(registered, numbers_of(setting))


def declared_loss(study: Study, cohort: PreparedCohort, scale: float) -> Loss:
    """Return the declared loss of a cohort.

    Raises
    ------
    DeclarationError
        If the overlap loss is to see labels that the cohort lacks.
    """
    labels = list(cohort.labels)
    seen = study.loss.overlap_labels or labels
    unknown = set(seen) - set(labels)
    if unknown:
        raise DeclarationError(
            "loss.overlap_labels",
            expected=f"names among {', '.join(labels)}",
            got=", ".join(sorted(unknown)),
            advice="Correct the names.",
        )
    label_values = [labels.index(name) + 1 for name in seen]
    return Loss(
        options=study.loss,
        scale=scale,
        overlap_labels=tuple(label_values),
        spacing=anisotropic_spacing(cohort.spacing_mm),
    )


def anisotropic_spacing(spacing_mm: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return the spacing where regularizers see it: where the sides of a voxel differ.

    Examples
    --------
    >>> anisotropic_spacing((1.0, 1.005)), anisotropic_spacing((1.0, 2.0))
    (None, (1.0, 2.0))
    """
    if spacing_mm is None or max(spacing_mm) <= ANISOTROPY * min(spacing_mm):
        return None
    return tuple(spacing_mm)


def study_scale(study: Study, cohort: PreparedCohort) -> float:
    """Return the loss scale of a study: the declared one, or that of its training pairs.

    Raises
    ------
    DataError
        If there is no pair to train on, or pairs do not differ.
    """
    by_kind = training_pairs(study, cohort)
    every_pair: list[Pair] = []
    for pairs in by_kind.values():
        every_pair.extend(pairs)
    seed = study.training.seed
    return loss_scale(cohort, every_pair, study.loss, seed)


def loss_scale(
    cohort: PreparedCohort, pairs: Sequence[Pair], options: LossOptions, seed: int
) -> float:
    """Return the declared loss scale, or estimate it from unregistered training pairs.

    With D the similarity loss and the mean over pairs (m, f),

        scale = 1 / mean(D(m, f) - D(f, f))

    so that unregistered pairs differ from identical images by 1, and λ means much the same from
    cohort to cohort.

    Parameters
    ----------
    cohort, pairs
        Training pairs; at most 64, drawn at random, are looked at.
    options
        Declares the similarity.
    seed
        Of the draw.

    Returns
    -------
    float
        What the similarity loss is multiplied by, > 0.

    Raises
    ------
    DataError
        If registered pairs could not be told from unregistered ones by the similarity.

    References
    ----------
    Hoopes et al., MELBA 2022, divide the squared error by an estimate of the images' noise for the
    same purpose.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> images = {"a": np.zeros((4, 4), np.float32), "b": np.full((4, 4), 0.5, np.float32)}
    >>> cohort = SimpleNamespace(image=images.get)  # stands for a prepared cohort
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> loss_scale(cohort, [pair], LossOptions(similarity="mse"), seed=0)
    4.0
    """
    if options.scale is not None:
        return options.scale
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(pairs))[:PAIRS_LOOKED_AT]
    similarity = find_similarity(options)
    with torch.inference_mode():
        gaps = [_gap(cohort, pairs[place], similarity) for place in order]
    gap = float(np.mean(gaps))
    if not gap > 1e-8:
        raise DataError(
            "loss.scale",
            expected="training pairs that differ",
            got=f"a mean difference of {gap:.3g} in {options.similarity}",
            advice="Check the images, or declare a scale.",
        )
    return float(f"{1 / gap:.6g}")


def _gap(cohort: PreparedCohort, pair: Pair, similarity: ImageLoss) -> float:
    """Compute D(m, f) - D(f, f) of one pair."""
    images = load_images(cohort, [pair.moving, pair.fixed])
    moving = images[:1]
    fixed = images[1:]
    unregistered = similarity(moving, fixed)
    identical = similarity(fixed, fixed)
    return float(unregistered - identical)
