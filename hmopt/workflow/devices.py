"""Training on several devices: a process for each, joined by Lightning Fabric.

This process is the first of them. It starts the others afresh, shows the progress, listens to Ctrl-C and
SIGTERM and writes all files; the others take their part of every step, and hold nothing that is lost with
them. So whatever ends the first one, they are ended too: they watch a pipe that the system closes with it.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed

from hmopt.errors import HmoptError
from hmopt.training.group import Group

HERE = "127.0.0.1"
LONGEST_WAIT = timedelta(hours=12)
"""How long a process waits for another one, as for the tune Dice that the first one computes at a checkpoint."""
SECONDS_TO_END = 10
"""How long a process has to end, and to tell why."""

_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
"""Environment variables in which Fabric leaves where the processes meet."""
_TERMINATED = 143
"""Exit code after SIGTERM."""

Work = Callable[[Group], None]


@dataclass(frozen=True)
class _Other:
    """Another process, and where it tells why it ended."""

    process: BaseProcess
    told: Connection

    def problem(self) -> Exception | None:
        """Return why it ended before its work was done; None where it told nothing, or that it is ready."""
        if not self.told.poll():
            return None
        try:
            message = self.told.recv()
        except EOFError:
            self.process.join(SECONDS_TO_END)
            return HmoptError(
                "--devices",
                expected="processes that run until the end of the training",
                got=f"one that ended with exit code {self.process.exitcode}",
                advice="Check why it ended, for example lack of memory, and rerun to resume from the last checkpoint.",
            )
        return message if isinstance(message, Exception) else None


@contextmanager
def together(work: Work, devices: Sequence[str]) -> Iterator[Group]:
    """Start a process for each further device, and yield the group that this one forms with them.

    They are ended with the block, however it ends, and with this process.

    Parameters
    ----------
    work
        What each of the others does: a function of a module, or a `partial` of one. They are started
        afresh and import it.
    devices
        As of `hmopt.workflow.machine.find_devices`; the first is that of this process.

    Yields
    ------
    Group
        That of this process.

    Raises
    ------
    HmoptError
        If another process ends, by an error of its own or from outside.
    """
    context = multiprocessing.get_context("spawn")
    port = find_free_network_port()
    # the others watch one end; the other end is closed here, or by the system when this process is gone
    watched, held = context.Pipe(duplex=False)
    others: list[_Other] = []
    try:
        for number in range(1, len(devices)):
            told, tells = context.Pipe(duplex=False)
            arguments = (work, number, devices, port, watched, tells)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            tells.close()  # so that its end is seen at the other end
            others.append(_Other(process, told))
        for other in others:
            _wait_until_ready(other)
        yield _join(0, devices, port)
    except RuntimeError as error:
        # torch raises it where another process is gone
        problem = _first_problem(others)
        if problem is None:
            raise
        raise problem from error
    finally:
        held.close()
        for other in others:
            other.process.join(SECONDS_TO_END)
            if other.process.is_alive():
                other.process.kill()
                other.process.join()
            other.told.close()
        watched.close()
        _leave()


def _wait_until_ready(other: _Other) -> None:
    """Wait until a process can connect: Ctrl-C is heard here, and not while it does."""
    while not other.told.poll(0.1):
        pass
    problem = other.problem()
    if problem is not None:
        raise problem


def _first_problem(others: Sequence[_Other]) -> Exception | None:
    """Return why a process ended; rather what went wrong in one than that it missed another one."""
    wait([other.told for other in others], SECONDS_TO_END)
    problems = [other.problem() for other in others]
    found = [problem for problem in problems if problem is not None]
    for problem in found:
        missed_another = type(problem) is RuntimeError or isinstance(problem, distributed.DistError)
        if not missed_another:
            return problem
    return found[0] if found else None


def _work(
    work: Work,
    number: int,
    devices: Sequence[str],
    port: int,
    watched: Connection,
    tells: Connection,
) -> None:
    """Do the work of another process than the first, and tell of an error."""
    # the first one hears them, finishes its step, and ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def end_with_the_first() -> None:
        watched.poll(None)  # nothing is ever sent: it returns at the end
        os._exit(_TERMINATED)  # also while this process waits for the others

    ending = threading.Thread(target=end_with_the_first, daemon=True)
    ending.start()
    try:
        tells.send("ready")
        group = _join(number, devices, port)
        work(group)
    except Exception as error:
        tells.send(_sendable(error))
        os._exit(1)  # the others see that it is gone
    # its part of the last step may still be on its way
    ending.join()


def _sendable(error: Exception) -> Exception:
    """Return an error that can be pickled: where it cannot, its text."""
    try:
        multiprocessing.reduction.ForkingPickler.dumps(error)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _join(number: int, devices: Sequence[str], port: int) -> Group:
    """Connect this process with the others, and return its group."""
    # it reports every process that connects
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    kind = torch.device(devices[number]).type
    strategy = DDPStrategy(
        cluster_environment=_OneMachine(number, len(devices), port), timeout=LONGEST_WAIT
    )
    fabric = Fabric(accelerator=kind, devices=len(devices), strategy=strategy)
    fabric.launch()

    def total(tensor: Tensor) -> Tensor:
        added = fabric.all_reduce(tensor, reduce_op="sum")
        assert isinstance(added, Tensor)
        return added

    return Group(number=number, count=len(devices), total=total)


def _leave() -> None:
    """Disconnect this process, and leave no trace in its environment."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
    for name in _ADDRESS:
        os.environ.pop(name, None)


class _OneMachine(ClusterEnvironment):
    """The processes that `together` starts, as Fabric asks for them.

    Parameters
    ----------
    number, count
        Of this process, and how many there are.
    port
        Where they meet.
    """

    def __init__(self, number: int, count: int, port: int) -> None:
        super().__init__()
        self._number, self._count, self._port = number, count, port

    @property
    def creates_processes_externally(self) -> bool:
        """They are there when Fabric begins."""
        return True

    @property
    def main_address(self) -> str:
        """Address of the machine, seen from itself."""
        return HERE

    @property
    def main_port(self) -> int:
        """Where the processes meet."""
        return self._port

    @staticmethod
    def detect() -> bool:
        """Return False: only `together` chooses it."""
        return False

    def world_size(self) -> int:
        """Return the number of processes."""
        return self._count

    def set_world_size(self, size: int) -> None:
        """Do nothing: it is known."""

    def global_rank(self) -> int:
        """Return the number of this process."""
        return self._number

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: it is known."""

    def local_rank(self) -> int:
        """Return the number of this process on this machine."""
        return self._number

    def node_rank(self) -> int:
        """Return 0: there is one machine."""
        return 0
