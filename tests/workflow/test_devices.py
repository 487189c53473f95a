"""Several processes train what one trains; they end with the first one, however it ends."""

import csv
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from safetensors.numpy import load_file

import hmopt
from hmopt.errors import DeclarationError, HmoptError
from hmopt.locks import alone, lock_beside
from hmopt.networks import read_header
from hmopt.progress import Track
from hmopt.study_folder import StudyFolder
from hmopt.workflow.machine import find_devices
from hmopt.workflow.train import Trained

pytest.importorskip("lightning_fabric")

T = TypeVar("T")
TOLERANCE = 1e-4
"""Loss curves of one and of two processes differ by no more."""
LONG = 10**6
LIMIT_S = 240.0
"""How long anything is waited for, on a machine that is busy with other things."""


@pytest.fixture(scope="module")
def untrained(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study folder whose images are prepared, with augmentation and checkpoints at every fourth step."""
    folder = tmp_path_factory.mktemp("untrained") / "study"
    shutil.copytree(tiny_study.folder, folder, ignore=shutil.ignore_patterns("model*", "training*"))
    declare(folder, "batch = 2", "batch = 4\ncheckpoint_every = 4")
    return folder


def declare(folder: Path, old: str, new: str) -> None:
    path = folder / "study.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def copied(untrained: Path, place: Path) -> Path:
    return Path(shutil.copytree(untrained, place))


def columns(folder: Path) -> dict[str, list[float]]:
    """Return the numbers of a log by column; cells without one are NaN."""
    found: dict[str, list[float]] = {}
    with (folder / "training.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for name, cell in row.items():
                found.setdefault(name, []).append(float(cell or "nan"))
    return found


def assert_same_training(one: Path, other: Path) -> None:
    expected, found = columns(one), columns(other)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=TOLERANCE, err_msg=name)
    for name in ("model", "model-half"):
        weights = load_file(one / f"{name}.safetensors")
        others = load_file(other / f"{name}.safetensors")
        for key, tensor in weights.items():
            np.testing.assert_allclose(others[key], tensor, atol=TOLERANCE, err_msg=key)


class Interrupted(Exception):  # noqa: N818 - it is no error here
    """Stands for whatever ends a training early."""


def interrupting(after: int) -> Track:
    def track(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        for done, item in enumerate(items):
            if description == "Training" and done == after:
                raise Interrupted
            yield item

    return track


def killing(after: int) -> Track:
    def track(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        for done, item in enumerate(items):
            if description == "Training" and done == after:
                (other,) = multiprocessing.active_children()
                other.kill()
            yield item

    return track


def test_two_processes_train_as_one_and_a_training_is_resumed_on_another_number(
    untrained: Path, tmp_path: Path
) -> None:
    one = copied(untrained, tmp_path / "one")
    hmopt.train(one, device="cpu")

    two = copied(untrained, tmp_path / "two")
    trained = hmopt.train(two, device="cpu", devices=2)
    assert isinstance(trained, Trained)
    assert trained.device == "2 × cpu"
    assert trained.minutes > 0
    assert_same_training(one, two)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    assert (
        read_header(two / "model.safetensors")["training_key"]
        == (read_header(one / "model.safetensors")["training_key"])
    )
    assert multiprocessing.active_children() == []

    changing = copied(untrained, tmp_path / "changing")
    for devices, steps in ((1, 5), (2, 6)):
        with pytest.raises(Interrupted):
            hmopt.train(changing, device="cpu", devices=devices, track=interrupting(steps))
        assert (changing / "training-state.safetensors").is_file()
    hmopt.train(changing, device="cpu")
    assert_same_training(one, changing)
    assert not (changing / "training-state.safetensors").exists()


def test_a_process_that_was_killed_ends_the_training_in_one_line(
    untrained: Path, tmp_path: Path
) -> None:
    folder = copied(untrained, tmp_path / "study")
    with pytest.raises(
        HmoptError,
        match=r"^--devices: expected processes that run until the end of the training, "
        r"got one that ended with exit code -9\. Check why it ended",
    ):
        hmopt.train(folder, device="cpu", devices=2, track=killing(after=6))
    assert multiprocessing.active_children() == []
    assert (folder / "training-state.safetensors").is_file()


def children(process: int) -> list[int]:
    """Return the processes that a process has started with a part of a training."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process)], capture_output=True, text=True
    )
    lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    return [int(number) for number, arguments in lines if "spawn_main" in arguments]


def is_running(process: int) -> bool:
    """Tell whether a process still runs; one that only waits to be cleared away does not."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return bool(told.stdout.strip()) and not told.stdout.strip().startswith("Z")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are listed as on Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_first_process_ends_the_others(
    untrained: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = copied(untrained, tmp_path / "study")
    declare(folder, "steps = 20", f"steps = {LONG}")
    declare(folder, "checkpoint_every = 4", f"checkpoint_every = {LONG}")
    command = "import sys; from hmopt.cli.app import main; sys.exit(main())"
    running = subprocess.Popen(
        [sys.executable, "-c", command, "train", str(folder), "--device", "cpu", "--devices", "2"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = folder / "training.csv"
    deadline = time.monotonic() + LIMIT_S
    while not (log.is_file() and log.read_text(encoding="utf-8").count("\n") > 1):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline, "nothing was trained"
        time.sleep(0.1)
    others = children(running.pid)
    assert len(others) == 1
    if number == signal.SIGKILL:
        running.kill()
    else:  # a terminal and some schedulers send it to all processes
        os.killpg(running.pid, number)
    _, said = running.communicate(timeout=LIMIT_S)
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    assert running.returncode == expected[number], said
    assert "Traceback" not in said
    deadline = time.monotonic() + LIMIT_S
    while any(is_running(other) for other in others):
        assert time.monotonic() < deadline, "a process goes on"
        time.sleep(0.1)
    # the state of the last step, where there was time to write it
    assert (folder / "training-state.safetensors").is_file() == (number != signal.SIGKILL)


def test_another_training_is_waited_for_before_processes_start(
    untrained: Path, tmp_path: Path
) -> None:
    """They would read the state to resume from, which the other training still changes."""
    folder = copied(untrained, tmp_path / "study")
    children: list[int] = []

    def track(items: Iterable[T], description: str, total: int, start: int = 0) -> Iterator[T]:
        if description.startswith("Waiting for"):
            children.append(len(multiprocessing.active_children()))
            raise Interrupted
        yield from items

    lock = lock_beside(StudyFolder(folder).training_state_file)
    with alone(lock, "trains this model"), pytest.raises(Interrupted):
        hmopt.train(folder, device="cpu", devices=2, track=track)
    assert children == [0]


def test_a_batch_that_cannot_be_divided_is_refused_before_anything_is_done(
    untrained: Path, tmp_path: Path
) -> None:
    folder = copied(untrained, tmp_path / "study")
    before = {path.name for path in folder.iterdir()}
    with pytest.raises(
        DeclarationError, match=r"^training\.batch: expected a multiple of 3 devices, got 4\."
    ):
        hmopt.train(folder, device="cpu", devices=3)
    assert {path.name for path in folder.iterdir()} == before


def test_without_fabric_several_devices_are_refused(
    untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    monkeypatch.delitem(sys.modules, "hmopt.workflow.devices", raising=False)
    with pytest.raises(
        DeclarationError,
        match=r"^--devices: expected Lightning Fabric, .* Install it: pip install 'hmopt\[devices\]'",
    ):
        hmopt.train(untrained, device="cpu", devices=2)


@pytest.mark.parametrize("count", [0, -1])
def test_no_device_is_refused(count: int) -> None:
    with pytest.raises(DeclarationError, match=r"^--devices: expected a whole number from 1 to"):
        find_devices("cpu", count)


def test_more_gpus_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_devices("cuda", 2) == ["cuda:0", "cuda:1"]
    with pytest.raises(
        DeclarationError,
        match=r"^--devices: expected at most the 2 CUDA devices of this machine, got 3",
    ):
        find_devices("cuda", 3)
    with pytest.raises(
        DeclarationError, match=r"^--device: expected cpu or cuda, for several devices, got cuda:1"
    ):
        find_devices("cuda:1", 2)
