"""Processes that train one model together: which pairs each of them registers, and the sum over all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from hmopt.declaration import TrainingOptions
from hmopt.errors import DeclarationError

T = TypeVar("T")


def _itself(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True, kw_only=True)
class Group:
    """One of some processes, each with a device of its own, that take the steps of a training together.

    The settings of a step are divided among the processes, and the pairs with them: those of one setting
    stay together, so that every term of the loss is computed over the pairs that one process would compute
    it over. Every process draws the same numbers and moves its own copy of the weights by the same
    gradient.

    For example, 8 pairs at 4 settings a, b, c, d, two pairs at each, and two processes:

        pair       0  1  2  3  4  5  6  7
        setting    a  a  b  b  c  c  d  d
        process    0  0  0  0  1  1  1  1

    Parameters
    ----------
    number
        Of this process, from 0. The first one alone writes files.
    count
        How many there are.
    total
        Returns the sum over all processes of a tensor that each has in the same shape; all must call it.

    Examples
    --------
    >>> second = Group(number=1, count=2)
    >>> second.part(["a", "b", "c", "d"]), second.pairs(8, settings=4)
    (['c', 'd'], slice(4, 8, None))
    """

    number: int = 0
    count: int = 1
    total: Callable[[Tensor], Tensor] = _itself

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.number == 0

    def part(self, settings: Sequence[T]) -> list[T]:
        """Return the settings of a step that are this process's own, in their order."""
        size = len(settings) // self.count
        start = self.number * size
        return list(settings[start : start + size])

    def pairs(self, count: int, settings: int) -> slice:
        """Return which of the pairs of a step are registered at them, where so many settings divide all pairs."""
        of_settings = torch.arange(count).tensor_split(settings)
        own = torch.cat(self.part(of_settings))
        first = int(own[0])
        return slice(first, first + len(own))

    def threads(self, declared: int | None, device: torch.device) -> int | None:
        """Return the CPU threads of this process: on a processor, all share those that are declared.

        Parameters
        ----------
        declared
            `training.threads`.
        device
            Where it computes.

        Returns
        -------
        int or None
            None: as many as torch takes.
        """
        if self.count == 1 or device.type != "cpu":
            return declared
        every = declared or torch.get_num_threads()
        return max(1, every // self.count)

    def device_text(self, device: torch.device) -> str:
        """Return where the training is computed, as a model's file tells it."""
        return str(device) if self.count == 1 else f"{self.count} × {device.type}"


ALONE = Group()
"""A single process, which does all itself."""


def check_divisible(options: TrainingOptions, count: int) -> None:
    """Refuse a number of devices among which the pairs and settings of a step cannot be divided.

    Parameters
    ----------
    options
        `[training]`.
    count
        How many devices.

    Raises
    ------
    DeclarationError
        If one of the two is no multiple of it.

    Examples
    --------
    >>> check_divisible(TrainingOptions(batch=4), 2)
    >>> check_divisible(TrainingOptions(batch=4), 3)
    Traceback (most recent call last):
    hmopt.errors.DeclarationError: training.batch: expected a multiple of 3 devices, got 4. Declare 3 or 6, or ...
    """
    settings = min(options.settings_per_step, options.batch)
    for name, number in (("batch", options.batch), ("settings_per_step", settings)):
        if number % count == 0:
            continue
        below = number - number % count
        near = [str(one) for one in (below, below + count) if one]
        fitting = [
            str(one) for one in range(1, count) if not (options.batch % one or settings % one)
        ]
        raise DeclarationError(
            f"training.{name}",
            expected=f"a multiple of {count} devices",
            got=number,
            advice=f"Declare {' or '.join(near)}, or choose --devices {' or '.join(fitting)}.",
        )
