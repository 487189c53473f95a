"""A small study of the synthetic cohort, trained once for all tests that need a model."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from hmopt.data.preprocessing import prepare
from hmopt.data.synthetic import make_cohort
from hmopt.declaration import read_study
from hmopt.training.train import train

DECLARATION = """
name = "tiny"

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
kinds = ["cross", "within"]
same = ["modality"]
search = 20
tune = 2

[network]
encoder = [4, 8]
decoder = [8]
final = [4]

[hypernetwork]
units = [8]

[training]
steps = 20
batch = 2

[search]
coarse = 5
confirmations = 1
minimum_partners = 3
repeats = 2
"""


@dataclass(frozen=True)
class TinyStudy:
    """A study folder with a trained model, and the declaration that it was trained under."""

    folder: Path

    def image(self, subject: int, session: int = 1, modality: str = "T1") -> Path:
        """Give an image of its cohort."""
        return self.folder / f"data/images/sub-{subject:03}_ses-{session}_{modality}w.nii.gz"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device: run `pytest -m gpu` on a machine that has one")


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> TinyStudy:
    folder = tmp_path_factory.mktemp("tiny")
    make_cohort(folder / "data", subjects=10, shape=(32, 32))
    (folder / "study.toml").write_text(DECLARATION, encoding="utf-8")
    study = read_study(folder)
    train(study, prepare(study, folder), folder)
    return TinyStudy(folder)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of real cohorts that lies beside the repository, or where HMOPT_SHARED says."""
    shared = Path(os.environ.get("HMOPT_SHARED") or Path(__file__).parents[2] / "shared")
    if not (shared / "data").is_dir():
        pytest.skip(f"needs the real cohorts, and {shared / 'data'} is not there: set HMOPT_SHARED to their folder")
    return shared / "data"
