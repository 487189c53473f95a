"""Velocities that stay in memory because they are soon asked for again."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class Found(NamedTuple):
    """A velocity, and how long it took to find."""

    velocity: Tensor
    seconds: float


class LatestVelocities(Generic[Key]):
    """The velocities that were found last, as many as fit.

    Parameters
    ----------
    most_bytes
        What they may take together. The last one stays in any case.

    Examples
    --------
    Of three velocities of 16 bytes two fit into 40:

    >>> import torch
    >>> latest: LatestVelocities[str] = LatestVelocities(most_bytes=40)
    >>> for name in ["first", "second", "third"]:
    ...     latest.keep(name, torch.zeros(4))
    >>> latest.find("first") is None, latest.find("second")
    (True, Found(velocity=tensor([0., 0., 0., 0.]), seconds=0.0))
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, Found] = OrderedDict()

    def find(self, key: Key) -> Found | None:
        """Return the velocity of a key, or None where it is not there (any more)."""
        return self._kept.get(key)

    def keep(self, key: Key, velocity: Tensor, seconds: float = 0.0) -> None:
        """Keep a copy of a velocity, all of the same size, and forget the oldest that no longer fit."""
        # a row of a batch would keep the whole batch in memory
        self._kept[key] = Found(velocity.clone(), seconds)
        while len(self._kept) > 1 and len(self._kept) * velocity.nbytes > self._most_bytes:
            self._kept.popitem(last=False)
