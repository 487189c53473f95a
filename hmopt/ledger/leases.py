"""Who is at which work: leases, by which processes on one or several machines share the work of a search.

A lease names a worker and its work: settings × pairs of an oracle, or an Optuna study. All leases
stand in one small file of the ledger's folder, which is only changed under a lock:

    worker                      work                              beats
    process 4711 on alpha       settings 0…10, pairs 1…8              3
    process 4711 on alpha       settings 0…10, pairs 9…16             3
    process 815 on beta         settings 0…10, pairs 17…24            7

A worker takes what nobody has, does it, and gives it back. While it works, a thread raises the
number of beats. Work is taken over from a worker that has ended, and from one whose beats have not
changed for `LEASE_S` seconds, as whoever wants the work sees on a clock of its own: clocks of
machines need not agree. So a lease is no lock: a worker that was paused may find that its work was
taken over. What it measured is then measured twice, and the ledger keeps the first value.
"""

import math
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from hmopt.errors import HmoptError
from hmopt.files import naming, read_whole
from hmopt.locks import Worker, alone, lock_beside, this_worker
from hmopt.progress import Track, silent, wait_until
from hmopt.schemas import Count, Name, Record
from hmopt.space import Index

FILE_NAME = "leases.json"
LEASE_S = 60.0
"""A worker whose beats have not changed for this time has lost its work."""
BEATS_A_LEASE = 4
"""Beats in this time."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one worker does: settings × pairs of an oracle; of a study neither is given.

    Parameters
    ----------
    of
        Identity of the oracle, or name of the study.
    settings
        On the lattice.
    pairs
        Their ids.
    """

    of: str
    settings: frozenset[Index] = frozenset()
    pairs: frozenset[str] = frozenset()

    def overlaps(self, other: "Work") -> bool:
        """Return whether some pair at some setting is in both, or both are the same study.

        Examples
        --------
        >>> one = Work(of="0f", settings=frozenset([(0,), (70,)]), pairs=frozenset(["a->b"]))
        >>> one.overlaps(Work(of="0f", settings=frozenset([(70,)]), pairs=frozenset(["a->b", "b->a"])))
        True
        >>> Work(of="cohort").overlaps(Work(of="cohort")), Work(of="cohort").overlaps(Work(of="0f"))
        (True, False)
        """
        if self.of != other.of:
            return False
        if not self.settings and not other.settings:
            return True
        shares_setting = not self.settings.isdisjoint(other.settings)
        return shares_setting and not self.pairs.isdisjoint(other.pairs)


class _Lease(Record):
    """One entry of the file."""

    model_config = ConfigDict(extra="ignore")

    key: Name
    worker: Worker
    of: Name
    settings: list[list[int]] = []
    pairs: list[str] = []
    beats: Count = 0

    @property
    def work(self) -> Work:
        """What is leased."""
        settings = frozenset(tuple(index) for index in self.settings)
        return Work(of=self.of, settings=settings, pairs=frozenset(self.pairs))


class _Table(Record):
    """The file: how many leases have ended, and those that hold."""

    model_config = ConfigDict(extra="ignore")

    ended: Count = 0
    leases: list[_Lease] = []


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a worker holds of the work that it asked for.

    Parameters
    ----------
    works
        What it took; empty where others are at all of it.
    others
        Who is at the rest.
    is_news
        Whether somebody else has worked since this worker took something last: what is to be done
        must be looked up again.
    keys
        Of its leases.
    """

    works: tuple[Work, ...]
    others: tuple[Worker, ...]
    is_news: bool
    keys: frozenset[str]


class Leases:
    """The leases of a folder.

    Parameters
    ----------
    folder
        Where their file is; made when something is taken. None: work that no other process does.

    Examples
    --------
    >>> import tempfile
    >>> leases = Leases(Path(tempfile.mkdtemp()))
    >>> with leases.holding([Work(of="cohort"), Work(of="label=thalamus")], most=1) as held:
    ...     [work.of for work in held.works], leases.holds(held)
    (['cohort'], True)
    >>> leases.holds(held)
    False
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE_NAME
        self._own = _Leases()
        self._known = 0
        """Leases that had ended when this worker last took something."""
        self._seen: dict[str, tuple[int, float]] = {}
        """By key of a lease, its beats, and when they were first seen."""

    @contextmanager
    def holding(self, works: Sequence[Work], most: int) -> Iterator[Held]:
        """Hold some of the work in this block, from the first on, that no other worker is at.

        Parameters
        ----------
        works
            What is to be done.
        most
            How much to take. Where others are at work, it is no more than leaves each of them as much.

        Raises
        ------
        HmoptError
            If the file system has no locks.
        """
        held = self._take(works, most)
        if not held.works:
            yield held
            return
        is_over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(held, is_over), daemon=True)
        beating.start()
        try:
            yield held
        finally:
            is_over.set()
            beating.join()
            with suppress(OSError, HmoptError):  # it ends by itself, after a while
                self._give_back(held)

    def holds(self, held: Held) -> bool:
        """Return whether nobody has taken over what this worker took."""
        with self._editing() as leases:
            keys = {lease.key for lease in leases}
        return held.keys <= keys

    def wait(self, works: Sequence[Work], others: Sequence[Worker], track: Track = silent) -> None:
        """Wait until some of the work can be taken, and show who is at it.

        Parameters
        ----------
        works
            What this worker wants.
        others
            Who was at it.
        track
            Shows the waiting.
        """
        names = ", ".join(str(worker) for worker in others)
        wait_until(lambda: self._is_free(works), f"Waiting for {names}", track)

    def _is_free(self, works: Sequence[Work]) -> bool:
        """Return whether some of the work can be taken."""
        with self._editing() as leases:
            taken = _of_others(leases)
        for work in works:
            at_it = [worker for worker, other in taken if work.overlaps(other)]
            if not at_it:
                return True
        return False

    def _take(self, works: Sequence[Work], most: int) -> Held:
        me = this_worker()
        with self._editing() as leases:
            is_news = leases.ended != self._known
            self._known = leases.ended
            taken = _of_others(leases)
            free = []
            holders: dict[str, Worker] = {}
            for work in works:
                at_it = [worker for worker, other in taken if work.overlaps(other)]
                holders.update((worker.name, worker) for worker in at_it)
                if not at_it:
                    free.append(work)
            workers = {worker.name for worker, _ in taken}
            if workers:
                share = len(free) / (2 * (1 + len(workers)))
                most = min(most, math.ceil(share))
            mine = free[:most]
            keys = [secrets.token_hex(4) for _ in mine]
            for key, work in zip(keys, mine, strict=True):
                leases.append(_lease(key, me, work))
        return Held(
            works=tuple(mine),
            others=tuple(holders.values()),
            is_news=is_news,
            keys=frozenset(keys),
        )

    def _give_back(self, held: Held) -> None:
        with self._editing() as leases:
            is_news = leases.ended != self._known
            leases[:] = [lease for lease in leases if lease.key not in held.keys]
            leases.ended += len(held.keys)
            if not is_news:
                self._known = leases.ended

    def _beat(self, held: Held, is_over: threading.Event) -> None:
        """Raise the beats of leases until they are given back."""
        while not is_over.wait(LEASE_S / BEATS_A_LEASE):
            with suppress(OSError, HmoptError), self._editing() as leases:
                for place, lease in enumerate(leases):
                    if lease.key in held.keys:
                        leases[place] = lease.model_copy(update={"beats": lease.beats + 1})

    @contextmanager
    def _editing(self) -> Iterator["_Leases"]:
        """Yield the leases that hold, to change, while no other process can."""
        if self._path is None:
            yield self._own
            return
        with alone(lock_beside(self._path), "looks up who is at work"):
            table = _read(self._path)
            kept = _Leases(lease for lease in table.leases if not self._is_over(lease))
            kept.ended = table.ended + len(table.leases) - len(kept)
            yield kept
            changed = _Table(ended=kept.ended, leases=list(kept))
            if changed != table:
                _write(self._path, changed)
            self._seen = {key: seen for key, seen in self._seen.items() if key in kept.keys}

    def _is_over(self, lease: _Lease) -> bool:
        """Return whether a lease's worker has ended, or its beats have not changed for too long."""
        if lease.worker.name == this_worker().name:
            return False
        if lease.worker.has_ended:
            return True
        now = time.monotonic()
        beats, since = self._seen.get(lease.key, (-1, now))
        if beats != lease.beats:
            since = now
        self._seen[lease.key] = (lease.beats, since)
        return now - since > LEASE_S


class _Leases(list[_Lease]):
    """Leases that hold, and how many have ended before."""

    ended: int = 0

    @property
    def keys(self) -> set[str]:
        """Keys of all of them."""
        return {lease.key for lease in self}


def _read(path: Path) -> _Table:
    try:
        return _Table.model_validate_json(read_whole(path))
    except (FileNotFoundError, ValidationError):
        # one that was cut short by a kill: at worst, something is measured twice
        return _Table()


def _write(path: Path, table: _Table) -> None:
    """Write the file in place, as it tells nothing that must not be lost."""
    content = table.model_dump_json().encode()
    with naming(path), path.open("r+b" if path.exists() else "w+b") as file:
        file.write(content)
        file.truncate()


def _of_others(leases: Sequence[_Lease]) -> list[tuple[Worker, Work]]:
    """Return what other workers are at."""
    me = this_worker().name
    return [(lease.worker, lease.work) for lease in leases if lease.worker.name != me]


def _lease(key: str, worker: Worker, work: Work) -> _Lease:
    return _Lease(
        key=key,
        worker=worker,
        of=work.of,
        settings=[list(index) for index in sorted(work.settings)],
        pairs=sorted(work.pairs),
    )
