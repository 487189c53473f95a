from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hmopt.ledger.measurements import Measurements
from hmopt.space import Hyperparameter, Space

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.25),))
LABELS = ("cortex", "thalamus")

Make = Callable[..., Measurements]


def make_pairs(sides: Sequence[tuple[str, str]]) -> pd.DataFrame:
    rows = [
        (
            f"{a}->{b}",
            a,
            b,
            a[0],
            b[0],
            "within" if a[0] == b[0] else "cross",
            "old" if a[0] in "abcd" else "young",
        )
        for a, b in sides
    ]
    return pd.DataFrame(
        rows, columns=["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task", "age"]
    )


@pytest.fixture
def make() -> Make:
    """Measurements at λ = 0, 0.25, …, 1 from arrays of shape (5, pairs, 2) and (5, pairs)."""

    def build(
        sides: Sequence[tuple[str, str]],
        dice: NDArray[np.float64],
        folding: NDArray[np.float64] | None = None,
    ) -> Measurements:
        values = {"dice": dice, "hd95_mm": 1 - dice}
        if folding is not None:
            values["folding"] = folding
        return Measurements(
            identity="0f",
            space=SPACE,
            settings=tuple((i,) for i in range(5)),
            pairs=make_pairs(sides),
            labels=LABELS,
            values=values,
        )

    return build


@pytest.fixture
def all_cross() -> list[tuple[str, str]]:
    """Every ordered pair of eight subjects a to h, one scan each."""
    return [(f"{a}1", f"{b}1") for a in "abcdefgh" for b in "abcdefgh" if a != b]


@pytest.fixture
def random_dice(all_cross: list[tuple[str, str]]) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    of_label = np.array([[0.7, 0.5], [0.68, 0.55], [0.66, 0.6], [0.6, 0.62], [0.5, 0.5]])
    return of_label[:, None] + 0.02 * generator.standard_normal((5, len(all_cross), 2))
