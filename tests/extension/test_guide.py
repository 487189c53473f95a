"""The metric that the guide to extending shows."""

import re
from pathlib import Path

import pytest
import torch

from hmopt.metrics import Originals, measure

GUIDE = Path(__file__).parents[2] / "docs/how-to/extend.md"


def test_the_metric_of_the_guide_is_the_length_of_a_translation(catalogue: None) -> None:
    (first, *_) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.M)
    exec(compile(first, str(GUIDE), "exec"), {})
    labels = torch.zeros(1, 16, 16, dtype=torch.int32)
    labels[0, 4:8, 4:8] = 1
    blank = torch.zeros(1, 1, 16, 16)
    originals = Originals(
        moving=blank,
        fixed=blank,
        moving_labels=labels,
        fixed_labels=labels,
        label_count=2,
        spacing_mm=(2.0, 0.5),
    )
    displacement = torch.tensor([2.0, 4.0]).reshape(1, 2, 1, 1).expand(1, 2, 16, 16)
    found = measure(["centre_distance_mm"], originals, displacement)["centre_distance_mm"]
    assert found[0, 0] == pytest.approx((4.0**2 + 2.0**2) ** 0.5)
    assert found[0, 1] != found[0, 1]  # the second label is missing
