"""Registrations of a search against a full grid, and the regret of what it found."""

from dataclasses import replace

import numpy as np
import pytest

from hmopt.analysis import simulation
from hmopt.analysis.evaluations import count_evaluations, grid_settings
from hmopt.declaration import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.space import Hyperparameter, Space

OPTIONS = SearchOptions(splits=50)


@pytest.fixture(scope="module")
def dense() -> Measurements:
    """A simulated cohort on the whole lattice, best at 0.3."""
    curves = np.stack([simulation.response(0.3, 0.4)])
    return simulation.simulate(curves, subjects=12, pairs=60, seed=0)


def test_a_grid_has_every_combination_and_no_more_values_than_there_are() -> None:
    weight = Hyperparameter(name="weight")
    spacing = Hyperparameter(name="spacing", type="integer", low=2, high=4, step=1, default=2)
    measure = Hyperparameter(name="measure", type="categorical", choices=("CC", "MI"), default="CC")
    both = Space(hyperparameters=(weight, spacing, measure))
    assert grid_settings(both, 10) == 10 * 3 * 2
    assert grid_settings(Space(hyperparameters=(weight,)), 1000) == 201


def test_an_inactive_hyperparameter_does_not_multiply_the_grid() -> None:
    measure = Hyperparameter(name="measure", type="categorical", choices=("CC", "MI"), default="CC")
    radius = Hyperparameter(
        name="radius",
        type="integer",
        low=1,
        high=5,
        step=1,
        default=4,
        only_if=(("measure", ("CC",)),),
    )
    assert grid_settings(Space(hyperparameters=(measure, radius)), 10) == 5 + 1


def test_the_share_is_that_of_settings_and_pruned_pairs_count_as_told(
    dense: Measurements,
) -> None:
    few = dense.at(dense.space.coarse(6))
    found = count_evaluations(few, OPTIONS, (5, 20))
    told = count_evaluations(few, OPTIONS, (5, 20), registrations=17)
    settings = len(few.settings)
    assert (found.settings, found.registrations) == (settings, 60 * settings)
    assert [grid.registrations for grid in found.grids] == [300, 1200]
    assert found.share(found.grids[1]) == pytest.approx(settings / 20)
    assert told.registrations == 17


def test_of_a_dense_sweep_the_regret_is_measured(dense: Measurements) -> None:
    few = dense.at(dense.space.coarse(6))
    found = count_evaluations(few, OPTIONS, (5,), dense)
    means = dense.score("dice").mean(axis=1)
    at_found = max(means[dense.settings.index(one)] for one in few.settings)
    assert found.regret is not None
    assert found.regret.measured
    assert found.regret.settings == 201
    assert found.regret.value == pytest.approx(means.max() - at_found)
    assert found.regret.bound >= found.regret.value


def test_an_interpolated_regret_is_near_the_measured_one_and_below_its_bound(
    dense: Measurements,
) -> None:
    few = dense.at(dense.space.coarse(10))
    guessed = count_evaluations(few, OPTIONS, (5,)).regret
    measured = count_evaluations(few, OPTIONS, (5,), dense).regret
    assert guessed is not None
    assert measured is not None
    assert not guessed.measured
    assert guessed.value == pytest.approx(measured.value, abs=0.002)
    assert measured.value <= guessed.bound


def test_with_too_few_subjects_there_is_no_bound(dense: Measurements) -> None:
    subjects = sorted({*dense.pairs["moving_subject"]})[:4]
    sides = ("moving_subject", "fixed_subject")
    kept = np.all([dense.pairs[side].isin(subjects) for side in sides], axis=0)
    few = replace(
        dense,
        pairs=dense.pairs[kept].reset_index(drop=True),
        values={name: values[:, kept] for name, values in dense.values.items()},
    )
    regret = count_evaluations(few, OPTIONS, (5,)).regret
    assert regret is not None
    assert np.isnan(regret.bound)
