from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import granularities
from hmopt.analysis.scope_result import ScopeResult, analyse_scopes
from hmopt.analysis.warnings import OptimumWarning
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope, list_scopes
from hmopt.space import Hyperparameter, Space

SECTION = SearchOptions(metric="dice", scopes=[["cohort"], ["label"]])
BROKEN = {OptimumWarning.CONSTANT, OptimumWarning.ERRATIC, OptimumWarning.BOUND}
VALUES = np.linspace(0, 1, 9)


@pytest.fixture
def measured(
    make: Callable[..., Measurements], all_cross: list[tuple[str, str]]
) -> Callable[..., Measurements]:
    """Dice along a curve over nine λ, each pair at a level and with a slope of its own."""

    def build(curve: np.ndarray, slopes: float = 0.02) -> Measurements:
        generator = np.random.default_rng(1)
        level, slope = generator.normal(0, [[0.02], [slopes]], (2, len(all_cross)))
        dice = curve[:, None] + level + slope * (VALUES[:, None] - 0.5)
        template = make(all_cross, np.zeros((5, len(all_cross), 2)))
        space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.125),))
        values = {"dice": np.repeat(dice[:, :, None], 2, axis=2)}
        return replace(
            template, space=space, settings=tuple((place,) for place in range(9)), values=values
        )

    return build


def find(measurements: Measurements) -> list[ScopeResult]:
    return analyse_scopes(
        measurements, None, list_scopes(SECTION, measurements.pairs, measurements.labels), SECTION
    )


def named(measurements: Measurements) -> set[OptimumWarning]:
    (cohort,) = [finding for finding in find(measurements) if finding.scope == Scope(criteria=())]
    return set(cohort.warnings)


@pytest.mark.parametrize(
    "curve",
    [
        0.7 - (VALUES - 0.4) ** 2,
        0.7 - 0.01 * (VALUES - 0.4) ** 2,
        0.7 - 0.2 * np.maximum(VALUES - 0.6, 0),
    ],
)
def test_a_model_that_responds_is_not_called_broken(
    measured: Callable[..., Measurements], curve: np.ndarray
) -> None:
    assert not named(measured(curve)) & {OptimumWarning.CONSTANT, OptimumWarning.ERRATIC}


def test_shuffled_weights_are_named_erratic(measured: Callable[..., Measurements]) -> None:
    seen = [
        OptimumWarning.ERRATIC in named(measured(np.random.default_rng(seed).normal(0.4, 0.1, 9)))
        for seed in range(20)
    ]
    assert np.mean(seen) >= 0.9


def test_a_model_that_ignores_the_setting_is_named(measured: Callable[..., Measurements]) -> None:
    constant = measured(np.full(9, 0.7), slopes=0.0)
    assert {OptimumWarning.CONSTANT, OptimumWarning.FLAT} <= named(constant)
    gains = granularities(find(constant), constant.pairs, margin=0.002)
    assert {gain.evidence for gain in gains} == {Evidence.NEGLIGIBLE}


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_an_optimum_at_a_bound_is_named(measured: Callable[..., Measurements], end: float) -> None:
    assert named(measured(0.7 - (VALUES - end) ** 2)) & BROKEN == {OptimumWarning.BOUND}
