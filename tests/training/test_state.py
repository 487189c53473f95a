import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from hmopt.errors import CheckpointError
from hmopt.space import Hyperparameter, Space
from hmopt.study_folder import times_of_log
from hmopt.training.optimization import make_average
from hmopt.training.state import (
    Log,
    Progress,
    load_state,
    logged_progress,
    minutes_of_model,
    save_state,
)

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
PROGRESS = Progress(step=3, minutes=0.1 + 0.2, scale=1 / 3)


def training(seed: int) -> tuple[nn.Module, AveragedModel, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(
        [{"params": layer.parameters()} for layer in module], lr=0.1, fused=True
    )
    average = make_average(module, decay=0.9)
    for tensor in average.parameters():
        nn.init.uniform_(tensor)
    return module, average, optimizer


def step(module: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    module(torch.linspace(0, 1, 6).reshape(2, 3)).square().sum().backward()
    optimizer.step()
    average.update_parameters(module)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state.safetensors"
    module, average, optimizer = training(0)
    for _ in range(3):
        step(module, average, optimizer)
    save_state(path, PROGRESS, module, average, optimizer, "key")
    return path


def test_restored_training_goes_on_as_the_one_that_was_saved(path: Path) -> None:
    module, average, optimizer = training(0)
    for _ in range(5):
        step(module, average, optimizer)
    restored, restored_average, restored_optimizer = training(1)
    assert load_state(path, restored, restored_average, restored_optimizer, "key") == PROGRESS
    for _ in range(2):
        step(restored, restored_average, restored_optimizer)
    for one, other in zip(module.parameters(), restored.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(average.parameters(), restored_average.parameters(), strict=True):
        assert torch.equal(one, other)


def test_no_file_restores_nothing(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.safetensors", *training(0), "key") is None


def test_state_of_another_declaration_is_refused(path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="expected a state of the declared training, got one of another"
    ):
        load_state(path, *training(0), "another key")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_file_cut_short_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="expected a state of training") as caught:
        load_state(path, *training(0), "key")
    assert "\n" not in str(caught.value)


def refusal(path: Path) -> str:
    with pytest.raises(
        CheckpointError, match=r"state.safetensors: expected a state of training, got"
    ) as caught:
        load_state(path, *training(0), "key")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("Delete the file to start again.")
    return str(caught.value)


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, **metadata: str) -> None:
    """Write a state as an earlier version did, without a hash, with a change."""
    with safe_open(path, framework="pt") as file:
        kept = {key: value for key, value in file.metadata().items() if key != "sha256"}
    save_file(load_file(path) if tensors is None else tensors, path, {**kept, **metadata})


def test_every_flipped_bit_of_a_tensor_is_seen(path: Path) -> None:
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in np.random.default_rng(0).integers(8 * start, 8 * len(whole), 100).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        refusal(path)


def test_a_state_of_an_earlier_version_is_read(path: Path) -> None:
    rewrite(path)
    assert load_state(path, *training(0), "key") == PROGRESS


PROGRESSES: dict[str, object] = {
    "a list": [],
    "a number": 3,
    "text": "x",
    "no minutes": {"step": 3, "scale": 1.0},
    "steps of text": {"step": "x", "minutes": 0.1, "scale": 1.0},
    "half a step": {"step": 2.5, "minutes": 0.1, "scale": 1.0},
    "minutes of nothing": {"step": 3, "minutes": None, "scale": 1.0},
    "no scale at all": {"step": 3, "minutes": 0.1, "scale": 0.0},
    "more steps than the optimizer took": {"step": 10**9, "minutes": 0.1, "scale": 1.0},
}


@pytest.mark.parametrize("name", PROGRESSES)
def test_a_progress_that_cannot_be_is_refused(name: str, path: Path) -> None:
    rewrite(path, progress=json.dumps(PROGRESSES[name]))
    refusal(path)


def test_a_progress_that_is_no_json_is_refused(path: Path) -> None:
    rewrite(path, progress="{")
    refusal(path)


@pytest.mark.parametrize(
    "prefix", ["weights/", "averages/", "optimizer/0/exp_avg", "optimizer/3/step"]
)
def test_a_tensor_that_is_missing_or_of_another_kind_is_refused(prefix: str, path: Path) -> None:
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if name.startswith(prefix))
    for change in (
        None,
        tensors[name].double(),
        tensors[name].to(torch.int32),
        tensors[name][None],
    ):
        rewrite(path, {other: one for other, one in tensors.items() if other != name})
        if change is not None:
            rewrite(path, {**tensors, name: change})
        refusal(path)
    rewrite(path, {**tensors, name: torch.full_like(tensors[name], torch.nan)})
    refusal(path)


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    path = tmp_path / "training.csv"
    log = Log(path, SPACE, step=0)
    for step in (10, 20, 30):
        log.write({"step": step, "loss": 1 / 3 / step, "setting_regularization": 0.25}, step / 60)
    return path


def test_rows_are_read_as_they_were_written(log_path: Path) -> None:
    table = pd.read_csv(log_path)
    assert table["step"].tolist() == [10, 20, 30]
    assert table["loss"].tolist() == pytest.approx([1 / 30, 1 / 60, 1 / 90], rel=1e-5)
    assert table["tune_dice"].isna().all()
    assert list(table) == [
        *(
            "step",
            "learning_rate",
            "loss",
            "similarity",
            "regularization_term",
            "overlap",
            "tune_dice",
        ),
        "setting_regularization",
    ]


def times(log_path: Path) -> list[tuple[float, float]]:
    table = pd.read_csv(times_of_log(log_path))
    return list(zip(table["step"], table["minutes"], strict=True))


def test_minutes_stand_in_a_file_of_their_own(log_path: Path) -> None:
    assert times(log_path) == [(10, 0.166667), (20, 0.333333), (30, 0.5)]
    assert logged_progress(log_path) == (30, 0.5)
    model = log_path.with_name("model-half.safetensors")
    assert minutes_of_model(model, {"steps": 20}) == pytest.approx(1 / 3, abs=1e-5)
    assert minutes_of_model(model, {"steps": 5}) == 0
    assert minutes_of_model(model, {"steps": 20, "minutes": 7.5}) == 7.5  # an earlier version


def test_the_log_of_an_earlier_version_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "training.csv"
    path.write_text("step,minutes,loss\n10,0.5,3\n20,1,2\n30,1.5,1\n", encoding="utf-8")
    assert logged_progress(path) == (30, 1.5)
    Log(path, SPACE, step=20).write({"step": 25, "loss": 1.5}, minutes=1.25)
    assert times(path) == [(10, 0.5), (20, 1), (25, 1.25)]
    table = pd.read_csv(path)
    assert table["loss"].tolist() == [3, 2, 1.5]
    assert "minutes" not in table


def test_rows_after_the_step_continued_from_are_forgotten(log_path: Path) -> None:
    Log(log_path, SPACE, step=20).write({"step": 25}, minutes=0.4)
    assert pd.read_csv(log_path)["step"].tolist() == [10, 20, 25]
    assert [step for step, _ in times(log_path)] == [10, 20, 25]


def test_training_from_the_start_begins_a_new_log(log_path: Path) -> None:
    Log(log_path, SPACE, step=0)
    assert pd.read_csv(log_path).empty


@pytest.mark.parametrize("cut", range(1, 16, 2))
def test_torn_last_row_is_forgotten(log_path: Path, cut: int) -> None:
    """The row of step 30, cut short, may look like one of step 3."""
    log_path.write_text(log_path.read_text(encoding="utf-8")[:-cut], encoding="utf-8")
    Log(log_path, SPACE, step=20)
    assert pd.read_csv(log_path)["step"].tolist() == [10, 20]


def test_log_that_is_gone_is_begun_anew(log_path: Path) -> None:
    log_path.unlink()
    Log(log_path, SPACE, step=20).write({"step": 25}, minutes=0.4)
    assert pd.read_csv(log_path)["step"].tolist() == [25]
