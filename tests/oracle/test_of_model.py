"""Models of other programs as oracles."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import PreprocessingOptions
from hmopt.interop.model import FileModel, Image
from hmopt.oracle.of_model import ModelOracle
from hmopt.records import Pair
from hmopt.space import Hyperparameter, Setting, Space


class Shifting(FileModel):
    """Shifts everything along the first axis, by as many voxels as `regularization` says."""

    def __init__(self, is_slow: bool = False) -> None:
        self.is_slow = is_slow
        self.asked: list[float] = []

    @property
    def title(self) -> str:
        return "a shift"

    @property
    def identity(self) -> str:
        return "shift"

    @property
    def space(self) -> Space:
        return Space(hyperparameters=(Hyperparameter(name="regularization", step=0.5),))

    @property
    def preprocessing(self) -> PreprocessingOptions:
        return PreprocessingOptions(shape=[16, 16])

    @property
    def is_slow_to_set(self) -> bool:
        return self.is_slow

    def displacement(self, moving: Image, fixed: Image, setting: Setting) -> NDArray[np.float32]:
        self.asked.append(float(setting["regularization"]))
        displacement = np.zeros((moving.ndim, *moving.shape), dtype=np.float32)
        displacement[0] = setting["regularization"]
        return displacement


def test_a_model_that_takes_pairs_one_by_one_is_asked_for_each(
    flat_cohort: PreparedCohort, pairs: list[Pair]
) -> None:
    oracle = ModelOracle(Shifting(), flat_cohort)
    displacement = oracle.displacement((2,), pairs[0]).numpy()
    assert displacement.shape == (2, 16, 16)
    assert (displacement[0] == 1).all()
    assert (displacement[1] == 0).all()


@pytest.mark.parametrize(
    ("is_slow", "expected"),
    [(False, [0, 0, 1, 1, 0, 0, 1, 1, 0, 1]), (True, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])],
)
def test_a_model_that_is_slow_to_set_registers_all_pairs_at_one_setting_first(
    is_slow: bool, expected: list[float], flat_cohort: PreparedCohort, pairs: list[Pair]
) -> None:
    model = Shifting(is_slow)
    blocks = list(ModelOracle(model, flat_cohort, batch=2).measure([(0,), (2,)], pairs, ["dice"]))
    assert model.asked == expected
    measured = {(block.index, pair) for block in blocks for pair in block.pairs}
    assert len(measured) == 10
