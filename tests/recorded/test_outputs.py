"""hmopt gives what VoxelMorph and ANTs gave on the same inputs; `record.py` stored their outputs."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from hmopt.metrics import Originals, measure
from hmopt.spatial import integrate, warp
from tests.recorded.inputs import LABELS, SHAPES, image, labels, velocity
from tests.recorded.record import OUTPUTS, STEPS


@pytest.fixture(scope="module")
def outputs() -> Any:
    return json.loads(OUTPUTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SHAPES)
def test_a_velocity_is_integrated_as_by_voxelmorph(name: str, outputs: Any) -> None:
    field = torch.from_numpy(velocity(SHAPES[name]))[None]
    expected = np.array(outputs["voxelmorph"][name]["displacement"])
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(integrate(field, STEPS)[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_an_image_is_warped_as_by_voxelmorph(name: str, outputs: Any) -> None:
    recorded = outputs["voxelmorph"][name]
    displacement = torch.tensor(recorded["displacement"])[None]
    moving = torch.from_numpy(image(SHAPES[name]))[None, None]
    moved = warp(moving, displacement)[0, 0].numpy()
    np.testing.assert_allclose(moved, np.array(recorded["moved"]), atol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_the_dice_of_labels_is_that_of_ants(name: str, outputs: Any) -> None:
    shape = SHAPES[name]
    still = torch.from_numpy(image(shape))[None, None]
    moving_labels, fixed_labels = (
        torch.from_numpy(labels(shape, seed).astype(np.int64))[None] for seed in (12, 11)
    )
    originals = Originals(
        moving=still,
        fixed=still,
        moving_labels=moving_labels,
        fixed_labels=fixed_labels,
        label_count=LABELS,
        spacing_mm=None,
    )
    values = measure(["dice_nearest"], originals, torch.zeros(1, len(shape), *shape))
    np.testing.assert_allclose(values["dice_nearest"][0], outputs["ants"][name]["dice"], atol=1e-6)
