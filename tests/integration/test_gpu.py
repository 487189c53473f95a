from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmopt.data.pairs import draw_pairs
from hmopt.data.preprocessing import prepare
from hmopt.declaration import read_study
from hmopt.oracle import load_oracle
from hmopt.training.train import train

pytestmark = pytest.mark.gpu
BFLOAT16 = 2e-2
"""Dice changes by no more when features are rounded to eight bits."""


def test_a_gpu_measures_what_the_processor_measures(tiny_study: Any) -> None:
    study = read_study(tiny_study.folder)
    cohort = prepare(study, tiny_study.folder)
    pairs = draw_pairs(cohort, study.pairs, "search")
    blocks = {}
    for device in ("cpu", "cuda"):
        oracle = load_oracle(tiny_study.folder, study, cohort, device=device)
        blocks[device] = list(
            oracle.measure([(0,), (100,)], pairs, ["dice", "folding", "similarity"])
        )
    for one, other in zip(blocks["cuda"], blocks["cpu"], strict=True):
        np.testing.assert_allclose(one.values["dice"], other.values["dice"], atol=BFLOAT16)


def test_training_on_a_gpu_takes_the_loss_down(tiny_study: Any, tmp_path: Path) -> None:
    study = read_study(tiny_study.folder)
    train(study, prepare(study, tiny_study.folder), tmp_path, device="cuda")
    losses = np.genfromtxt(tmp_path / "training.csv", delimiter=",", names=True)["similarity"]
    assert np.isfinite(losses).all()
    assert torch.cuda.max_memory_allocated() > 0
