"""Which settings belong to a search, whatever else the ledger holds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import hmopt


def declared(tiny_study: Any, folder: Path, coarse: int) -> Path:
    """Copy the trained study, and declare a sweep that reports folding alone."""
    shutil.copytree(tiny_study.folder, folder)
    return declare(folder, coarse)


def declare(folder: Path, coarse: int) -> Path:
    path = folder / "study.toml"
    text = path.read_text(encoding="utf-8")
    before = text[: text.index("[search]")].replace("search = 20", "search = 10")
    search = f"""[search]
coarse = {coarse}
refinements = 1
reported = ["folding"]
min_paired_subjects = 3
"""
    path.write_text(before + search, encoding="utf-8")
    return folder


def test_a_search_is_the_same_whatever_was_measured_before(tiny_study: Any, tmp_path: Path) -> None:
    fresh = declared(tiny_study, tmp_path / "fresh", coarse=3)
    expected = hmopt.search(fresh).measurements
    assert len(expected.settings) <= 4

    folder = declared(tiny_study, tmp_path / "mine", coarse=8)
    assert len(hmopt.search(folder).measurements.settings) >= 8
    again = hmopt.search(declare(folder, coarse=3)).measurements
    assert again.settings == expected.settings
    np.testing.assert_array_equal(again.values["dice"], expected.values["dice"])


def test_a_dense_sweep_beside_the_search_is_not_the_search(tiny_study: Any, tmp_path: Path) -> None:
    fresh = declared(tiny_study, tmp_path / "fresh", coarse=3)
    expected = hmopt.search(fresh).measurements.settings
    folder = declared(tiny_study, tmp_path / "mine", coarse=3)
    assert hmopt.search(folder, dense=True).measurements.settings == expected
    files = hmopt.StudyFolder(folder)
    assert files.measurements().settings == expected
    dense = files.dense_measurements()
    assert dense is not None
    assert len(dense.settings) == 201
    hmopt.report(folder, results=True)
    summary = json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))
    # registrations that found λ*, those of the dense sweep not among them
    assert summary["evaluations"]["registrations"] == len(expected) * len(files.pairs)
    # the committed results have the same settings
    (folder / "search.json").unlink()
    shutil.rmtree(folder / "ledger")
    assert hmopt.StudyFolder(folder).measurements().settings == expected
