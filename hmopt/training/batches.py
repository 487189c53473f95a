"""Batches of training pairs, a function of seed and step alone, so that training continues where it stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import TrainingOptions
from hmopt.records import Pair
from hmopt.spatial import warp
from hmopt.spatial.tensors import image_tensor, label_tensor
from hmopt.training.augmentation import random_displacement, random_gamma


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images (n, 1, *shape) and, where the loss needs them, label maps (n, *shape) of n pairs.

    Examples
    --------
    >>> images = torch.zeros(2, 1, 8, 8)
    >>> Batch(moving=images, fixed=images, moving_labels=None, fixed_labels=None).to(torch.device("cpu")).fixed.shape
    torch.Size([2, 1, 8, 8])
    """

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor | None
    fixed_labels: Tensor | None

    def to(self, device: torch.device) -> "Batch":
        """Give the batch on a device."""
        return Batch(
            moving=self.moving.to(device),
            fixed=self.fixed.to(device),
            moving_labels=None if self.moving_labels is None else self.moving_labels.to(device),
            fixed_labels=None if self.fixed_labels is None else self.fixed_labels.to(device),
        )


def draw_pairs(
    pairs: Mapping[str, Sequence[Pair]], count: int, generator: np.random.Generator
) -> list[Pair]:
    """Draw pairs of every kind equally often, however many there are of each.

    Parameters
    ----------
    pairs
        All possible pairs by kind, none of them empty.
    count
        How many to draw, with replacement.
    generator
        Where randomness comes from.

    Examples
    --------
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> len(draw_pairs({"cross": [pair]}, 4, np.random.default_rng(0)))
    4
    """
    kinds = list(pairs)
    drawn = [pairs[kinds[generator.integers(len(kinds))]] for _ in range(count)]
    return [kind[int(generator.integers(len(kind)))] for kind in drawn]


def load_images(cohort: PreparedCohort, names: Sequence[str]) -> Tensor:
    """Give prepared images as one tensor.

    Parameters
    ----------
    cohort
        Holds the images.
    names
        Of n items of the cohort.

    Returns
    -------
    Tensor
        (n, 1, *shape), float32.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> cohort = SimpleNamespace(image=lambda name: np.zeros((4, 6), np.float32))  # stands for a prepared cohort
    >>> load_images(cohort, ["a", "b"]).shape
    torch.Size([2, 1, 4, 6])
    """
    return image_tensor([cohort.image(name) for name in names])


def load_labels(cohort: PreparedCohort, names: Sequence[str]) -> Tensor:
    """Give prepared label maps as one tensor.

    Parameters
    ----------
    cohort
        Holds the label maps.
    names
        Of n items of the cohort.

    Returns
    -------
    Tensor
        (n, *shape), int64.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> cohort = SimpleNamespace(label_map=lambda name: np.ones((4, 6), np.uint8))  # stands for a prepared cohort
    >>> load_labels(cohort, ["a", "b"]).dtype
    torch.int64
    """
    return label_tensor([cohort.label_map(name) for name in names]).long()


def make_batch(
    cohort: PreparedCohort,
    pairs: Sequence[Pair],
    section: TrainingOptions,
    generator: np.random.Generator,
    with_labels: bool,
) -> Batch:
    """Load the images of some pairs and augment each.

    Parameters
    ----------
    cohort
        Holds the images.
    pairs
        n of them.
    section
        Declares the augmentation.
    generator
        Where randomness comes from.
    with_labels
        Whether the loss needs label maps.

    Returns
    -------
    Batch
        The n pairs; label maps are transformed as their images are.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> image = np.zeros((4, 6), np.float32)
    >>> cohort = SimpleNamespace(image=lambda name: image, shape=(4, 6))  # stands for a prepared cohort
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> make_batch(cohort, [pair], TrainingOptions(), np.random.default_rng(0), with_labels=False).moving.shape
    torch.Size([1, 1, 4, 6])
    """
    names = [pair.moving for pair in pairs] + [pair.fixed for pair in pairs]
    images = random_gamma(section.augmentation, load_images(cohort, names), generator)
    labels = load_labels(cohort, names)[:, None].float() if with_labels else None
    displacement = random_displacement(section.augmentation, len(names), cohort.shape, generator)
    if displacement is not None:
        images = warp(images, displacement)
        labels = warp(labels, displacement, "nearest") if labels is not None else None
    axis = section.augmentation.flip_axis
    if axis is not None and generator.random() < 0.5:
        images = images.flip(axis + 2)
        labels = labels.flip(axis + 2) if labels is not None else None
    label_maps = None if labels is None else labels[:, 0].round().long()
    return Batch(
        moving=images[: len(pairs)],
        fixed=images[len(pairs) :],
        moving_labels=None if label_maps is None else label_maps[: len(pairs)],
        fixed_labels=None if label_maps is None else label_maps[len(pairs) :],
    )
