"""An oracle that never measures the same thing twice."""

from collections.abc import Iterator, Sequence

from hmopt.ledger.ledger import Gap, Ledger
from hmopt.progress import Track, silent
from hmopt.protocol import Oracle
from hmopt.records import Block, Pair
from hmopt.space import Index, Space


class Recorded:
    """An oracle that asks a ledger first, and writes there what it has to measure.

    Parameters
    ----------
    oracle
        What measures.
    ledger
        What keeps.
    """

    def __init__(self, oracle: Oracle, ledger: Ledger) -> None:
        self._oracle = oracle
        self._ledger = ledger

    @property
    def space(self) -> Space:
        """The measuring oracle's hyperparameters."""
        return self._oracle.space

    @property
    def identity(self) -> str:
        """The measuring oracle's identity."""
        return self._oracle.identity

    @property
    def labels(self) -> tuple[str, ...]:
        """The measuring oracle's labels."""
        return self._oracle.labels

    def measure(self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]) -> Iterator[Block]:
        """Give a block for each setting, as it stands in the ledger after what was missing has been measured."""
        ids = [pair.id for pair in pairs]
        for index in settings:
            self.fill([index], pairs, metrics)
            yield self._ledger.block(self.identity, self.space, index, ids, metrics, self.labels)

    def fill(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str], track: Track = silent
    ) -> None:
        """Measure what the ledger lacks; what was measured before an interruption is kept.

        Parameters
        ----------
        settings, pairs, metrics
            What is to be in the ledger.
        track
            Told of every setting of every pair, those that were there already included.
        """
        gaps = self._ledger.missing(self.identity, self.space, settings, pairs, metrics, self.labels)
        total = len(settings) * len(pairs)
        start = total - sum(len(gap.pairs) for gap in gaps)
        if gaps:
            for _ in track(self._measured(gaps), "Measuring", total, start):
                pass

    def _measured(self, gaps: Sequence[Gap]) -> Iterator[str]:
        for gap in gaps:
            fresh: list[Block] = []
            try:
                for block in self._oracle.measure([gap.index], gap.pairs, gap.metrics):
                    fresh.append(block)
                    yield from block.pairs
            finally:
                self._ledger.write(self.identity, self.space, fresh)
