from pathlib import Path

import pytest
import torch
from torch import nn

from hmopt.errors import CheckpointError
from hmopt.training.state import Progress, load_state, save_state

PROGRESS = Progress(step=3, minutes=0.1 + 0.2, scale=1 / 3)


def learner(seed: int) -> tuple[nn.Module, list[torch.Tensor], torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.Adam([{"params": layer.parameters()} for layer in module], lr=0.1, fused=True)
    return module, [torch.rand_like(tensor) for tensor in module.state_dict().values()], optimizer


def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    module(torch.linspace(0, 1, 6).reshape(2, 3)).square().sum().backward()
    optimizer.step()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state.safetensors"
    module, averages, optimizer = learner(0)
    for _ in range(3):
        step(module, optimizer)
    save_state(path, PROGRESS, module, averages, optimizer, "key")
    return path


def test_restored_training_goes_on_as_the_one_that_was_saved(path: Path) -> None:
    module, averages, optimizer = learner(0)
    for _ in range(5):
        step(module, optimizer)
    restored, restored_averages, restored_optimizer = learner(1)
    assert load_state(path, restored, restored_averages, restored_optimizer, "key") == PROGRESS
    for _ in range(2):
        step(restored, restored_optimizer)
    for one, other in zip(module.parameters(), restored.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(averages, restored_averages, strict=True):
        assert torch.equal(one, other)


def test_no_file_restores_nothing(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.safetensors", *learner(0), "key") is None


def test_state_of_another_declaration_is_refused(path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a state of the declared training, got one of another"):
        load_state(path, *learner(0), "another key")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_file_cut_short_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="expected a state of training") as caught:
        load_state(path, *learner(0), "key")
    assert "\n" not in str(caught.value)
