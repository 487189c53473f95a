"""The sweep that fills a ledger."""

from collections.abc import Iterator, Sequence

from hmopt.ledger import Recorded
from hmopt.progress import Track, silent
from hmopt.records import Pair
from hmopt.space import Index


def sweep(
    oracle: Recorded,
    settings: Sequence[Index],
    pairs: Sequence[Pair],
    metrics: Sequence[str],
    track: Track = silent,
) -> None:
    """Measure every setting on every pair, so that the oracle's ledger holds them all.

    Only what the ledger lacks is measured, and what was measured before an interruption is kept: the same call goes on.

    Parameters
    ----------
    oracle
        What measures, and the ledger it writes to.
    settings
        Lattice indices.
    pairs
        The pairs.
    metrics
        Names of declared metrics.
    track
        Told of every pair at every setting, those that were measured earlier included.
    """
    for _ in track(
        _measured(oracle, settings, pairs, metrics), "Measuring", len(settings) * len(pairs)
    ):
        pass


def _measured(
    oracle: Recorded, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
) -> Iterator[str]:
    for block in oracle.measure(settings, pairs, metrics):
        yield from block.pairs
