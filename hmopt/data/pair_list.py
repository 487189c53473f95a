"""Very many pairs of images, as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from hmopt.records import Pair


@dataclass(frozen=True, kw_only=True, eq=False)
class PairList(Sequence[Pair]):
    """Pairs among n images; a record is made of one when it is looked at.

    Parameters
    ----------
    names, subjects
        Of the images, n each.
    moving, fixed
        Positions of the images of each pair, shape (pairs,).

    Examples
    --------
    >>> pairs = PairList(names=["a1", "b1"], subjects=["a", "b"], moving=np.array([0, 1]), fixed=np.array([1, 0]))
    >>> [pair.id for pair in pairs]
    ['a1->b1', 'b1->a1']
    """

    names: Sequence[str]
    subjects: Sequence[str]
    moving: NDArray[np.integer]
    fixed: NDArray[np.integer]

    def __len__(self) -> int:
        """Give the number of pairs."""
        return len(self.moving)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> "PairList": ...
    def __getitem__(self, place: int | slice) -> "Pair | PairList":
        """Give the pair at a place, or those of a slice."""
        if isinstance(place, slice):
            return replace(self, moving=self.moving[place], fixed=self.fixed[place])
        moving, fixed = self.moving[place], self.fixed[place]
        return Pair(
            moving=self.names[moving],
            fixed=self.names[fixed],
            moving_subject=self.subjects[moving],
            fixed_subject=self.subjects[fixed],
        )

    def joined(self, other: "PairList") -> "PairList":
        """Give these pairs, then those of the same images that are not among them."""
        moving, fixed = np.append(self.moving, other.moving), np.append(self.fixed, other.fixed)
        _, first = np.unique(moving.astype(np.int64) * len(self.names) + fixed, return_index=True)
        first.sort()
        return replace(self, moving=moving[first], fixed=fixed[first])
