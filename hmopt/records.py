"""What passes between layers: pairs of images, and blocks of measurements."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hmopt.catalogue import find_metric
from hmopt.errors import HmoptError
from hmopt.space import Index

Checkpoint = Literal["quarter", "half", "three-quarters", "full"]
"""How much of its training a model has behind it: a quarter, half, three quarters, or all of the declared steps."""

CHECKPOINTS: tuple[Checkpoint, ...] = get_args(Checkpoint)
"""All of them, the earliest first."""


def steps_at(checkpoint: Checkpoint, steps: int) -> int:
    """Return the steps done at a checkpoint of a training of so many steps, rounded down.

    Examples
    --------
    >>> [steps_at(checkpoint, 1500) for checkpoint in CHECKPOINTS]
    [375, 750, 1125, 1500]
    """
    quarters = CHECKPOINTS.index(checkpoint) + 1
    return steps * quarters // len(CHECKPOINTS)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A moving and a fixed image of a cohort, by their names there, with the subjects they are of.

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
    def task(self) -> str:
        """`within` one subject, or `cross` two."""
        return "within" if self.moving_subject == self.fixed_subject else "cross"


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
        By metric: shape (n, m) for a metric per label, (n,) for one per pair. NaN says that there is nothing to
        measure, as for a label that is missing in either original image.

    Raises
    ------
    HmoptError
        If an array's shape is not that of its metric.
    """

    index: Index
    pairs: tuple[str, ...]
    labels: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        """Refuse arrays whose shape does not fit."""
        for name, array in self.values.items():
            shape = (
                (len(self.pairs), len(self.labels))
                if find_metric(name).per_label
                else (len(self.pairs),)
            )
            if array.shape != shape:
                raise HmoptError(
                    name, expected=f"shape {shape}", got=array.shape, advice="Give a value per row."
                )
