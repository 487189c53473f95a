"""A small study folder that declares a plugin, and a catalogue that is as it was once a test has ended."""

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hmopt.cli.app import app
from hmopt.data.synthetic import make_cohort

DECLARATION = """
name = "extended"
plugins = ["plugin.py"]

[cohort]
manifest = "data/cohort.csv"
label_names = "data/dseg.tsv"

[preprocessing]
shape = [32, 32]

[split]
train = 4
tune = 2
search = 4

[pairs]
tasks = ["cross"]
same = ["modality"]
search = 10
tune = 2

[network]
encoder = [4, 8]
decoder = [8]
final = [4]

[hypernetwork]
widths = [8]

[training]
steps = 12
batch = 2
"""

MakeStudy = Callable[[str, str], Path]


@pytest.fixture
def make_study(tmp_path: Path, catalogue: None) -> MakeStudy:
    """Write a study folder with a plugin, given as its text, and further tables of `study.toml`."""

    def make(plugin: str, tables: str) -> Path:
        folder = tmp_path / "study"
        make_cohort(folder / "data", subjects=10, shape=(32, 32))
        (folder / "plugin.py").write_text(plugin, encoding="utf-8")
        (folder / "study.toml").write_text(DECLARATION + tables, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def hmopt() -> Callable[..., str]:
    """Run a command as a user does and return what it prints."""

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    return run


SHIFT = 3.0
"""Voxels by which the second session of every subject is moved along x."""

BOXES = """
name = "shifted boxes"
[cohort]
manifest = "cohort.csv"
label_names = "names.tsv"
[preprocessing]
shape = [32, 32]
[split]
train = 0
tune = 0
search = 6
[pairs]
csv = "pairs.csv"
[model]
source = "engine"
callable = "shifting.py:register"
[hyperparameters.shift]
low = 0.0
high = 6.0
step = 0.05
default = 1.5
[search]
reported = ["folding"]
coarse = 5
refinements = 5
scopes = [["cohort"], ["label"]]
"""


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a study folder of boxes in two sessions, the second one moved by `SHIFT`; without an engine."""
    folder = tmp_path_factory.mktemp("boxes")
    rows = []
    for subject in range(6):
        for session, start in (("1", 12), ("2", 12 - int(SHIFT))):
            labels = np.zeros((32, 32), np.uint8)
            labels[start : start + 8, 8 : 16 + subject] = 1
            labels[start + 2 : start + 6, 10:14] = 2
            image = labels.astype(np.float32) + 0.01 * subject
            name = f"sub-{subject}_ses-{session}"
            _save(image, folder / f"{name}.nii.gz")
            _save(labels, folder / f"{name}_labels.nii.gz")
            row = {"image": f"{name}.nii.gz", "label": f"{name}_labels.nii.gz"}
            rows.append({**row, "subject": str(subject), "session": session})
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    names = pd.DataFrame({"index": [1, 2], "name": ["box", "core"]})
    names.to_csv(folder / "names.tsv", sep="\t", index=False)
    pairs = [(f"sub-{subject}_ses-1", f"sub-{subject}_ses-2") for subject in range(6)]
    pd.DataFrame(pairs, columns=["moving", "fixed"]).to_csv(folder / "pairs.csv", index=False)
    (folder / "study.toml").write_text(BOXES, encoding="utf-8")
    return folder


@pytest.fixture
def boxes_copy(boxes: Path, tmp_path: Path) -> Path:
    """Return a copy of the study folder of boxes."""
    copy = tmp_path / "boxes"
    shutil.copytree(boxes, copy)
    return copy


def _save(array: np.ndarray, path: Path) -> None:
    nibabel.Nifti1Image(array[:, :, None], np.eye(4)).to_filename(path)
