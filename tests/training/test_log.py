from pathlib import Path

import pandas as pd
import pytest

from hmopt.space import Hyperparameter, Space
from hmopt.training.log import Log

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "training.csv"
    log = Log(path, SPACE, step=0)
    for step in (10, 20, 30):
        log.write({"step": step, "loss": 1 / 3 / step, "setting_regularization": 0.25})
    return path


def test_rows_are_read_as_they_were_written(path: Path) -> None:
    table = pd.read_csv(path)
    assert table["step"].tolist() == [10, 20, 30]
    assert table["loss"].tolist() == pytest.approx([1 / 30, 1 / 60, 1 / 90], rel=1e-5)
    assert table["tune_dice"].isna().all()
    assert list(table) == [
        *(
            "step",
            "minutes",
            "learning_rate",
            "loss",
            "similarity",
            "regularization_term",
            "overlap",
            "tune_dice",
        ),
        "setting_regularization",
    ]


def test_rows_after_the_step_continued_from_are_forgotten(path: Path) -> None:
    Log(path, SPACE, step=20).write({"step": 25})
    assert pd.read_csv(path)["step"].tolist() == [10, 20, 25]


def test_training_from_the_start_begins_a_new_log(path: Path) -> None:
    Log(path, SPACE, step=0)
    assert pd.read_csv(path).empty


@pytest.mark.parametrize("cut", range(1, 16, 2))
def test_torn_last_row_is_forgotten(path: Path, cut: int) -> None:
    """The row of step 30, cut short, may look like one of step 3."""
    path.write_text(path.read_text(encoding="utf-8")[:-cut], encoding="utf-8")
    Log(path, SPACE, step=20)
    assert pd.read_csv(path)["step"].tolist() == [10, 20]


def test_log_that_is_gone_is_begun_anew(path: Path) -> None:
    path.unlink()
    Log(path, SPACE, step=20).write({"step": 25})
    assert pd.read_csv(path)["step"].tolist() == [25]
