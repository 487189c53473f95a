"""The same declaration, data and seeds give the same bytes, and nearly the same numbers on other threads."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hmopt
from hmopt.declaration import NetworkOptions
from hmopt.ledger import recorded
from hmopt.metrics import Originals, measure
from hmopt.networks import RegistrationNetwork

TIMES = frozenset(
    {
        "commands.csv",
        "ledger/leases.json",
        "training-times.csv",
        "studies.db",
        "results/commands.csv",
        "results/training-times.csv",
        "results/times.json",
    }
)
"""Files that hold what a clock tells or decides."""
BOUND = 1e-6
"""Measurements of one model on one and on two threads differ by no more."""
COARSE = (6, 6, 6)
SHAPE = (48, 48, 48)
"""Voxels of images; labels are blocks of 8 along each axis."""


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, but for locks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".lock":
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def begun(tiny_study: Any, folder: Path) -> Path:
    """Return a copy of a declared study, with its images alone."""
    folder.mkdir(parents=True)
    shutil.copytree(tiny_study.folder / "data", folder / "data")
    shutil.copy(tiny_study.folder / "study.toml", folder)
    return folder


def run(folder: Path) -> None:
    hmopt.train(folder, device="cpu")
    hmopt.search(folder, device="cpu")
    hmopt.report(folder, results=True)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_a_study_that_is_made_twice_has_the_same_bytes(
    tiny_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so that the sweep is of many blocks
    monkeypatch.setattr(recorded, "PAIRS_A_BLOCK", 2)
    monkeypatch.setattr(recorded, "SETTINGS_A_BLOCK", 2)
    one = begun(tiny_study, tmp_path / "one")
    run(one)
    other = begun(tiny_study, tmp_path / "at another place" / "other")
    # as on a slow machine, where the ledger is written at other moments
    monkeypatch.setattr(recorded, "SECONDS_A_SHARD", 0.0)
    monkeypatch.setattr(recorded, "SECONDS_A_LEASE", 0.0)
    run(other)

    expected, found = contents(one), contents(other)
    # SQLite may keep them open until the process ends
    kept_open = {"studies.db-shm", "studies.db-wal"}
    assert found.keys() - kept_open == expected.keys() - kept_open
    assert found.keys() >= TIMES
    differing = {name for name in expected.keys() - kept_open if found[name] != expected[name]}
    assert differing <= TIMES


def test_the_documentation_names_the_files_with_times() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "study-folder.md"
    _, table = page.read_text(encoding="utf-8").split("| --- | --- |")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named - {"training.csv"} == TIMES


def measured(network: RegistrationNetwork, originals: Originals, count: int) -> dict[str, Any]:
    """Return the measurements of registered pairs, computed by so many threads."""
    metrics = ["dice", "dice_nearest", "folding", "log_jacobian_sd", "similarity"]
    with threads(count), torch.inference_mode():
        velocity = network(originals.moving, originals.fixed)
        return measure(metrics, originals, network.displacement(velocity))


def test_threads_change_measurements_by_rounding_only() -> None:
    """Images are large enough that torch divides them among threads."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = RegistrationNetwork(
        NetworkOptions(encoder=[8, 16], decoder=[16], final=[8]), SHAPE
    ).eval()
    with torch.no_grad():
        *_, last_weight, _ = network.parameters()
        last_weight.mul_(3000)  # so that images are moved
    moving, fixed = torch.rand(2, 1, 1, *SHAPE, generator=generator)
    labels = torch.randint(0, 4, (2, 1, *COARSE), generator=generator)
    for axis in (2, 3, 4):
        labels = labels.repeat_interleave(8, axis)
    moving_labels, fixed_labels = labels
    originals = Originals(
        moving=moving,
        fixed=fixed,
        moving_labels=moving_labels,
        fixed_labels=fixed_labels,
        label_count=3,
        spacing_mm=None,
    )
    one, two = measured(network, originals, 1), measured(network, originals, 2)
    for name, values in one.items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(two[name], values, rtol=0, atol=BOUND, err_msg=name)
