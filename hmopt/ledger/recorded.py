"""An oracle that never measures the same thing twice."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from hmopt.ledger.ledger import Gap, Ledger
from hmopt.protocol import Oracle
from hmopt.records import Block, Pair
from hmopt.space import Index, Space

VALUES_A_SHARD = 2**15
"""Values that are kept together: what a process that is killed can lose, half a minute of measuring brain slices."""


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

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Give what the ledger has, setting by setting, then the rest as it is measured.

        Values are the same whether they were measured now or before. What was measured before an interruption is kept.
        """
        ids = [pair.id for pair in pairs]
        gaps = self._ledger.missing(
            self.identity, self.space, settings, pairs, metrics, self.labels
        )
        lacking = {gap.index: {pair.id for pair in gap.pairs} for gap in gaps}
        kept: dict[Index, Block] = {}
        for index in settings:
            block = self._ledger.block(self.identity, self.space, index, ids, metrics, self.labels)
            unknown = lacking.get(index, set())
            if unknown:
                kept[index] = block
            if known := [pair for pair in ids if pair not in unknown]:
                yield _part(block, known)
        for alike in _alike(gaps):
            yield from (_joined(kept[fresh.index], fresh) for fresh in self._measured(alike))

    def _measured(self, gaps: Sequence[Gap]) -> Iterator[Block]:
        """Measure gaps of the same pairs and metrics, and keep what comes in shards of some size."""
        fresh, count = list[Block](), 0
        try:
            for block in self._oracle.measure(
                [gap.index for gap in gaps], gaps[0].pairs, gaps[0].metrics
            ):
                fresh.append(block)
                yield block
                count += sum(values.size for values in block.values.values())
                if count >= VALUES_A_SHARD:
                    self._ledger.write(self.identity, self.space, fresh)
                    fresh, count = [], 0
        finally:
            self._ledger.write(self.identity, self.space, fresh)


def _alike(gaps: Sequence[Gap]) -> list[list[Gap]]:
    """Put together the gaps that lack the same metrics of the same pairs."""
    groups: dict[object, list[Gap]] = {}
    for gap in gaps:
        groups.setdefault((gap.pairs, gap.metrics), []).append(gap)
    return list(groups.values())


def _part(block: Block, pairs: Sequence[str]) -> Block:
    places = {pair: place for place, pair in enumerate(block.pairs)}
    rows = [places[pair] for pair in pairs]
    return replace(
        block,
        pairs=tuple(pairs),
        values={metric: array[rows] for metric, array in block.values.items()},
    )


def _joined(kept: Block, fresh: Block) -> Block:
    """Give what is known of the fresh block's pairs, in the precision of the ledger."""
    rounded = {
        metric: array.astype(np.float32).astype(np.float64)
        for metric, array in fresh.values.items()
    }
    part = _part(kept, fresh.pairs)
    return replace(
        part, values={metric: rounded.get(metric, array) for metric, array in part.values.items()}
    )
