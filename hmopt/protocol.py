"""The oracle, the objective function behind a study; and what has it measure elsewhere."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from hmopt.records import Block, Pair, Request
from hmopt.space import Index, Space


class Oracle(Protocol):
    """Measures registrations of pairs at settings.

    The registrations can be those of a hypermorph, of networks that are trained for one setting
    each, of an ensemble, or of another program; or measurements can be read from a ledger. Each
    kind is a class of its own with these four members, and the search works with any of them.
    """

    @property
    def space(self) -> Space:
        """The hyperparameters."""
        ...

    @property
    def identity(self) -> str:
        """Hash of everything that decides the values, as model and prepared images: the key of its measurements."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the measured labels."""
        ...

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Yield the measurements of every setting on every pair, block by block, in any order.

        Parameters
        ----------
        settings
            Lattice indices.
        pairs
            Pairs of images of the cohort.
        metrics
            Names of declared metrics.
        """
        ...


class Dispatcher(Protocol):
    """Has an oracle's measurements made elsewhere, as in other processes or on other machines."""

    def measure(self, requests: Sequence[Request]) -> Iterator[Block]:
        """Yield the measurements of every request, block by block, in any order.

        Parameters
        ----------
        requests
            Each is measured at one place.
        """
        ...
