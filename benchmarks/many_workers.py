"""What limits a sweep on many workers, by a model on paper and by a simulation, written to `many_workers.md`.

    python -m benchmarks.many_workers             simulate, with the costs of `many_workers.json`
    python -m benchmarks.many_workers --measure   measure the costs on this machine first

One process searches: it submits requests, receives results and writes them to the ledger. All else
that is shared is the scheduler and the file system. On paper a round of the sweep takes no less than
the busiest of them,

    T ≥ plan + max(n m / W, n (submit + receive + write), n scheduler, n bytes / bandwidth)

for n requests of m seconds and W workers. Rounds follow each other, since the settings of one depend
on the results of those before. The simulation adds what the formula leaves out: workers that differ in
speed, workers that are killed, the end of each round, where most workers wait for the last ones, and
that no more than `AHEAD` requests are under way.

Costs are seconds of processor time, as clocks of a shared machine tell little.
"""

import heapq
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hmopt.catalogue import find_metric
from hmopt.files import replacing
from hmopt.ledger import Ledger, Recorded
from hmopt.records import Block, Pair, Request
from hmopt.space import Hyperparameter, Space

FOLDER = Path(__file__).parent
COSTS = FOLDER / "many_workers.json"
TABLE = FOLDER / "many_workers.md"

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
METRICS = ("dice", "folding")
PAIRS_A_REQUEST = 8
AHEAD = 4096
"""Requests under way, as of `hmopt.workflow.executor`."""
ROUNDS = (12, 2, 2)
"""Settings of each round: the coarse lattice, then those that confirm the best ones."""
BANDWIDTH = 2e9
"""Bytes a second that a shared file system gives to all workers together: an assumption."""
WORKERS_A_MACHINE = 20
MEMORY_A_MACHINE = 64e9
"""Bytes in which a machine keeps files that it has read: an assumption, as the number of its workers."""
SPREAD = 0.3
"""Standard deviation of the logarithm of the seconds of a request: an assumption."""
KILLS_AN_HOUR = 0.1
"""Of each worker: an assumption, of machines that are taken away at any time."""
RESTART_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds of processor time, and bytes, on one machine.

    Parameters
    ----------
    write_s
        Of a value that is written to the ledger.
    read_s
        Of a value that is read from it, at the beginning of a round.
    plan_s
        Of a pair at a setting that a round is planned for.
    message_s
        Of the searching process for a request: to submit it to Dask and to receive its result.
    scheduler_s
        Of Dask's scheduler for a request.
    request_bytes, result_bytes
        As pickled: of 8 pairs at 12 settings, with 2 structures.
    """

    write_s: float
    read_s: float
    plan_s: float
    message_s: float
    scheduler_s: float
    request_bytes: int
    result_bytes: int


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is searched.

    Parameters
    ----------
    name
        What the table calls it.
    pairs
        How many.
    pair_s
        Seconds of a pair at a setting on a worker.
    values
        Of a pair at a setting: one for each structure, and one more.
    images
        Of the cohort: 1,001 have a million ordered pairs.
    image_bytes
        Of a prepared image with its label map.
    settings_together
        Of a request, at most.
    """

    name: str
    pairs: int
    pair_s: float
    values: int
    image_bytes: float
    images: int = 1001
    settings_together: int = 64

    def requests(self, settings: int) -> tuple[int, int]:
        """Return how many requests a round of some settings has, and of how many settings each is."""
        blocks = -(-self.pairs // PAIRS_A_REQUEST)
        together = min(self.settings_together, settings, max(1, blocks * settings // 1024))
        return blocks * -(-settings // together), together

    @property
    def measuring_s(self) -> float:
        """Seconds of one worker for all."""
        return self.pairs * sum(ROUNDS) * self.pair_s


SWEEPS = (
    # 54.5 ms a pair, 0.84 s a pair: `139-labels` and `full-size-defaults` of results.json
    Sweep(
        name="crops 48 × 64 × 48, 2 structures",
        pairs=10**6,
        pair_s=0.055,
        values=3,
        image_bytes=48 * 64 * 48 * 5,
    ),
    Sweep(
        name="volumes 160 × 192 × 224, 35 structures",
        pairs=10**6,
        pair_s=0.84,
        values=36,
        image_bytes=160 * 192 * 224 * 5,
    ),
    Sweep(
        name="the same, of 3,000 images",
        pairs=10**6,
        pair_s=0.84,
        values=36,
        images=3000,
        image_bytes=160 * 192 * 224 * 5,
    ),
    Sweep(
        name="volumes, an engine of 30 s",
        pairs=10**5,
        pair_s=30.0,
        values=37,
        image_bytes=160 * 192 * 224 * 5,
        settings_together=1,
    ),
)
WORKERS = (100, 1000)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How long a sweep took, and how busy each part was.

    Parameters
    ----------
    seconds
        From its beginning to its end.
    caller_s, scheduler_s, store_s
        That the searching process, the scheduler and the file system were at work.
    plan_s
        Of the searching process, in which nobody measured.
    tail_s
        At the ends of rounds, from when the first worker had nothing left to do.
    lost_s
        Of workers, on requests that were lost.
    """

    seconds: float
    caller_s: float
    scheduler_s: float
    store_s: float
    plan_s: float
    tail_s: float
    lost_s: float

    def efficiency(self, sweep: Sweep, workers: int) -> float:
        """Return the share of the workers' time in which they measured what was kept."""
        return sweep.measuring_s / (workers * self.seconds)


def bound(sweep: Sweep, costs: Costs, workers: int) -> dict[str, float]:
    """Return the least seconds that a sweep takes by each of its parts, and those of planning."""
    found = dict.fromkeys(("workers", "caller", "scheduler", "file system", "plan"), 0.0)
    found["workers"] = sweep.measuring_s / workers
    known = 0
    for settings in ROUNDS:
        requests, together = sweep.requests(settings)
        values = PAIRS_A_REQUEST * together * sweep.values
        found["caller"] += requests * (costs.message_s + values * costs.write_s)
        found["scheduler"] += requests * costs.scheduler_s
        found["plan"] += _plan_s(sweep, costs, settings, known)
        known += settings
    found["file system"] = _first_readings(sweep, workers) * _reading_s(sweep)
    return found


def _plan_s(sweep: Sweep, costs: Costs, settings: int, known: int) -> float:
    """Return the seconds of planning a round: what is known is read, what lacks is cut into requests."""
    read = sweep.pairs * (known + settings) * sweep.values * costs.read_s
    return read + sweep.pairs * settings * costs.plan_s


class _Server:
    """Something that does one thing after the other."""

    def __init__(self) -> None:
        self.free_at = 0.0
        self.busy_s = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """Return when something is done that is asked for now."""
        self.free_at = max(now, self.free_at) + seconds
        self.busy_s += seconds
        return self.free_at


def simulate(sweep: Sweep, costs: Costs, workers: int, seed: int = 0) -> Outcome:
    """Simulate a sweep event by event."""
    return _Simulation(sweep, costs, workers, seed).run()


class _Simulation:
    """Requests go from the searching process to the scheduler, to a worker, and back.

        submitted ─▶ queued ─▶ (a worker is idle) ─▶ measured ─▶ came ─▶ written
                       ▲                    └─▶ killed ─▶ restarted
                       └───────────────────────────┘

    Parameters
    ----------
    sweep, costs, workers, seed
        As of `simulate`.
    """

    def __init__(self, sweep: Sweep, costs: Costs, workers: int, seed: int) -> None:
        self._sweep, self._costs, self._workers = sweep, costs, workers
        self._random = np.random.default_rng(seed)
        self._caller, self._scheduler, self._store = _Server(), _Server(), _Server()
        self._plan_s = self._tail_s = self._lost_s = 0.0
        self._unread = _first_readings(sweep, workers)
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, str]] = []
        self._happens = {
            "submitted": self._submitted,
            "queued": self._queued,
            "measured": self._measured,
            "killed": self._killed,
            "restarted": self._restarted,
            "came": self._came,
            "written": self._written,
        }

    def run(self) -> Outcome:
        """Simulate one round after the other."""
        now = 0.0
        known = 0
        for settings in ROUNDS:
            plan_s = _plan_s(self._sweep, self._costs, settings, known)
            self._plan_s += plan_s
            now = self._round(now + plan_s, settings)
            known += settings
        return Outcome(
            seconds=now,
            caller_s=self._caller.busy_s,
            scheduler_s=self._scheduler.busy_s,
            store_s=self._store.busy_s,
            plan_s=self._plan_s,
            tail_s=self._tail_s,
            lost_s=self._lost_s,
        )

    def _round(self, began: float, settings: int) -> float:
        """Return when a round has ended that begins at some time."""
        requests, together = self._sweep.requests(settings)
        self._request_s = PAIRS_A_REQUEST * together * self._sweep.pair_s
        values = PAIRS_A_REQUEST * together * self._sweep.values
        self._back_s = self._costs.message_s / 2 + values * self._costs.write_s
        self._left = self._open = requests
        self._idle = self._workers
        self._queue = 0
        self._events.clear()
        first_idle: float | None = None
        now = began
        for _ in range(min(requests, AHEAD)):
            self._submit(began)
        while self._open:
            now, _, what = heapq.heappop(self._events)
            self._happens[what](now)
            while self._idle and self._queue:
                self._begin(now)
            if self._idle and not self._left and first_idle is None:
                first_idle = now
        if first_idle is not None:
            self._tail_s += now - first_idle
        return now

    def _at(self, when: float, what: str) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what))

    def _submit(self, now: float) -> None:
        self._left -= 1
        self._at(self._caller.serve(now, self._costs.message_s / 2), "submitted")

    def _submitted(self, now: float) -> None:
        self._at(self._scheduler.serve(now, self._costs.scheduler_s / 2), "queued")

    def _queued(self, now: float) -> None:
        self._queue += 1

    def _begin(self, now: float) -> None:
        """Have an idle worker begin with a request."""
        self._idle -= 1
        self._queue -= 1
        ready = now
        if self._unread > 0:
            self._unread -= 1
            ready = self._store.serve(now, _reading_s(self._sweep))
        seconds = self._request_s * self._random.lognormal(-(SPREAD**2) / 2, SPREAD)
        until_killed_s = self._random.exponential(3600 / KILLS_AN_HOUR)
        if until_killed_s < seconds:
            self._lost_s += until_killed_s
            self._at(ready + until_killed_s, "killed")
        else:
            self._at(ready + seconds, "measured")

    def _measured(self, now: float) -> None:
        self._idle += 1
        self._at(self._scheduler.serve(now, self._costs.scheduler_s / 2), "came")

    def _killed(self, now: float) -> None:
        self._queue += 1
        self._at(now + RESTART_S, "restarted")

    def _restarted(self, now: float) -> None:
        self._idle += 1

    def _came(self, now: float) -> None:
        self._at(self._caller.serve(now, self._back_s), "written")

    def _written(self, now: float) -> None:
        self._open -= 1
        if self._left:
            self._submit(now)


def _reading_s(sweep: Sweep) -> float:
    """Return the seconds of the file system for the images of a request."""
    return 2 * PAIRS_A_REQUEST * sweep.image_bytes / BANDWIDTH


def _first_readings(sweep: Sweep, workers: int) -> int:
    """Return how many requests read their images from the file system: the others find them in memory."""
    every = sum(sweep.requests(settings)[0] for settings in ROUNDS)
    machines = -(-workers // WORKERS_A_MACHINE)
    if sweep.images * sweep.image_bytes > MEMORY_A_MACHINE:
        return every
    return min(every, -(-machines * sweep.images // (2 * PAIRS_A_REQUEST)))


def made_up_blocks(request: Request, structures: int = 2) -> list[Block]:
    """Return blocks of random values, as a worker returns them for a request."""
    labels = tuple(f"structure {number}" for number in range(structures))
    random = np.random.default_rng(len(request.pairs))
    ids = tuple(pair.id for pair in request.pairs)
    found = []
    for index in request.settings:
        values = {}
        for metric in request.metrics:
            per_label = find_metric(metric).per_label
            values[metric] = random.random((len(ids), structures) if per_label else len(ids))
        found.append(Block(index=index, pairs=ids, labels=labels, values=values))
    return found


class _MadeUp:
    """An oracle, and what dispatches it, that cost next to nothing."""

    space, identity, labels = SPACE, "0f", ("structure 0", "structure 1")

    def measure(self, requests: Sequence[Request], *_: Any) -> Iterator[Block]:
        for request in requests:
            yield from made_up_blocks(request)


class _Unwritten(Ledger):
    """A ledger that keeps nothing."""

    def write(self, *_: Any) -> None:
        """Do nothing."""


def _make_pairs(count: int) -> list[Pair]:
    """Return pairs of made-up images."""
    names = [(f"sub-{number // 100:05}", f"sub-{number % 100:05}") for number in range(count)]
    return [
        Pair(
            moving=f"{moving}_ses-1",
            fixed=f"{fixed}_ses-2",
            moving_subject=moving,
            fixed_subject=fixed,
        )
        for moving, fixed in names
    ]


def measure_costs(pairs: int = 1000, requests: int = 400) -> Costs:
    """Measure all costs on this machine: a minute or so."""
    from multiprocessing.reduction import ForkingPickler

    made_up: Any = _MadeUp()
    chosen = _make_pairs(pairs)
    settings = [(place,) for place in range(0, 192, 16)]
    cells = pairs * len(settings)
    one = Request(settings=tuple(settings), pairs=tuple(chosen[:8]), metrics=METRICS)
    blocks = [
        block
        for start in range(0, pairs, 8)
        for block in made_up_blocks(
            Request(
                settings=tuple(settings), pairs=tuple(chosen[start : start + 8]), metrics=METRICS
            )
        )
    ]
    with tempfile.TemporaryDirectory() as place:
        ledger = Ledger(Path(place) / "ledger")
        began = time.process_time()
        ledger.write("0f", SPACE, blocks)
        write_s = (time.process_time() - began) / (3 * cells)
        began = time.process_time()
        ledger.missing("0f", SPACE, settings, chosen, METRICS, made_up.labels)
        read_s = (time.process_time() - began) / (3 * cells)
        recorded = Recorded(made_up, _Unwritten(Path(place) / "none"), made_up)
        began = time.process_time()
        list(made_up.measure([one] * (pairs // 8)))
        of_making_up = time.process_time() - began
        began = time.process_time()
        recorded.fill(settings, chosen, METRICS)
        plan_s = (time.process_time() - began - of_making_up) / cells
        message_s, scheduler_s = _dask_costs(Path(place), one, requests)
    return Costs(
        write_s=write_s,
        read_s=read_s,
        plan_s=plan_s,
        message_s=message_s,
        scheduler_s=scheduler_s,
        request_bytes=len(ForkingPickler.dumps(one)),
        result_bytes=len(ForkingPickler.dumps(made_up_blocks(one))),
    )


def _dask_costs(folder: Path, request: Request, requests: int) -> tuple[float, float]:
    """Return the seconds of this process and of a scheduler for a request, with one worker."""
    import psutil
    from distributed import Client

    file = folder / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    at = ("--scheduler-file", str(file), "--no-dashboard")
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{role}", *at, *options],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        for role, options in (
            ("scheduler", ["--host", "127.0.0.1", "--port", "0"]),
            ("worker", ["--nthreads", "1", "--no-nanny"]),
        )
    ]
    try:
        while not file.exists():
            time.sleep(0.1)
        with Client(scheduler_file=str(file), set_as_default=False, timeout=120) as client:
            executor = client.get_executor()
            for future in [executor.submit(made_up_blocks, request) for _ in range(20)]:
                future.result()
            scheduler = psutil.Process(started[0].pid)
            here, there = time.process_time(), sum(scheduler.cpu_times()[:2])
            for future in [executor.submit(made_up_blocks, request) for _ in range(requests)]:
                future.result()
            here_s = time.process_time() - here
            there_s = sum(scheduler.cpu_times()[:2]) - there
        return here_s / requests, there_s / requests
    finally:
        for process in started:
            process.terminate()
            process.wait()


def read_costs() -> Costs:
    """Return the committed costs."""
    return Costs(**json.loads(COSTS.read_text(encoding="utf-8")))


def hours(seconds: float) -> str:
    """Return a duration as the table shows it.

    >>> hours(90), hours(5400), hours(4e5)
    ('1.5 min', '1.5 h', '4.6 d')
    """
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


COLUMNS = (
    "sweep",
    "pairs",
    "workers",
    "workers, on paper",
    "caller",
    "scheduler",
    "file system",
    "plan",
    "simulated",
    "efficiency",
    "limited by",
)
HEADER = """# A sweep on many workers

Written by `python -m benchmarks.many_workers`: settings in {rounds} rounds, {settings} in all. *On paper*: the
least time by each part alone. *Simulated*: with workers that differ, are killed every {kills:.0f} hours,
and wait for the last ones of a round; *efficiency*: share of the workers' time that was not waited or
lost. Assumed: {bandwidth:.0f} GB/s of the file system for all, {a_machine} workers a machine, which keeps {memory:.0f}
GB of files in memory, and reads all others each time.

| cost | measured |
| --- | --- |
{costs}

"""


def limit(parts: dict[str, float]) -> str:
    """Return the part that takes longest on paper."""
    return max(parts, key=lambda name: parts[name])


def table(costs: Costs) -> str:
    """Return the table, in Markdown."""
    units = {
        "write_s": ("a value written to the ledger", 1e6, "µs"),
        "read_s": ("a value read from it", 1e6, "µs"),
        "plan_s": ("a pair at a setting planned", 1e6, "µs"),
        "message_s": ("a request submitted and its result received, by the caller", 1e3, "ms"),
        "scheduler_s": ("a request, by Dask's scheduler", 1e3, "ms"),
        "request_bytes": ("a request of 8 pairs at 12 settings", 1e-3, "kB"),
        "result_bytes": ("its result, 2 structures", 1e-3, "kB"),
    }
    lines = []
    for name, value in asdict(costs).items():
        what, factor, unit = units[name]
        lines.append(f"| {what} | {value * factor:.2g} {unit} |")
    text = HEADER.format(
        settings=sum(ROUNDS),
        rounds=len(ROUNDS),
        kills=1 / KILLS_AN_HOUR,
        bandwidth=BANDWIDTH / 1e9,
        a_machine=WORKERS_A_MACHINE,
        memory=MEMORY_A_MACHINE / 1e9,
        costs="\n".join(lines),
    )
    text += row(COLUMNS) + row(["---"] * len(COLUMNS))
    for sweep, workers in itertools.product(SWEEPS, WORKERS):
        text += row(on_paper(sweep, costs, workers) + simulated(sweep, costs, workers))
    return text


def on_paper(sweep: Sweep, costs: Costs, workers: int) -> list[str]:
    """Return the cells of a row before those that are simulated."""
    parts = bound(sweep, costs, workers).values()
    return [sweep.name, f"{sweep.pairs:,}", f"{workers:,}", *map(hours, parts)]


def simulated(sweep: Sweep, costs: Costs, workers: int) -> list[str]:
    """Return the last cells of a row."""
    outcome = simulate(sweep, costs, workers)
    efficiency = f"{outcome.efficiency(sweep, workers):.0%}"
    return [hours(outcome.seconds), efficiency, limit(bound(sweep, costs, workers))]


def row(cells: Sequence[str]) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Run the command line."""
    if "--measure" in sys.argv:
        costs = measure_costs()
        with replacing(COSTS) as beside:
            beside.write_text(json.dumps(asdict(costs), indent=1) + "\n", encoding="utf-8")
    text = table(read_costs())
    with replacing(TABLE) as beside:
        beside.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
