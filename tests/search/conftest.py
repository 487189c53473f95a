"""Measurements of response curves whose best settings are known."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hmopt.ledger import Measurements
from hmopt.records import Pair
from hmopt.space import Hyperparameter, Index, Space

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
SUBJECTS = ("007", "017", "027")


@pytest.fixture
def space() -> Space:
    return Space(hyperparameters=(Hyperparameter(name="regularization"),))


@pytest.fixture
def pairs() -> list[Pair]:
    """Each subject to each other, and its first session to its second."""
    between = [(f"{m}-1", f"{f}-1", m, f) for m in SUBJECTS for f in SUBJECTS if m != f]
    within = [(f"{s}-1", f"{s}-2", s, s) for s in SUBJECTS]
    return [
        Pair(moving=m, fixed=f, moving_subject=ms, fixed_subject=fs)
        for m, f, ms, fs in between + within
    ]


@pytest.fixture
def pair_table(pairs: list[Pair]) -> pd.DataFrame:
    rows = [(p.id, p.moving, p.fixed, p.moving_subject, p.fixed_subject, p.task) for p in pairs]
    table = pd.DataFrame(
        rows, columns=["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    )
    return table.assign(
        modality=["T1"] * 4 + ["T1→T2"] * 4 + [""], age=["60–75"] * 5 + ["75–90"] * 4
    )


@pytest.fixture
def measure(space: Space, pair_table: pd.DataFrame) -> Callable[..., Measurements]:
    """Measure one curve for each label, the same for every pair but for an offset; folding falls with λ."""

    def measure(
        curves: Mapping[str, Curve], settings: Sequence[Index], folding: Curve = np.zeros_like
    ) -> Measurements:
        values = np.array([index[0] / 200 for index in settings])
        offsets = np.linspace(-0.05, 0.05, len(pair_table))
        dice = np.stack([curve(values)[:, None] + offsets for curve in curves.values()], axis=2)
        folded = np.repeat(folding(values)[:, None], len(pair_table), axis=1)
        return Measurements(
            identity="0123456789abcdef",
            space=space,
            settings=tuple(settings),
            pairs=pair_table,
            labels=tuple(curves),
            values={"dice": dice, "folding": folded},
        )

    return measure
