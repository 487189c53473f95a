"""Further processes of this machine that measure beside a command: `--workers`."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hmopt.files import one_line, staying
from hmopt.study_folder import StudyFolder
from hmopt.workflow.machine import find_device, keep_freed_memory, processes, threads_among

Measure = Callable[[StudyFolder, str, float], object]
"""Measures something of a study folder on a device, together with other processes. The last argument is
the share of the workers that come before this one, in (0, 1): what has parts may begin with others."""


@contextmanager
def helped(
    files: StudyFolder, workers: int, device: str | None, measure: Measure
) -> Iterator[None]:
    """Have further processes measure beside this one in this block, which waits for them at its end.

    Parameters
    ----------
    files
        The study folder, by whose ledger they divide the work.
    workers
        Processes, this one included; threads of torch are divided among them.
    device
        Where to compute; None: the fastest one that is available.
    measure
        A function of a module, or a `partial` of one, that this process also calls in the block, in a way of
        its own. Where it fails in another process, this one measures what is left.
    """
    with threads_among(workers) as threads:
        if workers == 1:
            yield
            return
        help_it = partial(_help, files.path, find_device(device), threads, measure)
        shares = [number / workers for number in range(1, workers)]
        with processes(help_it, shares, len(shares)) as futures:
            yield
    for future in futures:
        error = future.exception()
        if error is not None:  # this process has measured what that one has not
            warnings.warn(f"A worker ended early: {one_line(error)}", stacklevel=2)


def _help(folder: Path, device: str, threads: int, measure: Measure, share: float) -> None:
    """Measure what another process asks for, in a process that does nothing else."""
    import torch

    torch.set_num_threads(threads)
    keep_freed_memory()
    with staying(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other process tells them
        measure(StudyFolder(folder), device, share)
