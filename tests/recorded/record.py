"""Run other programs on small inputs and store what they give: `python -m tests.recorded.record`.

The tests compare hmopt with the stored outputs, so that they need none of these programs.
"""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.recorded.inputs import LABELS, SHAPES, image, labels, velocity

OUTPUTS = Path(__file__).with_name("outputs.json")
STEPS = 7
DIGITS = 6


def of_voxelmorph(shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the displacement and the moved image by VoxelMorph's own modules."""
    import torch
    import voxelmorph

    modules = voxelmorph.nn.modules
    field = torch.from_numpy(velocity(shape))[None]
    displacement = modules.IntegrateVelocityField(steps=STEPS)(field)
    moved = modules.SpatialTransformer()(torch.from_numpy(image(shape))[None, None], displacement)
    return {
        "displacement": rounded(displacement[0].numpy()),
        "moved": rounded(moved[0, 0].numpy()),
    }


def of_ants(shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the Dice of each label by ITK's label overlap measures, as ANTs reports them."""
    import ants

    fixed, moved = (ants.from_numpy(labels(shape, seed).astype("float32")) for seed in (11, 12))
    table = ants.label_overlap_measures(moved, fixed).set_index("Label")["MeanOverlap"]
    by_label = {str(key): float(value) for key, value in table.items()}
    return {"dice": [round(by_label[str(label)], DIGITS) for label in range(1, LABELS + 1)]}


def rounded(array: np.ndarray) -> Any:
    """Return nested lists of numbers with few digits."""
    return np.round(array.astype(float), DIGITS).tolist()


def record() -> dict[str, Any]:
    """Return the outputs of all programs, with their versions."""
    return {
        "versions": {name: importlib.metadata.version(name) for name in ("voxelmorph", "antspyx")},
        "voxelmorph": {name: of_voxelmorph(shape) for name, shape in SHAPES.items()},
        "ants": {name: of_ants(shape) for name, shape in SHAPES.items()},
    }


if __name__ == "__main__":
    OUTPUTS.write_text(json.dumps(record()) + "\n", encoding="utf-8")
