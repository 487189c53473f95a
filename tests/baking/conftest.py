"""Hypermorphs that move voxels far, and Python without hmopt."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmopt.declaration import PreprocessingOptions
from hmopt.interop.bake import Baked
from hmopt.interop.own_model import HypermorphModel
from hmopt.networks import build_hypermorph

SETTING = {"regularization": 0.4}
SHAPES = {2: (24, 32), 3: (16, 24, 16)}

MakeModel = Callable[..., HypermorphModel]
Run = Callable[..., subprocess.CompletedProcess[str]]


def make_model(d: int, **preprocessing: Any) -> HypermorphModel:
    """Return an untrained hypermorph whose last convolution is large, so that voxels move by voxels."""
    shape = SHAPES[d]
    # recording a program takes longer with each step of the integration
    network = {"encoder": [4, 8, 8], "decoder": [8, 8], "final": [4], "integration_steps": 3}
    declared = {
        "shape": list(shape),
        "network": network,
        "hypernetwork": {"widths": [8]},
        "hyperparameters": {"regularization": {}},
    }
    torch.manual_seed(d)
    hypermorph = build_hypermorph(declared)
    with torch.no_grad():
        hypermorph.hypernetwork.base.mul_(3)
        last = d * 4 * 3**d + d
        hypermorph.hypernetwork.base[-last:] *= 2000
    options = PreprocessingOptions(shape=list(shape), **preprocessing)
    header = {
        "format": "hmopt-hypermorph-1",
        "version": "0.1.0",
        "architecture": {**declared, "network": hypermorph.registration.options.model_dump()},
        "preprocessing": options.model_dump(mode="json"),
        "spacing_mm": options.spacing_mm,
        "cohort": "0f",
        "loss": {"scale": 2.0},
    }
    return HypermorphModel(Path("model.safetensors"), hypermorph, header)


@pytest.fixture(scope="session")
def model_of_axes() -> MakeModel:
    return make_model


@pytest.fixture(scope="session", params=[2, 3], ids=["2-D", "3-D"])
def baked(request: pytest.FixtureRequest) -> Baked:
    return make_model(request.param).bake(SETTING)


@pytest.fixture
def images() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Return moving and fixed images of a batch, of noise: (batch, 1, *shape)."""

    def draw(shape: tuple[int, ...], batch: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(len(shape))
        moving, fixed = generator.random((2, batch, 1, *shape), dtype=np.float32)
        return moving, fixed

    return draw


@pytest.fixture(scope="session")
def without_hmopt(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run Python in a process in which hmopt cannot be imported."""
    shadow = tmp_path_factory.mktemp("without")
    (shadow / "hmopt.py").write_text("raise ImportError('there is no hmopt here')\n")

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(shadow), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    return run
