"""Displacements of a pair at a few settings, and what lies between them: the coarse answer on large grids.

Displacements change smoothly with a setting. For the models of 160 x 160 and 48 x 64 x 48 voxels of
the committed studies, the mean of those at λ = 0.2 and 0.4 is 0.01 to 0.05 voxels from that at 0.3, of
displacements of 2 to 4 voxels.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hmopt.space import Index, Space, even_indices

Field = NDArray[np.float32]

NODES = 9
"""Values of one hyperparameter at which displacements are computed ahead, both ends included."""
NODES_OF_SEVERAL = 3
"""The same of each of several hyperparameters."""
MOST_NODES = 27


class KnownFields:
    """Displacements of one pair by setting.

    Parameters
    ----------
    space
        The hyperparameters.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> fields = KnownFields(Space(hyperparameters=(Hyperparameter(name="regularization"),)))
    >>> fields.keep((0,), np.zeros((1, 2), np.float32))
    >>> fields.keep((100,), np.ones((1, 2), np.float32))
    >>> fields.between((25,)).tolist()
    [[0.25, 0.25]]
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._fields: dict[Index, Field] = {}

    def __contains__(self, index: Index) -> bool:
        """Tell whether the displacement at a setting is known."""
        return index in self._fields

    def keep(self, index: Index, field: Field) -> None:
        """Keep the displacement at a setting."""
        self._fields[index] = field

    def between(self, index: Index) -> Field | None:
        """Return the displacement at a setting, or what stands for it; None where nothing is known.

        Of one number: interpolated linearly between the nearest known settings on both sides.
        Otherwise, or where one side is not known: that of the nearest known setting.
        """
        known = dict(self._fields)  # other threads add to it
        if index in known:
            return known[index]
        if not known:
            return None
        if len(self.space.names) == 1 and self.space.is_ordered:
            below = max((one for one in known if one < index), default=None)
            above = min((one for one in known if one > index), default=None)
            if below is not None and above is not None:
                share = np.float32(self._share(below, index, above))
                return (1 - share) * known[below] + share * known[above]
        nearest = min(known, key=lambda one: self._distance(one, index))
        return known[nearest]

    def nodes(self) -> list[Index]:
        """Return the settings to compute ahead: ends and middle first, then what lies between."""
        if not self.space.names:
            return []
        if len(self.space.names) == 1:
            (hyperparameter,) = self.space.hyperparameters
            even = even_indices(hyperparameter, NODES)
            return [(even[place],) for place in halving(len(even))]
        nodes = self.space.coarse(NODES_OF_SEVERAL)
        count = min(len(nodes), MOST_NODES)
        evenly = np.linspace(0, len(nodes) - 1, count).round().astype(int)
        return [nodes[place] for place in evenly]

    def _share(self, below: Index, index: Index, above: Index) -> float:
        low, here, high = (self._places(one)[0] for one in (below, index, above))
        return float((here - low) / (high - low))

    def _distance(self, one: Index, other: Index) -> float:
        apart = self._places(one) - self._places(other)
        return float(np.abs(apart).sum())

    def _places(self, index: Index) -> NDArray[np.float64]:
        """Return how far along its range each value is; choices that differ are far from each other."""
        places = []
        for hyperparameter, place in zip(self.space.hyperparameters, index, strict=True):
            if hyperparameter.is_ordered:
                value = hyperparameter.value(place)
                places.append(hyperparameter.to_unit_interval(value))
            else:
                places.append(len(index) * float(place))
        return np.array(places)


def halving(count: int) -> list[int]:
    """Return the places 0 to count - 1: the ends, the middle, then the middles of what is left.

    Examples
    --------
    >>> halving(5)
    [0, 4, 2, 1, 3]
    """
    last = count - 1
    order = list(dict.fromkeys([0, last]))
    order += [place for place in _middles(0, last) if place not in order]
    return order


def _middles(first: int, last: int) -> Iterator[int]:
    """Yield the middles between two places, level by level."""
    spans = [(first, last)]
    while spans:
        low, high = spans.pop(0)
        if high - low < 2:
            continue
        middle = (low + high) // 2
        yield middle
        spans += [(low, middle), (middle, high)]
