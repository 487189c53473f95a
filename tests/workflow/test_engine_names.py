"""Odd names through every command: a hyperparameter named as a metric, and choices with commas, quotes and slashes."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app
from hmopt.data.synthetic import make_cohort
from hmopt.study_folder import StudyFolder

ENGINE = """
import numpy as np

def register(moving, fixed, setting):
    shift = 0.5 if setting["similarity"] == "a,b" else 0.0
    return np.full((2, *moving.shape), shift + setting["dice_nearest"], dtype=np.float32)
"""

STUDY = r"""
name = "odd"
[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"
[preprocessing]
shape = [24, 24]
[split]
train = 0
tune = 0
search = 6
[pairs]
same = ["modality"]
search = 8
[model]
source = "engine"
callable = "odd.py:register"
[hyperparameters.similarity]
type = "categorical"
choices = ["a,b", 'c"d', "e/f.txt", "g'h"]
[hyperparameters.dice_nearest]
[search]
sampler = "RandomSampler"
trials = 5
jobs = 0
reported = ["dice_nearest", "similarity", "folding"]
scopes = [["cohort"], ["label"]]
splits = 20
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("odd") / "study"
    make_cohort(made / "data", subjects=6, shape=(24, 24))
    (made / "odd.py").write_text(ENGINE)
    (made / "study.toml").write_text(STUDY)
    hmopt.search(made, device="cpu")
    hmopt.report(made, results=True)
    return made


def test_committed_results_hold_what_the_ledger_holds(folder: Path, tmp_path: Path) -> None:
    before = StudyFolder(folder).measurements()
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("ledger"))
    after = StudyFolder(tmp_path / "copy").measurements()
    assert after.settings == before.settings
    for metric in ("dice", "dice_nearest", "similarity"):
        assert after.values[metric] == pytest.approx(before.values[metric], abs=1e-6, nan_ok=True)


def test_the_table_of_best_settings_has_every_column_once(folder: Path) -> None:
    import csv

    with (folder / "results/optima.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert len(set(header)) == len(header)
    assert {len(row) for row in rows} == {len(header)}
    best = {row[header.index("similarity")] for row in rows}
    assert best <= {"a,b", 'c"d', "e/f.txt", "g'h"}


def test_the_study_is_exported_and_registers_with_such_a_choice(
    folder: Path, tmp_path: Path
) -> None:
    database = f"sqlite:///{tmp_path / 'all.db'}"
    result = CliRunner().invoke(app, ["export", str(folder), "--storage", database])
    assert result.exit_code == 0, result.output
    first, second, *_ = sorted((folder / "data/images").iterdir())
    for choice in ("a,b", 'c"d', "e/f.txt"):
        arguments = ["register", str(folder), str(first), str(second), "--set"]
        moved = tmp_path / "moved.nii.gz"
        arguments += [f"similarity={choice}", "--moved", str(moved)]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert choice in result.output
