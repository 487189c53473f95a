"""Small cohorts in memory, and untrained models for them that move a lot."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from hmopt.data.landmarks import Landmarks
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import NetworkOptions
from hmopt.networks import Hypermorph, RegistrationNetwork
from hmopt.records import Pair
from hmopt.space import Hyperparameter, Space


@dataclass(frozen=True, kw_only=True)
class CohortInMemory(PreparedCohort):
    """Draws its images from their names."""

    def image(self, name: str) -> NDArray[np.float32]:
        return np.random.default_rng(ord(name)).random(self.shape, dtype=np.float32)

    def label_map(self, name: str) -> NDArray[Any]:
        """Label 1 in a box, label 2 in a part of it, and label 3 in image `a` alone."""
        labels = np.zeros(self.shape, dtype=np.uint8)
        shift = ord(name) - ord("a")
        box = [slice(2 + shift, 10 + shift)] * len(self.shape)
        labels[tuple(box)] = 1
        labels[(*box[:-1], slice(4 + shift, 6 + shift))] = 2
        if name == "a":
            labels[(0,) * len(self.shape)] = 3
        return labels

    def grid(self, name: str) -> NDArray[np.float64]:
        """Return the identity: files have the voxels of the grid."""
        return np.eye(4)


def make_landmarks(name: str) -> Landmarks:
    """Return two landmarks, a voxel further on in each image."""
    shift = ord(name) - ord("a")
    places = np.array([[3.0, 4, 0], [6, 9, 0]]) + np.array([shift, 0, 0])
    return Landmarks(
        names=("tip", "end"), named_by="label", voxels=places, affine=np.eye(4), origin=name
    )


@pytest.fixture(params=[(16, 16), (16, 16, 16)], ids=["2-D", "3-D"])
def cohort(request: pytest.FixtureRequest) -> PreparedCohort:
    return make_cohort(request.param)


def make_cohort(shape: tuple[int, ...], identity: str = "of the cohort") -> PreparedCohort:
    return CohortInMemory(
        folder=Path("nowhere"),
        images=pd.DataFrame(
            {"subject": list("abcd"), "scan": list("abcd"), "slice": -1, "split": "search"},
            index=list("abcd"),
        ),
        labels=("box", "bar", "dot"),
        shape=shape,
        spacing_mm=tuple(1.0 for _ in shape),
        identity=identity,
        landmarks={name: make_landmarks(name) for name in "abcd"},
    )


@pytest.fixture
def flat_cohort() -> PreparedCohort:
    return make_cohort((16, 16))


@pytest.fixture
def deep_cohort() -> PreparedCohort:
    return make_cohort((16, 16, 16))


@pytest.fixture
def other_cohort() -> PreparedCohort:
    return make_cohort((16, 16), "of another cohort")


@pytest.fixture
def pairs() -> list[Pair]:
    names = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "a")]
    return [Pair(moving=m, fixed=f, moving_subject=m, fixed_subject=f) for m, f in names]


@pytest.fixture
def make_model() -> Callable[..., Hypermorph]:
    def make(shape: tuple[int, ...], seed: int = 0, high: float = 1.0) -> Hypermorph:
        torch.manual_seed(seed)
        section = NetworkOptions(encoder=[4, 4], decoder=[4], final=[], integration_steps=3)
        network = RegistrationNetwork(section, shape)
        torch.nn.init.normal_(network.velocity.weight, std=1.0)
        space = Space(hyperparameters=(Hyperparameter(name="regularization", high=high),))
        return Hypermorph(network, space, widths=[8])

    return make
