"""What a command takes of the machine: a device to compute on, memory, and processes."""

import ctypes
import importlib.metadata
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import FrameType
from typing import NoReturn, TypeVar

import hmopt
from hmopt.catalogue import ENGINES
from hmopt.errors import DeclarationError

T = TypeVar("T")
R = TypeVar("R")

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's `mallopt`."""
KEPT_BYTES, STEP_BYTES = 2**31 - 1, 2**27

MOST_PAIRS = 10**7
"""Pairs that an option may ask for, as `[pairs]` does."""
LEAST_PROCESSES = 16
"""Processes that a command may start on a machine of a few cores."""

_TERMINATED = 143
"""Exit code after SIGTERM."""


def installed_versions(engine: str | None = None) -> dict[str, str]:
    """Return the versions of what measures, by distribution: those that are installed.

    Parameters
    ----------
    engine
        A program with an adaptor that registers; None: none.

    Examples
    --------
    >>> sorted(installed_versions())
    ['hmopt', 'optuna', 'torch']
    """
    versions = {"hmopt": hmopt.__version__}
    others = ["optuna", "torch"]
    if engine in ENGINES:
        others.append(ENGINES[engine].package)
    for distribution in others:
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue  # of an installation without metadata
    return versions


def check_number(option: str, number: int | None, *, least: int, most: int) -> None:
    """Refuse a number that is out of range before any work is done with it.

    Parameters
    ----------
    option
        The one that gives it.
    number
        None: the option was not given.
    least, most
        The range, both ends included.

    Raises
    ------
    DeclarationError
        If it lies outside.

    Examples
    --------
    >>> check_number("--starts", 10**12, least=1, most=10_000)
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: --starts: expected a whole number from 1 to 10,000, got 1000000000000. Correct it.
    """
    if number is not None and not least <= number <= most:
        raise DeclarationError(
            option,
            expected=f"a whole number from {least} to {most:,}",
            got=number,
            advice="Correct it.",
        )


def most_processes() -> int:
    """Return how many processes a command may start on this machine: four for each core, and at least 16."""
    return max(LEAST_PROCESSES, 4 * (os.cpu_count() or 1))


def find_device(name: str | None) -> str:
    """Return the name of an available device.

    Parameters
    ----------
    name
        The device that was asked for; None: the fastest one.

    Raises
    ------
    DeclarationError
        If the one that was asked for is not available.

    Examples
    --------
    >>> find_device("cpu")
    'cpu'
    >>> find_device("abacus")
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: --device: expected an available device (cpu...), got 'abacus'. Choose one of them.
    """
    import torch

    available = ["cpu"]
    available += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.cuda.is_available():
        available.append("cuda")
    if torch.backends.mps.is_available():
        available.append("mps")
    if name is None:
        return available[-1]
    if name not in available:
        expected = f"an available device ({', '.join(available)})"
        raise DeclarationError(
            "--device", expected=expected, got=repr(name), advice="Choose one of them."
        )
    return name


def find_devices(name: str | None, count: int) -> list[str]:
    """Return the names of several available devices of one kind.

    Parameters
    ----------
    name
        `cpu` or `cuda`, and any other device where `count` is 1; None: the fastest one.
    count
        How many; with `cpu`, how many processes share the processor.

    Raises
    ------
    DeclarationError
        If there are not so many.

    Examples
    --------
    >>> find_devices("cpu", 2)
    ['cpu', 'cpu']
    """
    import torch

    check_number("--devices", count, least=1, most=most_processes())
    first = find_device(name)
    if count == 1:
        return [first]
    if first == "cpu":
        return ["cpu"] * count
    if first != "cuda":
        raise DeclarationError(
            "--device",
            expected="cpu or cuda, for several devices",
            got=first,
            advice="Choose one of them, or leave out --devices.",
        )
    there = torch.cuda.device_count()
    if count > there:
        raise DeclarationError(
            "--devices",
            expected=f"at most the {there} CUDA devices of this machine",
            got=count,
            advice="Choose fewer, or --device cpu.",
        )
    return [f"cuda:{index}" for index in range(count)]


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tensors for the next ones.

    By default every large tensor is given back to the system when it is freed, and the next one of its size is zeroed
    and mapped again, page by page: a third of a training step. Where there is no glibc, nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(M_TOP_PAD, STEP_BYTES)


def in_processes(run: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[R]:
    """Yield the result of a function for each item, in the order in which they become ready.

    The first error ends all, as Ctrl-C, SIGTERM and the end of this process do, however it ends.
    Each of the other processes then gets SIGTERM, which `run` may hold back to finish a step, and
    begins with no other item.

    Parameters
    ----------
    run
        A function of a module, or a `partial` of one: processes are started afresh and import it.
    items
        Its arguments, one for each call.
    jobs
        Processes at a time.

    Examples
    --------
    >>> import math
    >>> sorted(in_processes(math.sqrt, [4.0, 1.0, 9.0], jobs=2))
    [1.0, 2.0, 3.0]
    """
    with processes(run, items, jobs) as futures:
        for future in as_completed(futures):
            yield future.result()


@contextmanager
def processes(run: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[list[Future[R]]]:
    """Compute a function for each item in other processes, beside the work of this block.

    The block's end waits for them; its error, and the end of this process, ends them as `in_processes` does.

    Parameters
    ----------
    run, items, jobs
        As for `in_processes`.

    Yields
    ------
    list of Future
        In the order of the items.
    """
    context = multiprocessing.get_context("spawn")
    # the processes watch one end; the other end is closed here, or by the system when this one is gone
    watched, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_stop_with, initargs=(watched,)
    )
    try:
        yield [pool.submit(_run_until_stopped, run, item) for item in items]
        pool.shutdown()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        held.close()
        pool.shutdown()
        watched.close()


@contextmanager
def threads_among(workers: int) -> Iterator[int]:
    """Let torch use its share of the processor in this block, where several processes compute.

    Parameters
    ----------
    workers
        Processes, this one included.

    Yields
    ------
    int
        Threads of each of them.
    """
    import torch

    before = torch.get_num_threads()
    if workers == 1:
        yield before
        return
    share = max(1, (os.cpu_count() or 1) // workers)
    torch.set_num_threads(share)
    try:
        yield share
    finally:
        torch.set_num_threads(before)


def _stop_with(watched: Connection) -> None:
    """Have this process get SIGTERM when the other end of a pipe is closed; Ctrl-C is for the other one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit)

    def wait() -> None:
        watched.poll(None)  # nothing is ever sent: it returns at the end
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _exit(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(_TERMINATED)


def _run_until_stopped(run: Callable[[T], R], item: T) -> R:
    """Return the result of a function, or end this process, which would begin with the next item."""
    try:
        return run(item)
    except SystemExit:
        os._exit(_TERMINATED)
