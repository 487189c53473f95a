"""What an oracle is: anything that answers how good a setting is for some pairs."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from hmopt.records import Block, Pair
from hmopt.space import Index, Space


class Oracle(Protocol):
    """Answers how good settings are for pairs.

    Amortized by a hypermorph, served from a ledger, averaged over an ensemble, or retrained for each setting: what
    stands behind it is a class of its own, and who asks never knows which.
    """

    @property
    def space(self) -> Space:
        """The hyperparameters that settings are of."""
        ...

    @property
    def identity(self) -> str:
        """Hash of everything that decides the values: model and preprocessing."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that are measured."""
        ...

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Measure every setting on every pair, a block at a time, in whatever order is fastest."""
        ...
