"""An oracle that never measures the same thing twice."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from hmopt.catalogue import find_metric
from hmopt.ledger.ledger import Gap, Ledger, block_of, find_gaps
from hmopt.ledger.manifest import Shard
from hmopt.ledger.shard import Axes
from hmopt.progress import Track, silent
from hmopt.protocol import Oracle
from hmopt.records import Block, Pair
from hmopt.space import Index, Space

VALUES_A_SHARD = 2**15
"""Values of a shard: what is lost when a process is killed, half a minute of brain slices."""
SECONDS_A_SHARD = 60.0
"""What there is of a shard is also written after this time: an engine may take a minute for one pair."""


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
        self._agree(metrics)
        gaps = self._ledger.missing(
            self.identity, self.space, settings, pairs, metrics, self.labels
        )
        total = len(settings) * len(pairs)
        # closed also where what shows the progress is interrupted, so that all that was measured is
        # written
        with closing(self._filled(gaps, total)) as filled:
            for _ in track(filled, "Measuring", total):
                pass

    def forget_failures(self) -> dict[Index, dict[str, str]]:
        """Forget the registrations that failed, so that they are made again when they are asked for.

        Returns
        -------
        dict
            By setting and id of the pair, why they had failed.
        """
        failures = self._ledger.failures(self.identity, self.space)
        self._ledger.forget_failures(self.identity, self.space)
        return failures

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
        self._agree(metrics)
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
        failures = self._ledger.failures(self.identity, self.space)
        held: dict[Index, Block] = {}
        for place, index in enumerate(settings):
            reasons = failures.get(index, {})
            known_failures = {pair: reasons[pair] for pair in axes.pairs if pair in reasons}
            held[index] = replace(block_of(cells, place), failures=known_failures)
        for index in settings:
            unknown = lacking.get(index, set())
            known = [pair for pair in axes.pairs if pair not in unknown]
            if known:
                yield _part(held[index], known)
        for alike in _alike(gaps):
            for fresh in self._measured(alike):
                yield _joined(held[fresh.index], fresh)

    def _agree(self, metrics: Sequence[str]) -> None:
        """Remove what was measured where a metric meant something else, if the oracle knows of such metrics."""
        context_of = getattr(self._oracle, "context_of", None)
        if context_of is None:
            return
        asked = {name: context_of(name) for name in metrics}
        contexts = {name: context for name, context in asked.items() if context is not None}
        if contexts:
            self._ledger.agree(self.identity, self.space, contexts)

    def _filled(self, gaps: Sequence[Gap], total: int) -> Generator[object]:
        """Fill gaps; yield something for every pair and setting, those that are no gap first."""
        lacking = sum(len(gap.pairs) for gap in gaps)
        complete = total - lacking
        yield from range(complete)
        for alike in _alike(gaps):
            with closing(self._measured(alike)) as measured:
                for block in measured:
                    yield from block.pairs

    def _measured(self, gaps: Sequence[Gap]) -> Generator[Block]:
        """Measure gaps of the same pairs and metrics; write them in shards of some size.

        What takes long is written before a shard is full, and again with the rest of it: so the shards
        are the same however fast they were measured.
        """
        known = self._known_failures(gaps)
        fresh: list[Block] = []
        begun: Shard | None = None
        count = 0
        written_at = time.monotonic()
        try:
            for block in self._blocks(gaps, known):
                fresh.append(block)
                yield block
                sizes = [values.size for values in block.values.values()]
                count += sum(sizes)
                is_full = count >= VALUES_A_SHARD
                is_late = time.monotonic() - written_at >= SECONDS_A_SHARD
                if is_full or is_late:
                    begun = self._ledger.write(self.identity, self.space, fresh, begun)
                    written_at = time.monotonic()
                if is_full:
                    fresh = []
                    begun = None
                    count = 0
        finally:
            self._ledger.write(self.identity, self.space, fresh, begun)

    def _known_failures(self, gaps: Sequence[Gap]) -> dict[Index, dict[str, str]]:
        """Return why pairs failed at the settings of gaps: another metric is not measured of them."""
        failures = self._ledger.failures(self.identity, self.space)
        found = {}
        for gap in gaps:
            reasons = failures.get(gap.index, {})
            of_gap = {pair.id: reasons[pair.id] for pair in gap.pairs if pair.id in reasons}
            if of_gap:
                found[gap.index] = of_gap
        return found

    def _blocks(
        self, gaps: Sequence[Gap], failures: dict[Index, dict[str, str]]
    ) -> Iterator[Block]:
        """Measure gaps, but for pairs that are known to fail: of these all is NaN."""
        settings = [gap.index for gap in gaps if gap.index not in failures]
        pairs, metrics = gaps[0].pairs, gaps[0].metrics
        if settings:
            yield from self._oracle.measure(settings, pairs, metrics)
        for index, reasons in failures.items():
            yield failed_block(index, reasons, self.labels, metrics)
            others = [pair for pair in pairs if pair.id not in reasons]
            if others:
                yield from self._oracle.measure([index], others, metrics)


def failed_block(
    index: Index, reasons: Mapping[str, str], labels: Sequence[str], metrics: Sequence[str]
) -> Block:
    """Return the block of pairs that could not be registered: every value is NaN.

    Examples
    --------
    >>> failed_block((3,), {"a->b": "crash"}, ["cortex"], ["folding"]).values
    {'folding': array([nan])}
    """
    values = {}
    for metric in metrics:
        shape: tuple[int, ...] = (len(reasons),)
        if find_metric(metric).per_label:
            shape = (len(reasons), len(labels))
        values[metric] = np.full(shape, np.nan)
    return Block(
        index=index,
        pairs=tuple(reasons),
        labels=tuple(labels),
        values=values,
        failures=dict(reasons),
    )


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
    failures = {pair: block.failures[pair] for pair in pairs if pair in block.failures}
    return replace(block, pairs=tuple(pairs), values=values, failures=failures)


def _joined(held: Block, fresh: Block) -> Block:
    """Return fresh values, in the ledger's precision, over those that it held."""
    part = _part(held, fresh.pairs)
    values = dict(part.values)
    for metric, array in fresh.values.items():
        rounded = array.astype(np.float32)
        values[metric] = rounded.astype(np.float64)
    return replace(part, values=values, failures=fresh.failures)
