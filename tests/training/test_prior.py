import math

import numpy as np
import pytest
from scipy import stats

from hmopt.space import Hyperparameter, Space
from hmopt.training.prior import draw_setting

DRAWS = 4000


def drawn(hyperparameter: Hyperparameter, seed: int = 0) -> np.ndarray:
    space, generator = Space(hyperparameters=(hyperparameter,)), np.random.default_rng(seed)
    return np.array([draw_setting(space, generator)[hyperparameter.name] for _ in range(DRAWS)])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_end_points_are_drawn_at_their_rate(rate: float) -> None:
    values = drawn(Hyperparameter(name="x", low=0.25, high=2.0, default=1.0, end_point_rate=rate))
    for end in (0.25, 2.0):
        assert stats.binomtest(int((values == end).sum()), DRAWS, rate).pvalue > 1e-3


def test_values_between_end_points_are_uniform() -> None:
    values = drawn(Hyperparameter(name="x", low=0.25, high=2.0, default=1.0))
    inner = values[(values > 0.25) & (values < 2.0)]
    assert stats.kstest(inner, stats.uniform(0.25, 1.75).cdf).pvalue > 1e-3


def test_log_uniform_values_are_uniform_in_their_logarithm() -> None:
    values = drawn(Hyperparameter(name="x", low=0.01, high=10.0, default=1.0, prior="log-uniform"))
    assert values.min() == 0.01
    assert values.max() == 10.0
    inner = np.log(values[(values > 0.01) & (values < 10.0)])
    assert stats.kstest(inner, stats.uniform(math.log(0.01), math.log(1000)).cdf).pvalue > 1e-3


def test_hyperparameters_are_drawn_independently() -> None:
    space = Space(hyperparameters=(Hyperparameter(name="x"), Hyperparameter(name="y")))
    generator = np.random.default_rng(0)
    settings = [draw_setting(space, generator) for _ in range(DRAWS)]
    assert stats.pearsonr([s["x"] for s in settings], [s["y"] for s in settings]).pvalue > 1e-3
