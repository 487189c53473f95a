"""An oracle that never measures the same thing twice, nor what another process is measuring.

What a ledger lacks is cut into blocks of pairs × settings. A process takes some of them (`leases`),
measures them, writes them, and takes the next; so several processes divide a sweep. At the end each
waits for the blocks that others are at, and goes on with the whole ledger:

    pairs       1…8      9…16     17…24    25…32
    alpha       ████              ████                      waits
    beta                 █████             ██████████

With a dispatcher one process holds all that is free, has it measured elsewhere, and writes what comes.
"""

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from hmopt.catalogue import find_metric
from hmopt.ledger.leases import Leases, Work
from hmopt.ledger.ledger import Gap, Ledger, block_of, find_gaps
from hmopt.ledger.manifest import Shard
from hmopt.ledger.shard import Axes
from hmopt.progress import Track, silent
from hmopt.protocol import Dispatcher, Oracle
from hmopt.records import Block, Pair, Request
from hmopt.space import Index, Space

VALUES_A_SHARD = 2**15
"""Values of a shard: what is lost when a process is killed, half a minute of brain slices."""
SECONDS_A_SHARD = 60.0
"""What there is of a shard is also written after this time: an engine may take a minute for one pair."""
PAIRS_A_BLOCK = 8
"""Pairs that are taken together, or as many more as fill the batches of an oracle."""
SETTINGS_A_BLOCK = 64
"""Settings that are taken together: an oracle reads the images of pairs once for so many."""
BLOCKS_TO_DIVIDE = 32
"""Blocks of a small request are of fewer settings, so that workers that divide it end together."""
SECONDS_A_LEASE = 15.0
"""What is taken at once grows until it takes so long to measure, and does not grow beyond."""

DISPATCHED_VALUES_A_SHARD = 2**18
"""Values of a shard where many measure, so that there are not thousands of them."""
DISPATCHED_LEASES = 64
"""Leases that a request is cut into where many measure: all stand in one file."""
DISPATCHED_BLOCKS = 1024
"""Blocks that many measure are of fewer settings where there would be fewer of them."""


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
    dispatcher
        Has the oracle measure elsewhere; None: it measures here.
    """

    def __init__(
        self, oracle: Oracle, ledger: Ledger, dispatcher: Dispatcher | None = None
    ) -> None:
        self._oracle = oracle
        self._ledger = ledger
        self._dispatcher = dispatcher

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

    @property
    def leases(self) -> Leases:
        """Who is at which work on the ledger's folder."""
        return self._ledger.leases

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
        request = Request(settings=tuple(settings), pairs=tuple(pairs), metrics=tuple(metrics))
        total = len(settings) * len(pairs)
        # closed also where what shows the progress is interrupted, so that all that was measured is
        # written
        with closing(self._filled(request, track)) as filled:
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
        request = Request(settings=axes.settings, pairs=tuple(pairs), metrics=tuple(metrics))
        with closing(self._shared(request, gaps, silent)) as shared:
            for fresh, _ in shared:
                if fresh is not None:
                    yield _joined(held[fresh.index], fresh)
                    lacking[fresh.index] -= set(fresh.pairs)
        yield from self._of_others(axes, metrics, lacking)

    def _agree(self, metrics: Sequence[str]) -> None:
        """Remove what was measured where a metric meant something else, if the oracle knows of such metrics."""
        context_of = getattr(self._oracle, "context_of", None)
        if context_of is None:
            return
        asked = {name: context_of(name) for name in metrics}
        contexts = {name: context for name, context in asked.items() if context is not None}
        if contexts:
            self._ledger.agree(self.identity, self.space, contexts)

    def _of_others(
        self, axes: Axes, metrics: Sequence[str], wanted: Mapping[Index, set[str]]
    ) -> Iterator[Block]:
        """Yield what other processes have measured meanwhile, from one more reading of the ledger."""
        if not any(wanted.values()):
            return
        cells = self._ledger.read(self.identity, axes, metrics)
        failures = self._ledger.failures(self.identity, self.space)
        for place, index in enumerate(axes.settings):
            pairs = [pair for pair in axes.pairs if pair in wanted.get(index, ())]
            if pairs:
                reasons = failures.get(index, {})
                failed = {pair: reasons[pair] for pair in pairs if pair in reasons}
                yield replace(_part(block_of(cells, place), pairs), failures=failed)

    def _filled(self, request: Request, track: Track) -> Generator[object]:
        """Measure what is lacking; yield something for every pair and setting that the ledger holds."""
        gaps = self._missing(request)
        total = len(request.settings) * len(request.pairs)
        shown = total - _count(gaps)
        yield from range(shown)
        with closing(self._shared(request, gaps, track)) as shared:
            for _, left in shared:
                known = total - left
                yield from range(known - shown)
                shown = max(shown, known)

    def _shared(
        self, request: Request, gaps: Sequence[Gap], track: Track
    ) -> Generator[tuple[Block | None, int]]:
        """Measure what is lacking, together with other processes.

        Parameters
        ----------
        request
            What the ledger is to hold.
        gaps
            What it lacks of that.
        track
            Shows who is waited for.

        Yields
        ------
        Block or None
            What was measured here; None where others have worked.
        int
            How many pairs at settings are still lacking.
        """
        leases = self._ledger.leases
        is_dispatched = self._dispatcher is not None
        values_a_shard = DISPATCHED_VALUES_A_SHARD if is_dispatched else VALUES_A_SHARD
        shards = _Shards(self._ledger, self.identity, self.space, values_a_shard)
        at_once = 1
        while gaps:
            works = self._works(request, gaps)
            with leases.holding(works, len(works) if is_dispatched else at_once) as held:
                if held.is_news and held.works:
                    gaps = self._missing(request)
                    yield None, _count(gaps)
                mine, gaps = _divided(gaps, held.works)
                left = _count(mine) + _count(gaps)
                began = time.monotonic()
                with closing(self._measured(request, mine, held.works, shards)) as measured:
                    for block in measured:
                        left -= len(block.pairs)
                        yield block, left
            if held.works:
                is_short = time.monotonic() - began < SECONDS_A_LEASE
                at_once = 2 * at_once if is_short else max(1, at_once // 2)
                continue
            leases.wait(works, held.others, track)
            gaps = self._missing(request)
            yield None, _count(gaps)

    def _missing(self, request: Request) -> list[Gap]:
        return self._ledger.missing(
            self.identity,
            self.space,
            request.settings,
            request.pairs,
            request.metrics,
            self.labels,
        )

    def _works(self, request: Request, gaps: Sequence[Gap]) -> list[Work]:
        """Return gaps as blocks of settings × pairs to take; blocks of the same request are cut alike."""
        most_pairs, most_settings = self._block_size(request)
        blocks = math.ceil(len(request.pairs) / most_pairs)
        if self._dispatcher is None:
            together = getattr(self._oracle, "settings_together", None) or 1
            divided = len(request.settings) * blocks // BLOCKS_TO_DIVIDE
            most_settings = min(most_settings, max(together, divided))
        else:
            most_pairs *= math.ceil(blocks / DISPATCHED_LEASES)
            most_settings = len(request.settings)
        place_of = _places(request)
        works = []
        for alike in _alike(gaps):
            blocks_of_pairs = _blocks_of(alike[0].pairs, place_of, most_pairs)
            for start in range(0, len(alike), most_settings):
                settings = [gap.index for gap in alike[start : start + most_settings]]
                for pairs in blocks_of_pairs:
                    ids = [pair.id for pair in pairs]
                    work = Work(
                        of=self.identity, settings=frozenset(settings), pairs=frozenset(ids)
                    )
                    works.append(work)
        return works

    def _block_size(self, request: Request) -> tuple[int, int]:
        """Return how many pairs of a request are taken together, and how many settings."""
        if getattr(self._oracle, "is_slow_to_set", False):
            return len(request.pairs), 1
        batch = getattr(self._oracle, "pairs_at_once", 1)  # as of `RegisteringOracle`
        return batch * math.ceil(PAIRS_A_BLOCK / batch), SETTINGS_A_BLOCK

    def _measured(
        self, request: Request, gaps: Sequence[Gap], works: Sequence[Work], shards: "_Shards"
    ) -> Generator[Block]:
        """Measure the gaps of some blocks of a request, here or elsewhere, and write them."""
        failures = self._ledger.failures(self.identity, self.space)
        if self._dispatcher is None:
            found = self._measured_here(gaps, works, failures)
        else:
            found = self._measured_elsewhere(self._dispatcher, request, gaps, failures)
        try:
            with closing(found) as blocks:
                for block in blocks:
                    shards.add(block)
                    yield block
                    shards.write_where_due()
        finally:
            shards.write()  # before others may take the blocks, or rely on them

    def _measured_here(
        self, gaps: Sequence[Gap], works: Sequence[Work], failures: "_Failures"
    ) -> Generator[Block]:
        """Measure one block after the other.

        Pairs are registered together within a block only: so values do not depend on how many blocks are
        taken at once, which a clock decides.
        """
        for work in works:
            inside, _ = _divided(gaps, [work])
            for alike in _alike(inside):
                for part in self._parts(alike, _known_failures(alike, failures)):
                    if isinstance(part, Block):
                        yield part
                        continue
                    yield from self._oracle.measure(part.settings, part.pairs, part.metrics)

    def _measured_elsewhere(
        self,
        dispatcher: Dispatcher,
        request: Request,
        gaps: Sequence[Gap],
        failures: "_Failures",
    ) -> Generator[Block]:
        """Have everything measured at once."""
        requests = []
        for alike in _alike(gaps):
            for part in self._parts(alike, _known_failures(alike, failures)):
                if isinstance(part, Block):
                    yield part
                else:
                    requests.append(part)
        yield from dispatcher.measure(self._cut(requests, request))

    def _cut(self, requests: Sequence[Request], whole: Request) -> list[Request]:
        """Return requests as small ones, each of pairs that one process would take together.

        They are of as many settings as the oracle says, or as leave enough of them for many to measure: the
        images of pairs are read once for all settings of a request.

        Parameters
        ----------
        requests
            What is to be measured.
        whole
            The request that they are a part of.
        """
        most_pairs, most_settings = self._block_size(whole)
        place_of = _places(whole)
        divided = []
        count = 0
        for request in requests:
            blocks = _blocks_of(request.pairs, place_of, most_pairs)
            divided.append((request, blocks))
            count += len(request.settings) * len(blocks)
        best = getattr(self._oracle, "settings_together", None)
        at_once = min(most_settings, best or max(1, count // DISPATCHED_BLOCKS))
        found = []
        for request, blocks in divided:
            for pairs in blocks:
                for start in range(0, len(request.settings), at_once):
                    settings = request.settings[start : start + at_once]
                    found.append(replace(request, settings=settings, pairs=tuple(pairs)))
        return found

    def _parts(
        self, gaps: Sequence[Gap], failures: Mapping[Index, Mapping[str, str]]
    ) -> Iterator[Block | Request]:
        """Yield what is to be measured of gaps, and blocks of pairs that are known to fail: of these all is NaN."""
        settings = tuple(gap.index for gap in gaps if gap.index not in failures)
        pairs, metrics = gaps[0].pairs, gaps[0].metrics
        if settings:
            yield Request(settings=settings, pairs=pairs, metrics=metrics)
        for index, reasons in failures.items():
            yield failed_block(index, reasons, self.labels, metrics)
            others = tuple(pair for pair in pairs if pair.id not in reasons)
            if others:
                yield Request(settings=(index,), pairs=others, metrics=metrics)


class _Shards:
    """Writes blocks in shards of some size.

    What there is of a shard is written when a minute has passed or others are to see it, and again, in its
    place, with the rest of it: so the shards of a worker alone are the same however fast it measures.

    Parameters
    ----------
    ledger
        Where they go.
    identity, space
        Of the oracle.
    values_a_shard
        How many values make a shard full.
    """

    def __init__(self, ledger: Ledger, identity: str, space: Space, values_a_shard: int) -> None:
        self._ledger = ledger
        self._identity = identity
        self._space = space
        self._values_a_shard = values_a_shard
        self._written_at = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        """Begin another shard."""
        self._blocks: list[Block] = []
        self._count = 0
        self._begun: Shard | None = None
        self._has_more = False

    def add(self, block: Block) -> None:
        """Add a block to the shard; one with other metrics begins another shard."""
        if self._blocks and self._blocks[0].values.keys() != block.values.keys():
            self.write()
            self._begin()
        self._blocks.append(block)
        self._count += sum(values.size for values in block.values.values())
        self._has_more = True

    def write_where_due(self) -> None:
        """Write the shard if it is full, or was last written a while ago."""
        is_full = self._count >= self._values_a_shard
        is_late = time.monotonic() - self._written_at >= SECONDS_A_SHARD
        if is_full or is_late:
            self.write()
        if is_full:
            self._begin()

    def write(self) -> None:
        """Write what there is of the shard, in place of what was written of it before."""
        if self._has_more:
            self._begun = self._ledger.write(self._identity, self._space, self._blocks, self._begun)
            self._has_more = False
        self._written_at = time.monotonic()


_Failures = Mapping[Index, Mapping[str, str]]
"""By setting and id of a pair, why it could not be registered."""


def _places(request: Request) -> dict[str, int]:
    """Return the place of each pair in a request, by its id."""
    numbered = enumerate(request.pairs)
    return {pair.id: place for place, pair in numbered}


def _blocks_of(pairs: Sequence[Pair], place_of: Mapping[str, int], most: int) -> list[list[Pair]]:
    """Return pairs as blocks of at most some, which begin at multiples of it in the whole request."""
    blocks: dict[int, list[Pair]] = {}
    for pair in pairs:
        block = blocks.setdefault(place_of[pair.id] // most, [])
        block.append(pair)
    return list(blocks.values())


def _known_failures(
    gaps: Sequence[Gap], failures: Mapping[Index, Mapping[str, str]]
) -> dict[Index, dict[str, str]]:
    """Return why pairs failed at the settings of gaps: another metric is not measured of them."""
    found = {}
    for gap in gaps:
        reasons = failures.get(gap.index, {})
        of_gap = {pair.id: reasons[pair.id] for pair in gap.pairs if pair.id in reasons}
        if of_gap:
            found[gap.index] = of_gap
    return found


def _count(gaps: Sequence[Gap]) -> int:
    """Return the number of pairs at settings in gaps."""
    return sum(len(gap.pairs) for gap in gaps)


def _divided(gaps: Sequence[Gap], works: Sequence[Work]) -> tuple[list[Gap], list[Gap]]:
    """Return the part of gaps that some blocks cover, and the rest."""
    covered: dict[Index, set[str]] = {}
    for work in works:
        for index in work.settings:
            covered.setdefault(index, set()).update(work.pairs)
    inside = []
    outside = []
    for gap in gaps:
        ids = covered.get(gap.index, set())
        within = tuple(pair for pair in gap.pairs if pair.id in ids)
        beyond = tuple(pair for pair in gap.pairs if pair.id not in ids)
        if within:
            inside.append(replace(gap, pairs=within))
        if beyond:
            outside.append(replace(gap, pairs=beyond))
    return inside, outside


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
