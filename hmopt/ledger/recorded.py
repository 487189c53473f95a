"""An oracle that never measures the same thing twice."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from hmopt.ledger.ledger import Gap, Ledger, block_of, find_gaps
from hmopt.ledger.shard import Axes
from hmopt.progress import Track, silent
from hmopt.protocol import Oracle
from hmopt.records import Block, Pair
from hmopt.space import Index, Space

VALUES_A_SHARD = 2**15
"""Values of a shard: what is lost when a process is killed, half a minute of brain slices."""


class Recorded:
    """An oracle that asks a ledger first, and writes there what it has to measure.

    Two ways to use it: `measure` returns values, as any oracle does; `fill` only sees to it that
    the ledger holds them. Each reads the ledger once.

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

    def fill(
        self,
        settings: Sequence[Index],
        pairs: Sequence[Pair],
        metrics: Sequence[str],
        track: Track = silent,
    ) -> None:
        """Measure what the ledger lacks, so that it holds every setting on every pair.

        Finished work is reused: call again to resume after an interruption.

        Parameters
        ----------
        settings
            Lattice indices.
        pairs
            The pairs.
        metrics
            Names of declared metrics.
        track
            Told of every pair at every setting, those that were measured earlier included.
        """
        gaps = self._ledger.missing(
            self.identity, self.space, settings, pairs, metrics, self.labels
        )
        total = len(settings) * len(pairs)
        for _ in track(self._filled(gaps, total), "Measuring", total):
            pass

    def compact(self) -> None:
        """Merge what was written in small pieces, so that it is read at once."""
        self._ledger.compact()

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        """Yield what the ledger has, setting by setting, then the rest as it is measured.

        Values are the same whether they were measured now or before, and those measured before an
        interruption are reused.
        """
        ids = [pair.id for pair in pairs]
        axes = Axes(
            space=self.space,
            settings=tuple(settings),
            pairs=tuple(ids),
            labels=tuple(self.labels),
        )
        cells = self._ledger.read(self.identity, axes, metrics)
        gaps = find_gaps(cells, pairs)
        lacking: dict[Index, set[str]] = {}
        for gap in gaps:
            lacking[gap.index] = {pair.id for pair in gap.pairs}
        held: dict[Index, Block] = {}
        for place, index in enumerate(settings):
            held[index] = block_of(cells, place)
        for index in settings:
            unknown = lacking.get(index, set())
            known = [pair for pair in axes.pairs if pair not in unknown]
            if known:
                yield _part(held[index], known)
        for alike in _alike(gaps):
            for fresh in self._measured(alike):
                yield _joined(held[fresh.index], fresh)

    def _filled(self, gaps: Sequence[Gap], total: int) -> Iterator[object]:
        """Fill gaps; yield something for every pair and setting, those that are no gap first."""
        lacking = sum(len(gap.pairs) for gap in gaps)
        complete = total - lacking
        yield from range(complete)
        for alike in _alike(gaps):
            for block in self._measured(alike):
                yield from block.pairs

    def _measured(self, gaps: Sequence[Gap]) -> Iterator[Block]:
        """Measure gaps of the same pairs and metrics; write them in shards of some size."""
        settings = [gap.index for gap in gaps]
        first = gaps[0]
        fresh: list[Block] = []
        count = 0
        try:
            for block in self._oracle.measure(settings, first.pairs, first.metrics):
                fresh.append(block)
                yield block
                sizes = [values.size for values in block.values.values()]
                count += sum(sizes)
                if count >= VALUES_A_SHARD:
                    self._ledger.write(self.identity, self.space, fresh)
                    fresh = []
                    count = 0
        finally:
            self._ledger.write(self.identity, self.space, fresh)


def _alike(gaps: Sequence[Gap]) -> list[list[Gap]]:
    """Return gaps grouped by what is lacking: the same metrics of the same pairs."""
    groups: dict[object, list[Gap]] = {}
    for gap in gaps:
        lacking = (gap.pairs, gap.metrics)
        group = groups.setdefault(lacking, [])
        group.append(gap)
    return list(groups.values())


def _part(block: Block, pairs: Sequence[str]) -> Block:
    """Return the rows of a block that are of some pairs."""
    numbered = enumerate(block.pairs)
    row_of_pair = {pair: row for row, pair in numbered}
    rows = [row_of_pair[pair] for pair in pairs]
    values = {}
    for metric, array in block.values.items():
        values[metric] = array[rows]
    return replace(block, pairs=tuple(pairs), values=values)


def _joined(held: Block, fresh: Block) -> Block:
    """Return fresh values, in the ledger's precision, over those that it held."""
    part = _part(held, fresh.pairs)
    values = dict(part.values)
    for metric, array in fresh.values.items():
        rounded = array.astype(np.float32)
        values[metric] = rounded.astype(np.float64)
    return replace(part, values=values)
