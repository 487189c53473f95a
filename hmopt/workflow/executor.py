"""Sweeps on any executor of `concurrent.futures`, or one like it: Dask, SLURM by dask-jobqueue, MPI, loky.

The process that searches cuts a sweep into small requests, submits them, and writes what comes back to
the ledger; nobody else writes. A worker opens the oracle from the study folder, on a file system that
all share, when its first request comes, and keeps it:

    process that searches            executor          worker
    ─────────────────────            ────────          ──────
    8 pairs × 3 settings   ────────▶  queue   ───────▶  opens model and prepared images, once
                                                        reads the images of 8 pairs
    writes to the ledger   ◀──────────────────────────  a few numbers for each pair and setting

A request can be measured twice without harm. So one whose worker was killed is submitted again.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import hmopt
from hmopt.errors import CheckpointError, DeclarationError, FailedPairsError, SearchError
from hmopt.files import one_line
from hmopt.progress import BETWEEN_LOOKS_S
from hmopt.records import Block, Checkpoint, Request
from hmopt.space import Space, assigned_text
from hmopt.stopping import Stop, stopping_between_steps

if TYPE_CHECKING:
    from hmopt.oracle import RegisteringOracle

TRIES = 3
"""How often a request is submitted before the search ends; Dask tries each several times by itself."""
AHEAD = 4096
"""Requests that are submitted at a time: enough for a thousand workers, each with some that wait."""
SILENCE_S = 10.0
"""After so long without a result, the executor is asked whether it still takes calls."""
CONNECT_S = 5.0
"""How long a scheduler is waited for."""

Stage = Checkpoint | Literal["unregistered"]
"""Which oracle of a study: the model at a checkpoint of its training, or the pairs as they are."""


class Executor(Protocol):
    """What takes calls and makes them elsewhere, as `concurrent.futures.Executor`."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """Have a function called; its result is that of the future."""
        ...


@dataclass(frozen=True, kw_only=True)
class OracleOrigin:
    """Where a worker finds an oracle.

    Parameters
    ----------
    folder
        The study folder, in full.
    stage
        Which of its oracles.
    cohort
        Identity of the prepared cohort.
    identity
        Of the oracle.
    device
        Where to compute; None: the fastest device of the worker.
    version
        Of hmopt.
    """

    folder: Path
    stage: Stage
    cohort: str
    identity: str
    device: str | None
    version: str = hmopt.__version__


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What a worker is asked.

    Parameters
    ----------
    origin
        The oracle.
    request
        What it measures.
    is_first
        Whether the oracle has yet to be tried: see `RegisteringOracle.is_tried`. Then a worker leaves
        off when a pair has succeeded.
    """

    origin: OracleOrigin
    request: Request
    is_first: bool = False


class ExecutorDispatcher:
    """Has the workers of an executor measure an oracle.

    Parameters
    ----------
    executor
        Takes the requests.
    origin
        Where workers find the oracle.
    oracle
        The same oracle in this process, which measures nothing.
    """

    def __init__(
        self, executor: Executor, origin: OracleOrigin, oracle: "RegisteringOracle"
    ) -> None:
        self._executor = executor
        self._origin = origin
        self._oracle = oracle

    def measure(self, requests: Sequence[Request]) -> Iterator[Block]:
        """Yield the measurements of requests, in the order in which workers are done with them.

        At Ctrl-C or SIGTERM what has come back is still yielded. A second Ctrl-C does not wait for that.

        Raises
        ------
        SearchError
            If the executor takes no requests, or one was not measured in `TRIES` tries.
        FailedPairsError
            If an engine fails at everything.
        """
        if requests and not self._oracle.is_tried:
            first, others = _first_request(requests)
            done = []
            for block in self._results([_Task(origin=self._origin, request=first, is_first=True)]):
                done.append(block)
                yield block
            self._oracle.is_tried = True
            requests = [*_lacking(first, done), *others]
        yield from self._results([_Task(origin=self._origin, request=one) for one in requests])

    def _results(self, tasks: Sequence[_Task]) -> Iterator[Block]:
        submitted = _Submitted(self._executor, tasks, self._oracle.space)
        with stopping_between_steps() as stop, closing(submitted.results(stop)) as results:
            for blocks in results:
                yield from blocks
        stop.check()


class _Submitted:
    """Tasks that an executor does, each tried several times.

    Parameters
    ----------
    executor
        Does them.
    tasks
        In the order in which they are submitted.
    space
        Tells the settings in messages.
    """

    def __init__(self, executor: Executor, tasks: Sequence[_Task], space: Space) -> None:
        self._executor = executor
        self._space = space
        self._waiting = deque((task, 1) for task in tasks)
        self._running: dict[Future[list[Block]], tuple[_Task, int]] = {}
        self._ended: queue.SimpleQueue[Future[list[Block]]] = queue.SimpleQueue()
        self._heard_at = time.monotonic()

    def results(self, stop: Stop) -> Generator[list[Block]]:
        """Yield the result of each task, as it comes; those that have come also before an error, or where it stops."""
        problem: Exception | None = None
        try:
            while (self._waiting or self._running) and problem is None and not stop.is_asked:
                self._submit()
                future = self._next()
                if future is None:
                    continue
                task, tries = self._running.pop(future)
                error = _error_of(future)
                if error is None:
                    yield future.result()
                elif tries < TRIES and not isinstance(error, FailedPairsError):
                    self._waiting.appendleft((task, tries + 1))
                else:
                    problem = self._failed(task, error)
        except SearchError as refusal:
            problem = refusal
            self._running.clear()  # where nothing can be submitted, nothing can be withdrawn
        finally:
            self._cancel()
        yield from self._remaining()
        if problem is not None:
            raise problem

    def _cancel(self) -> None:
        """Withdraw what is not done yet."""
        for future in self._running:
            future.cancel()

    def _submit(self) -> None:
        while self._waiting and len(self._running) < AHEAD:
            task, tries = self._waiting[0]
            future = self._taken(measure_task, task)
            self._waiting.popleft()
            self._running[future] = task, tries
            future.add_done_callback(self._ended.put)

    def _taken(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Submit a call.

        Raises
        ------
        SearchError
            If the executor is broken or closed.
        """
        try:
            return self._executor.submit(function, *arguments)
        except Exception as error:  # of any kind that executors have
            raise SearchError(
                "executor",
                expected="one that takes requests",
                got=_told(error),
                advice="What was measured is kept: rerun with a new one to resume.",
            ) from error

    def _next(self) -> "Future[list[Block]] | None":
        """Return a call that has ended; None where none does soon.

        Where a scheduler is gone, futures of Dask never end, but nothing can be submitted any more.
        """
        try:
            future = self._ended.get(timeout=BETWEEN_LOOKS_S)
        except queue.Empty:
            if time.monotonic() - self._heard_at > SILENCE_S:
                self._taken(_do_nothing, None).cancel()
                self._heard_at = time.monotonic()
            return None
        self._heard_at = time.monotonic()
        return future

    def _remaining(self) -> Iterator[list[Block]]:
        """Yield the results that have come and were not looked at."""
        while True:
            try:
                future = self._ended.get_nowait()
            except queue.Empty:
                return
            if _error_of(future) is None:
                yield future.result()

    def _failed(self, task: _Task, error: BaseException) -> Exception:
        """Return the error that ends the search."""
        if isinstance(error, FailedPairsError):
            return error
        problem = SearchError(
            _request_text(task.request, self._space),
            expected=f"to be measured by a worker in {TRIES} tries",
            got=_told(error),
            advice="What else was measured is kept: correct the cause, and rerun to resume.",
        )
        problem.__cause__ = error
        return problem


def _error_of(future: "Future[list[Block]]") -> BaseException | None:
    """Return why a call that has ended has no result; None where it has one."""
    try:
        return future.exception()
    except CancelledError:
        return CancelledError("withdrawn by the executor, as where its scheduler is gone")


def _told(error: BaseException) -> str:
    """Return an error as a message names it.

    Examples
    --------
    >>> _told(ValueError("no such image.")), _told(CancelledError())
    ('ValueError: no such image', 'CancelledError')
    """
    kind, text = type(error).__name__, one_line(error).rstrip(".")
    return kind if text in ("", kind) else f"{kind}: {text}"


def _request_text(request: Request, space: Space) -> str:
    """Return a request as messages name it.

    Examples
    --------
    >>> from hmopt.records import Pair
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.25),))
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> _request_text(Request(settings=((0,), (4,)), pairs=(pair,), metrics=("dice",)), space)
    '1 pair (a->b) at 2 settings (regularization = 0 … regularization = 1)'
    """
    settings = [assigned_text(space.setting(index)) for index in request.settings]
    pairs = [pair.id for pair in request.pairs]
    return f"{_counted(pairs, 'pair')} at {_counted(settings, 'setting')}"


def _counted(names: Sequence[str], kind: str) -> str:
    if len(names) == 1:
        return f"1 {kind} ({names[0]})"
    return f"{len(names)} {kind}s ({names[0]} … {names[-1]})"


def _first_request(requests: Sequence[Request]) -> tuple[Request, list[Request]]:
    """Return the first pairs at all their settings, as one process measures them first, and the other requests."""
    first = requests[0]
    alike = list(takewhile(lambda one: _is_alike(one, first), requests))
    settings = dict.fromkeys(index for one in alike for index in one.settings)
    return replace(first, settings=tuple(settings)), list(requests[len(alike) :])


def _is_alike(one: Request, other: Request) -> bool:
    return (one.pairs, one.metrics) == (other.pairs, other.metrics)


def _lacking(request: Request, blocks: Sequence[Block]) -> list[Request]:
    """Return what is left of a request, setting by setting."""
    known = {(block.index, pair) for block in blocks for pair in block.pairs}
    found = []
    for index in request.settings:
        pairs = tuple(pair for pair in request.pairs if (index, pair.id) not in known)
        if pairs:
            found.append(replace(request, settings=(index,), pairs=pairs))
    return found


def _do_nothing(_: None) -> None:
    pass


def measure_task(task: _Task) -> list[Block]:
    """Measure a request in the process of a worker.

    Raises
    ------
    DeclarationError, CheckpointError, DataError
        If the worker has another version of hmopt, or finds another oracle in the study folder, or none.
    FailedPairsError
        If an engine that was not tried yet fails at everything.
    """
    request = task.request
    with _opened.lent(task) as oracle:
        blocks = []
        for block in oracle.measure(request.settings, request.pairs, request.metrics):
            blocks.append(block)
            if task.is_first and not block.failures:
                break  # the others are for all workers
        return blocks


class _Opened:
    """Oracles that this process has opened and nobody uses now: one for each request that it measures at a time.

    Only those of one origin are kept.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._origin: OracleOrigin | None = None
        self._idle: list[RegisteringOracle] = []

    @contextmanager
    def lent(self, task: _Task) -> "Iterator[RegisteringOracle]":
        """Yield an oracle that nobody else uses in this block; one that has yet to be tried is opened anew."""
        oracle = None
        with self._lock:
            if self._origin != task.origin:
                self._idle.clear()
                self._origin = task.origin
            if self._idle and not task.is_first:
                oracle = self._idle.pop()
        if oracle is None:
            # takes long, and others need the lock to take and to give back what is open
            oracle = _open(task.origin)
        oracle.is_tried = oracle.is_tried or not task.is_first
        yield oracle
        with self._lock:
            if self._origin == task.origin:
                self._idle.append(oracle)


_opened = _Opened()


def _open(origin: OracleOrigin) -> "RegisteringOracle":
    """Open the oracle of an origin, and check that it is the one that was asked for."""
    from hmopt.data.preprocessing import open_as
    from hmopt.declaration import read_study
    from hmopt.oracle import UnregisteredOracle, load_checkpoints, load_oracle
    from hmopt.workflow.machine import find_device

    if origin.version != hmopt.__version__:
        raise DeclarationError(
            "executor",
            expected=f"workers with hmopt {origin.version}, as the process that searches has",
            got=hmopt.__version__,
            advice="Install the same version.",
        )
    device = find_device(origin.device)
    study = read_study(origin.folder)
    cohort = open_as(study, origin.folder, origin.cohort)
    found: RegisteringOracle
    if origin.stage == "unregistered":
        found = UnregisteredOracle(cohort, device)
    elif origin.stage == "full":
        found = load_oracle(origin.folder, study, cohort, device)
    else:
        found = load_checkpoints(origin.folder, study, cohort, device)[origin.stage]
    if found.identity != origin.identity:
        raise CheckpointError(
            str(origin.folder),
            expected=f"the model {origin.identity}, which is searched",
            got=found.identity,
            advice="Let nothing change the study folder while it is searched.",
        )
    return found


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """Connect with a Dask scheduler in this block, and yield what submits to it.

    Parameters
    ----------
    address
        As of `distributed.Client`.

    Raises
    ------
    DeclarationError
        If Dask is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise DeclarationError(
            "--executor",
            expected="the package distributed, for dask",
            got="none",
            advice="Install it: pip install 'hmopt[dask]'.",
        ) from error
    # they report every connection that is lost; whoever waits gets the errors
    for name in ("distributed", "distributed.client", "concurrent.futures"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeclarationError(
            "--scheduler",
            expected=f"a Dask scheduler that answers at {address}",
            got=_told(error),
            advice="Start one (dask scheduler), or correct the address.",
        ) from error
    with client:
        yield client.get_executor()


@contextmanager
def open_executor(name: str | None, scheduler: str | None) -> Iterator[Executor | None]:
    """Yield the executor of a name in this block, as the options of `hmopt search` give it.

    Parameters
    ----------
    name
        `dask`; None: none.
    scheduler
        Its address.

    Raises
    ------
    DeclarationError
        If there is no such executor, it does not answer, or one of them is given without the other.

    Examples
    --------
    >>> with open_executor(None, None) as found:
    ...     print(found)
    None
    """
    if name is None and scheduler is not None:
        raise DeclarationError(
            "--executor",
            expected="dask with --scheduler",
            got="none",
            advice="Add --executor dask.",
        )
    if name is None:
        yield None
        return
    if name != "dask":
        raise DeclarationError(
            "--executor",
            expected="dask",
            got=repr(name),
            advice="Use another executor in Python: hmopt.search(folder, executor=...).",
        )
    if not scheduler:
        raise DeclarationError(
            "--scheduler",
            expected="an address with --executor dask",
            got="none",
            advice="Give that of a scheduler, as tcp://127.0.0.1:8786.",
        )
    with dask_executor(scheduler) as executor:
        yield executor
