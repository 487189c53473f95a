import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from hmopt.declaration import TrainingOptions
from hmopt.errors import DeclarationError
from hmopt.training.group import ALONE, Group, check_divisible

CPU = torch.device("cpu")


class Sum:
    """Sums tensors over threads that stand for processes."""

    def __init__(self, count: int) -> None:
        self._given: list[Tensor] = []
        self._barrier = threading.Barrier(count, timeout=240)

    def __call__(self, tensor: Tensor) -> Tensor:
        self._given.append(tensor)
        self._barrier.wait()
        found = torch.stack(self._given).sum(0)
        if self._barrier.wait() == 0:
            self._given.clear()
        self._barrier.wait()
        return found


def in_threads(count: int, work: Callable[[Group], object]) -> list[object]:
    """Return what the members of a group return, or the errors that they raise."""
    total = Sum(count)
    groups = [Group(number=number, count=count, total=total) for number in range(count)]

    def outcome(group: Group) -> object:
        try:
            return work(group)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(outcome, groups))


@pytest.mark.parametrize(
    ("batch", "settings", "count"), [(4, 4, 2), (4, 4, 4), (8, 4, 2), (6, 4, 2), (12, 6, 3)]
)
def test_every_pair_has_one_process_which_has_its_whole_setting(
    batch: int, settings: int, count: int
) -> None:
    setting_of_pair = {}
    parts = torch.arange(batch).tensor_split(settings)
    for setting, pairs in enumerate(parts):
        for pair in pairs.tolist():
            setting_of_pair[pair] = setting

    seen: list[int] = []
    for number in range(count):
        group = Group(number=number, count=count)
        own = list(range(batch))[group.pairs(batch, settings)]
        own_settings = group.part(range(settings))
        of_own_settings = [pair for pair, one in setting_of_pair.items() if one in own_settings]
        assert own == of_own_settings
        seen += own
    assert seen == list(range(batch))


def test_a_single_process_has_all() -> None:
    assert ALONE.part(["a", "b", "c"]) == ["a", "b", "c"]
    assert ALONE.pairs(7, settings=3) == slice(0, 7)
    assert ALONE.threads(None, CPU) is None
    assert ALONE.device_text(CPU) == "cpu"


def test_processes_share_the_threads_of_a_processor() -> None:
    group = Group(number=1, count=4)
    assert group.threads(8, CPU) == 2
    assert group.threads(3, CPU) == 1
    assert group.threads(8, torch.device("cuda:1")) == 8
    assert group.device_text(torch.device("cuda:1")) == "4 × cuda"


def test_a_batch_that_cannot_be_divided_is_refused_with_numbers_that_can() -> None:
    check_divisible(TrainingOptions(batch=8, settings_per_step=4), 2)
    with pytest.raises(
        DeclarationError,
        match=r"^training\.batch: expected a multiple of 4 devices, got 6\. "
        r"Declare 4 or 8, or choose --devices 1 or 2\.$",
    ):
        check_divisible(TrainingOptions(batch=6, settings_per_step=2), 4)


def test_settings_that_cannot_be_divided_are_refused_too() -> None:
    with pytest.raises(
        DeclarationError,
        match=r"^training\.settings_per_step: expected a multiple of 4 devices, got 2\. "
        r"Declare 4, or choose --devices 1 or 2\.$",
    ):
        check_divisible(TrainingOptions(batch=8, settings_per_step=2), 4)
