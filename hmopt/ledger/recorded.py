"""An oracle that never measures the same thing twice."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from hmopt.ledger.ledger import Gap, Ledger
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
        """Give blocks setting by setting: what the ledger has, then the rest as it is measured.

        Values are the same whether they were measured now or before. What was measured before an interruption is kept.
        """
        for index in settings:
            gaps = self._ledger.missing(self.identity, self.space, [index], pairs, metrics, self.labels)
            ids = [pair.id for pair in pairs]
            kept = self._ledger.block(self.identity, self.space, index, ids, metrics, self.labels)
            lacking = {pair.id for gap in gaps for pair in gap.pairs}
            if known := [pair for pair in ids if pair not in lacking]:
                yield _part(kept, known)
            for gap in gaps:
                yield from (_joined(kept, fresh) for fresh in self._measured(gap))

    def _measured(self, gap: Gap) -> Iterator[Block]:
        fresh: list[Block] = []
        try:
            for block in self._oracle.measure([gap.index], gap.pairs, gap.metrics):
                fresh.append(block)
                yield block
        finally:
            self._ledger.write(self.identity, self.space, fresh)


def _part(block: Block, pairs: Sequence[str]) -> Block:
    places = {pair: place for place, pair in enumerate(block.pairs)}
    rows = [places[pair] for pair in pairs]
    return replace(block, pairs=tuple(pairs), values={metric: array[rows] for metric, array in block.values.items()})


def _joined(kept: Block, fresh: Block) -> Block:
    """Give what is known of the fresh block's pairs, in the precision of the ledger."""
    rounded = {metric: array.astype(np.float32).astype(np.float64) for metric, array in fresh.values.items()}
    part = _part(kept, fresh.pairs)
    return replace(part, values={metric: rounded.get(metric, array) for metric, array in part.values.items()})
