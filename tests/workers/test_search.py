"""`hmopt search` with several workers leaves what one leaves."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hmopt
from hmopt.errors import DeclarationError
from hmopt.ledger import Ledger, Measurements
from hmopt.study_folder import StudyFolder
from hmopt.workflow import gap as gap_module
from hmopt.workflow import workers as workers_module

COMMAND = [sys.executable, "-c", "from hmopt.cli.app import main; main()", "search"]


def check_same(one: Path, other: Path) -> None:
    """Compare all measurements of two study folders, but for times, and their studies."""
    found, expected = StudyFolder(one).measurements(), StudyFolder(other).measurements()
    assert found.settings == expected.settings
    for metric in ("dice", "folding"):
        np.testing.assert_array_equal(found.values[metric], expected.values[metric])
    studies = [hmopt.open_study(folder, scope="cohort") for folder in (one, other)]
    assert studies[0].best_params == studies[1].best_params


@pytest.fixture(scope="module")
def alone(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that one worker has searched."""
    folder = tmp_path_factory.mktemp("alone") / "study"
    shutil.copytree(tiny_study.folder, folder)
    hmopt.search(folder, device="cpu")
    return folder


def test_workers_leave_what_one_leaves(tiny_study: Any, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.folder, folder)
    shown: list[str] = []

    def track(items: Any, description: str, total: int, start: int = 0) -> Any:
        shown.append(description)
        yield from items

    swept = hmopt.search(folder, workers=2, track=track, device="cpu")
    check_same(folder, alone)
    assert "Measuring" in shown
    assert len(swept.studies) == len(set(swept.studies))


def test_the_same_command_given_twice_at_once_works_together(
    tiny_study: Any, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.folder, folder)
    shutil.rmtree(folder / "prepared")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [*COMMAND, str(folder), "--device", "cpu"],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(2)
    ]
    for process in started:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    check_same(folder, alone)
    storage = f"sqlite:///{folder}/studies.db"
    import optuna

    for name in optuna.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        settings = [str(trial.user_attrs["setting"]) for trial in study.trials]
        assert len(settings) == len(set(settings))  # none was exported twice


OF_FIELDS: dict[str, Any] = {
    "per_structure": True,
    "maps": ["frequency", "moving"],
    "map_width": 1.0,
}
OF_GAP: dict[str, Any] = {"gap": True, "gap_pairs": 1, "gap_iterations": 2}


@pytest.fixture(scope="module")
def alone_further(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which one worker has measured fields and gap, too."""
    folder = tmp_path_factory.mktemp("further") / "study"
    shutil.copytree(alone, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gap_module, "MOST_ITERATIONS", 4)
        hmopt.search(folder, device="cpu", **OF_FIELDS, **OF_GAP)
    return folder


def check_same_further(one: Path, other: Path) -> None:
    """Compare fields and gap of two study folders, but for times."""
    for name in ("composed.json", "gap.json", "structure-maps.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    found, expected = StudyFolder(one), StudyFolder(other)
    for ours, theirs in zip(found.composed, expected.composed, strict=True):
        check_values(found.composed_measurements(ours), expected.composed_measurements(theirs))
    assert found.gap is not None
    assert expected.gap is not None
    stages = [files.gap_measurements(files.gap) for files in (found, expected) if files.gap]
    for mine, others in zip(*stages, strict=True):
        check_values(mine, others)


def check_values(found: Measurements, expected: Measurements) -> None:
    assert found.settings == expected.settings
    for metric in {*expected.values} - {"wall_time_s"}:
        np.testing.assert_array_equal(found.values[metric], expected.values[metric])


def test_another_process_measures_all_that_fields_and_gap_need(
    alone: Path, alone_further: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it does its work before this one begins, which then has nothing left to measure."""
    folder = tmp_path / "study"
    shutil.copytree(alone, folder)
    monkeypatch.setattr(gap_module, "MOST_ITERATIONS", 4)
    write, written = Ledger.write, []

    def counted(*arguments: Any, **options: Any) -> Any:
        written.append(arguments)
        return write(*arguments, **options)

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("measured what another process had measured")

    @contextmanager
    def in_turn(run: Any, shares: Any, _jobs: int) -> Iterator[list[Any]]:
        monkeypatch.setattr(Ledger, "write", counted)
        for share in shares:
            run(share)
        monkeypatch.setattr(Ledger, "write", refused)
        yield []

    monkeypatch.setattr(workers_module, "processes", in_turn)
    hmopt.search(folder, device="cpu", workers=2, **OF_FIELDS, **OF_GAP)
    assert written
    check_same_further(folder, alone_further)


def test_workers_divide_the_fields(alone: Path, alone_further: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(alone, folder)
    hmopt.search(folder, device="cpu", workers=2, **OF_FIELDS)
    assert (folder / "composed.json").read_bytes() == (alone_further / "composed.json").read_bytes()
    found, expected = StudyFolder(folder), StudyFolder(alone_further)
    for ours, theirs in zip(found.composed, expected.composed, strict=True):
        check_values(found.composed_measurements(ours), expected.composed_measurements(theirs))


@pytest.mark.parametrize("workers", [0, 9999])
def test_a_number_of_workers_is_one_that_the_machine_can_bear(
    workers: int, tiny_study: Any
) -> None:
    before = set(tiny_study.folder.iterdir())
    with pytest.raises(DeclarationError, match=r"^--workers: expected a whole number from 1 to"):
        hmopt.search(tiny_study.folder, workers=workers)
    assert set(tiny_study.folder.iterdir()) == before
