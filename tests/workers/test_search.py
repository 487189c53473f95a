"""`hmopt search` with several workers leaves what one leaves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hmopt
from hmopt.errors import DeclarationError
from hmopt.study_folder import StudyFolder

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


def test_a_number_of_workers_is_at_least_one(tiny_study: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^--workers: expected a whole number >= 1, got 0"):
        hmopt.search(tiny_study.folder, workers=0)
