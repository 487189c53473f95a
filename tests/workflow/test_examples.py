"""Pictures of pairs: slow registrations do not make a search long, and another search draws the rest."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

import hmopt


@pytest.fixture
def folder(tiny_study: Any, tmp_path: Path) -> Path:
    """Return a study that was searched, without pictures."""
    path = tmp_path / "mine"
    shutil.copytree(tiny_study.folder, path)
    hmopt.search(path, device="cpu")
    shutil.rmtree(path / "examples")
    return path


def drawn(folder: Path) -> set[str]:
    return {path.name for path in (folder / "examples").glob("*.npz")}


def test_slow_pictures_are_left_to_another_search_which_keeps_those_that_are_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = itertools.count(step=60)
    with monkeypatch.context() as patch:
        patch.setattr("hmopt.workflow.search.monotonic", lambda: next(minutes))
        with pytest.warns(UserWarning, match=r"Pictures of 2 of \d+ scopes were drawn in 3 min"):
            hmopt.search(folder, device="cpu")
    first = drawn(folder)
    # the whole cohort, and one more
    assert "cohort.npz" in first
    assert len(first) == 2
    times = {name: (folder / "examples" / name).stat().st_mtime_ns for name in first}

    hmopt.search(folder, device="cpu")
    everything = drawn(folder)
    assert first < everything
    assert {name: (folder / "examples" / name).stat().st_mtime_ns for name in first} == times
