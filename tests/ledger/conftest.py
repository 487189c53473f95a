"""A small oracle whose every value is known, and the pairs it is asked about."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hmopt.catalogue import find_metric
from hmopt.records import Block, Pair
from hmopt.space import Hyperparameter, Index, Space


class KnownOracle:
    """Answers in blocks of two pairs, and remembers what it was asked."""

    labels = ("thalamus", "cortex")
    identity = "0123456789abcdef"

    def __init__(self, space: Space) -> None:
        self.space = space
        self.asked: list[tuple[Index, str, str]] = []

    def value(self, index: Index, pair: str, label: str, metric: str) -> float:
        """Say what is measured: nothing for the cortex of pairs that move `c`."""
        if label == "cortex" and pair.startswith("c"):
            return float("nan")
        return float(np.float32(sum(index) / 1000 + sum(map(ord, pair + label + metric)) / 7919))

    def array(self, index: Index, pairs: Sequence[str], metric: str) -> NDArray[np.float64]:
        if find_metric(metric).per_label:
            return np.array(
                [
                    [self.value(index, pair, label, metric) for label in self.labels]
                    for pair in pairs
                ]
            )
        return np.array([self.value(index, pair, "", metric) for pair in pairs])

    def block(self, index: Index, pairs: Sequence[str], metrics: Sequence[str]) -> Block:
        values = {metric: self.array(index, pairs, metric) for metric in metrics}
        return Block(index=index, pairs=tuple(pairs), labels=self.labels, values=values)

    def measure(
        self, settings: Sequence[Index], pairs: Sequence[Pair], metrics: Sequence[str]
    ) -> Iterator[Block]:
        for index in settings:
            for start in range(0, len(pairs), 2):
                ids = [pair.id for pair in pairs[start : start + 2]]
                self.asked += [(index, pair, metric) for pair in ids for metric in metrics]
                yield self.block(index, ids, metrics)


@pytest.fixture
def space() -> Space:
    return Space(hyperparameters=(Hyperparameter(name="regularization"),))


@pytest.fixture
def oracle(space: Space) -> KnownOracle:
    return KnownOracle(space)


@pytest.fixture
def plane_oracle() -> KnownOracle:
    first = Hyperparameter(name="regularization", step=0.1)
    second = Hyperparameter(
        name="weight", low=1e-3, high=10.0, step=0.25, prior="log-uniform", default=1.0
    )
    return KnownOracle(Space(hyperparameters=(first, second)))


@pytest.fixture
def pairs() -> list[Pair]:
    names = [("a", "b"), ("b", "a"), ("c", "a"), ("b", "c"), ("c", "b")]
    return [
        Pair(moving=m, fixed=f, moving_subject=f"0{m}", fixed_subject=f"0{f}") for m, f in names
    ]


@pytest.fixture
def pair_table(pairs: list[Pair]) -> pd.DataFrame:
    rows = [(p.id, p.moving, p.fixed, p.moving_subject, p.fixed_subject, p.task) for p in pairs]
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    return pd.DataFrame(rows, columns=columns).assign(
        session=["1", "1", "1→2", "2", ""], subject_number="017"
    )
