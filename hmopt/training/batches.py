"""What a training step sees: a setting, pairs of subjects, and their augmented images.

All of it is a function of the seed and the step alone, so that a training can be resumed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hmopt.data.pairs import possible_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import Study, TrainingOptions
from hmopt.errors import DataError
from hmopt.records import Pair
from hmopt.space import Setting, Space, Value
from hmopt.spatial import divided, divided_if_any, image_tensor, label_tensor, warp
from hmopt.training.augmentation import random_displacement, random_gamma


@dataclass(frozen=True, kw_only=True)
class Batch:
    """n pairs of images and, where the loss needs them, of label maps.

    Parameters
    ----------
    moving, fixed
        (n, 1, *shape).
    moving_labels, fixed_labels
        (n, *shape), whole numbers, or None.

    Examples
    --------
    >>> images = torch.zeros(2, 1, 8, 8)
    >>> batch = Batch(moving=images, fixed=images, moving_labels=None, fixed_labels=None)
    >>> batch.to(torch.device("cpu")).fixed.shape
    torch.Size([2, 1, 8, 8])
    """

    moving: Tensor
    fixed: Tensor
    moving_labels: Tensor | None
    fixed_labels: Tensor | None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(
            moving=self.moving.to(device),
            fixed=self.fixed.to(device),
            moving_labels=_sent(self.moving_labels, device),
            fixed_labels=_sent(self.fixed_labels, device),
        )

    def divided(self, count: int) -> list["Batch"]:
        """Return the batch in parts, in its order; where it does not divide evenly, the first have one pair more."""
        moving = divided(self.moving, count)
        fixed = divided(self.fixed, count)
        moving_labels = divided_if_any(self.moving_labels, count)
        fixed_labels = divided_if_any(self.fixed_labels, count)
        parts = zip(moving, fixed, moving_labels, fixed_labels, strict=True)
        return [Batch(moving=a, fixed=b, moving_labels=c, fixed_labels=d) for a, b, c, d in parts]


def _sent(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    if tensor is None:
        return None
    return tensor.to(device)


def draw_settings(space: Space, count: int, generator: np.random.Generator) -> list[Setting]:
    """Draw settings that are spread evenly over the prior, a Latin hypercube.

    Each alone is distributed as the prior: with r the `end_point_rate`, the place of a float along
    its range is 0 with probability r, 1 with probability r, and uniform on [0, 1) otherwise; it is
    not bound to the lattice. Each value of an integer is as probable as the others (see
    `hmopt.Hyperparameter.draw`). Together, the k uniform numbers u behind the values of one
    hyperparameter are (u + j/k) mod 1, j = 0 … k-1, in random order.

    Parameters
    ----------
    space
        The hyperparameters.
    count
        k, the number of settings.
    generator
        Source of randomness; two numbers are drawn for each hyperparameter, whatever k.

    Returns
    -------
    list of Setting
        A value for each hyperparameter, in each of k settings.

    References
    ----------
    Hoopes et al., MELBA 2022, section 3.2 (the prior); McKay, Beckman and Conover, Technometrics
    21, 1979 (Latin hypercubes).

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", end_point_rate=0),))
    >>> settings = draw_settings(space, 4, np.random.default_rng(0))
    >>> sorted(int(4 * setting["regularization"]) for setting in settings)
    [0, 1, 2, 3]
    """
    (orders,) = generator.spawn(1)
    settings: list[dict[str, Value]] = [{} for _ in range(count)]
    for hyperparameter in space.hyperparameters:
        share, place = generator.random(2)
        shares = _spread(share, count, orders)
        places = _spread(place, count, orders)
        for setting, one_share, one_place in zip(settings, shares, places, strict=True):
            setting[hyperparameter.name] = hyperparameter.draw(one_share, one_place)
    return [*settings]


def _spread(number: float, count: int, generator: np.random.Generator) -> list[float]:
    """Return numbers in [0, 1) at equal distances, one of them the given number, in random order."""
    shifts = generator.permutation(count) / count
    spread: list[float] = np.mod(number + shifts, 1.0).tolist()
    return spread


def training_pairs(study: Study, cohort: PreparedCohort) -> dict[str, list[Pair]]:
    """Return the pairs to train on by kind, none of them empty.

    Raises
    ------
    DataError
        If there is none at all.
    """
    pairs = {}
    for kind in study.pairs.tasks:
        of_this_kind = study.pairs.model_copy(update={"tasks": [kind]})
        found = possible_pairs(cohort, of_this_kind, "train")
        if found:
            pairs[str(kind)] = found
    if not pairs:
        raise DataError(
            "pairs.tasks",
            expected="pairs among the subjects to train on",
            got="none",
            advice="Declare other tasks, or more subjects in split.train.",
        )
    return pairs


def draw_pairs(
    pairs: Mapping[str, Sequence[Pair]], count: int, generator: np.random.Generator
) -> list[Pair]:
    """Draw pairs, every kind equally often, however many there are of each.

    Parameters
    ----------
    pairs
        All possible pairs by kind, none of them empty.
    count
        How many to draw, with replacement.
    generator
        Source of randomness.

    Examples
    --------
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> len(draw_pairs({"cross": [pair]}, 4, np.random.default_rng(0)))
    4
    """
    every_kind = list(pairs.values())
    kinds = [generator.integers(len(every_kind)) for _ in range(count)]
    drawn = []
    for kind in kinds:
        of_this_kind = every_kind[kind]
        place = generator.integers(len(of_this_kind))
        pair = of_this_kind[int(place)]
        drawn.append(pair)
    return drawn


def load_images(cohort: PreparedCohort, names: Sequence[str]) -> Tensor:
    """Load prepared images as one tensor.

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
    >>> image = np.zeros((4, 6), np.float32)
    >>> cohort = SimpleNamespace(image=lambda name: image)  # stands for a prepared cohort
    >>> load_images(cohort, ["a", "b"]).shape
    torch.Size([2, 1, 4, 6])
    """
    images = [cohort.image(name) for name in names]
    return image_tensor(images)


def load_labels(cohort: PreparedCohort, names: Sequence[str]) -> Tensor:
    """Load prepared label maps as one tensor.

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
    >>> label_map = np.ones((4, 6), np.uint8)
    >>> cohort = SimpleNamespace(label_map=lambda name: label_map)  # stands for a prepared cohort
    >>> load_labels(cohort, ["a", "b"]).dtype
    torch.int64
    """
    label_maps = [cohort.label_map(name) for name in names]
    tensor = label_tensor(label_maps)
    return tensor.long()


def make_batch(
    cohort: PreparedCohort,
    pairs: Sequence[Pair],
    options: TrainingOptions,
    generator: np.random.Generator,
    with_labels: bool,
    own: slice | None = None,
) -> Batch:
    """Load the images of some pairs and augment them.

    Every image has a displacement and a gamma of its own, which its label map follows. The whole
    batch is mirrored, or not: a mirrored image is never paired with one that is not.

    Parameters
    ----------
    cohort
        Holds the images.
    pairs
        n of them.
    options
        Declares the augmentation.
    generator
        Source of randomness.
    with_labels
        Whether the loss needs label maps.
    own
        The pairs that are loaded, each as if all were; None: all.

    Returns
    -------
    Batch
        These pairs.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> image = np.zeros((4, 6), np.float32)
    >>> cohort = SimpleNamespace(image=lambda name: image, shape=(4, 6))  # a prepared cohort
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> generator = np.random.default_rng(0)
    >>> make_batch(cohort, [pair], TrainingOptions(), generator, with_labels=False).moving.shape
    torch.Size([1, 1, 4, 6])
    """
    augmentation = options.augmentation
    # moving images, then fixed ones; numbers are drawn for all, as each process of several does
    drawn = 2 * len(pairs)
    moving_rows = range(len(pairs))[own or slice(None)]
    fixed_rows = range(len(pairs), drawn)[own or slice(None)]
    rows = [*moving_rows, *fixed_rows]
    count = len(moving_rows)
    moving = [pairs[row].moving for row in moving_rows]
    fixed = [pairs[row].fixed for row in moving_rows]
    names = moving + fixed

    images = load_images(cohort, names)
    images = random_gamma(augmentation, images, generator, drawn, rows)
    labels = load_labels(cohort, names)[:, None].float() if with_labels else None

    displacement = random_displacement(augmentation, drawn, cohort.shape, generator, rows)
    if displacement is not None:
        images = warp(images, displacement)
        labels = None if labels is None else warp(labels, displacement, "nearest")

    axis = augmentation.flip_axis
    if axis is not None and generator.random() < 0.5:
        images = images.flip(axis + 2)
        labels = None if labels is None else labels.flip(axis + 2)

    label_maps = None if labels is None else labels[:, 0].round().long()
    return Batch(
        moving=images[:count],
        fixed=images[count:],
        moving_labels=None if label_maps is None else label_maps[:count],
        fixed_labels=None if label_maps is None else label_maps[count:],
    )
