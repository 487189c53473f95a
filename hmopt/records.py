"""Shared types: pairs of images, what is asked of an oracle, blocks of measurements, and checkpoints of a training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hmopt.catalogue import find_metric
from hmopt.errors import HmoptError
from hmopt.space import Index

Checkpoint = Literal["quarter", "half", "three-quarters", "full"]
"""Part of the declared steps that a model was trained for: a quarter, half, three quarters, or all of them."""

CHECKPOINTS: tuple[Checkpoint, ...] = get_args(Checkpoint)
"""All checkpoints, the earliest first."""

MapKind = Literal["frequency", "fixed", "moving"]
"""What tells where structures are: training subjects, or the label map of the fixed or of the moving image."""

MAP_KINDS: tuple[MapKind, ...] = get_args(MapKind)


def steps_at(checkpoint: Checkpoint, steps: int) -> int:
    """Return the optimizer steps at a checkpoint of a training of `steps` steps, rounded down.

    Examples
    --------
    >>> [steps_at(checkpoint, 1500) for checkpoint in CHECKPOINTS]
    [375, 750, 1125, 1500]
    """
    quarters = CHECKPOINTS.index(checkpoint) + 1
    return steps * quarters // len(CHECKPOINTS)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A moving and a fixed image of a cohort, by their names, with their subjects.

    Examples
    --------
    >>> pair = Pair(moving="a_ses-1", fixed="a_ses-2", moving_subject="a", fixed_subject="a")
    >>> pair.id, pair.task
    ('a_ses-1->a_ses-2', 'within')
    """

    moving: str
    fixed: str
    moving_subject: str
    fixed_subject: str

    @property
    def id(self) -> str:
        """The name of the ordered pair."""
        return f"{self.moving}->{self.fixed}"

    @property
    def exchanged(self) -> "Pair":
        """The pair with its images exchanged."""
        return Pair(
            moving=self.fixed,
            fixed=self.moving,
            moving_subject=self.fixed_subject,
            fixed_subject=self.moving_subject,
        )

    @property
    def task(self) -> str:
        """`within` one subject, or `cross` two."""
        return "within" if self.moving_subject == self.fixed_subject else "cross"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of an oracle: each of these metrics of each pair at each setting.

    Parameters
    ----------
    settings
        Lattice indices.
    pairs
        The pairs.
    metrics
        Names of declared metrics.

    Examples
    --------
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> Request(settings=((0,), (50,)), pairs=(pair,), metrics=("dice",)).settings
    ((0,), (50,))
    """

    settings: tuple[Index, ...]
    pairs: tuple[Pair, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Measurements of several pairs at one setting, as columns.

    Parameters
    ----------
    index
        The setting on the lattice.
    pairs
        Ids of the pairs, n of them.
    labels
        Names of the labels, m of them.
    values
        By metric: shape (n, m) for a metric per label, (n,) for one per pair. NaN where there is
        nothing to measure, as for a label that one of the images lacks.
    failures
        By id, why a pair could not be registered at this setting: all its values are NaN, too.

    Raises
    ------
    HmoptError
        If an array's shape is not that of its metric.
    """

    index: Index
    pairs: tuple[str, ...]
    labels: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    failures: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse arrays whose shape does not fit."""
        for name, array in self.values.items():
            pairs = len(self.pairs)
            shape: tuple[int, ...] = (pairs,)
            if find_metric(name).per_label:
                shape = (pairs, len(self.labels))
            if array.shape != shape:
                expected = f"shape {shape}"
                advice = "Return a value for each pair, and for each label."
                raise HmoptError(name, expected=expected, got=array.shape, advice=advice)
