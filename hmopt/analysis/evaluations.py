"""Registrations that a search took beside those of a full grid, and what the search may have missed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmopt.analysis.optimum import ModelAnalysis, interpolation
from hmopt.analysis.resampling import Samples
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curve
from hmopt.search.scopes import WHOLE_COHORT
from hmopt.space import Space, even_indices

COVERAGE_OF_BOUND = 0.95
"""Confidence of the upper bound of a regret."""

MOST_SETTINGS = 100_000
"""Settings of a grid up to which those that are the same, as conditions make them, are counted once."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A full grid over the same ranges.

    Parameters
    ----------
    values
        Values of each hyperparameter, evenly spread; of an integer or a category all, where there
        are fewer.
    settings, registrations
        How many it has, and how many pairs are registered at all of them.
    """

    values: int
    settings: int
    registrations: int


@dataclass(frozen=True, kw_only=True)
class SearchRegret:
    """Score that may be lost at the setting that was found, against the best one of the range.

    Parameters
    ----------
    value
        Estimate, at least 0; NaN where there are too few settings to look between them.
    bound
        Upper bound of it, with 95 % confidence over subjects; NaN with too few subjects.
    settings
        Settings between which the best one was looked for.
    measured
        Whether all of them were measured; otherwise the response was interpolated.
    """

    value: float
    bound: float
    settings: int
    measured: bool


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """What a search took.

    Parameters
    ----------
    settings, registrations
        Settings that were measured, and registrations of pairs at them.
    grids
        Full grids, the coarsest first.
    regret
        What may have been missed; None where nothing was measured for all pairs.
    """

    settings: int
    registrations: int
    grids: tuple[Grid, ...]
    regret: SearchRegret | None

    def share(self, grid: Grid) -> float:
        """Return the registrations of the search as a share of those of a grid."""
        return self.registrations / grid.registrations


def count_evaluations(
    measurements: Measurements,
    options: SearchOptions,
    values: Sequence[int],
    dense: Measurements | None = None,
    registrations: int | None = None,
) -> Evaluations:
    """Count the registrations of a search and of full grids, and estimate the regret.

    Parameters
    ----------
    measurements
        Of the model that was searched.
    options
        The search.
    values
        Values of each hyperparameter on the grids.
    dense
        The same at every setting of the lattice; None where it was not measured.
    registrations
        Of the search; None: of all pairs at all settings, where none was given up early.
    """
    pairs = len(measurements.pairs)
    settings = len(measurements.settings)
    analysis = ModelAnalysis(measurements, options)
    cohort = WHOLE_COHORT
    curve = analysis.curves.of(cohort)
    regret = None
    if curve is not None:
        found = curve.settings[curve.best()]
        if dense is not None:
            whole = ModelAnalysis(dense, options)
            of_all = whole.curves.of(cohort)
            if of_all is not None and of_all.place(found) >= 0:
                samples = whole.samples(cohort, of_all)
                regret = _regret(of_all, of_all.place(found), samples, between=False)
        if regret is None:
            samples = analysis.samples(cohort, curve)
            regret = _regret(curve, curve.best(), samples, between=True)
    return Evaluations(
        settings=settings,
        registrations=settings * pairs if registrations is None else registrations,
        grids=tuple(_grids(measurements.space, values, pairs)),
        regret=regret,
    )


def _grids(space: Space, values: Sequence[int], pairs: int) -> list[Grid]:
    grids: list[Grid] = []
    for count in values:
        settings = grid_settings(space, count)
        if grids and settings == grids[-1].settings:
            continue  # no hyperparameter has so many values
        grids.append(Grid(values=count, settings=settings, registrations=settings * pairs))
    return grids


def grid_settings(space: Space, values: int) -> int:
    """Return how many settings a full grid has.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> one, two = Hyperparameter(name="regularization"), Hyperparameter(name="label_weight")
    >>> grid_settings(Space(hyperparameters=(one, two)), 10)
    100
    """
    axes = [even_indices(one, min(values, one.points)) for one in space.hyperparameters]
    product = math.prod(len(axis) for axis in axes)
    if product > MOST_SETTINGS:
        return product
    return len(space.product(axes))


def _regret(curve: Curve, found: int, samples: Samples, *, between: bool) -> SearchRegret:
    """Estimate how much better another setting is than the one at place `found`.

    Of the mean scores m and the matrix M that interpolates between measured settings, it is
    max(M m) - m[found]; its bound is the 95 % quantile of the same in samples of the subjects.
    """
    matrix = np.eye(len(curve.settings))
    settings = list(curve.settings)
    if between:
        settings, matrix = interpolation(curve.space, curve.settings)
    at_all = matrix @ curve.signed_means
    value = max(float(at_all.max() - curve.signed_means[found]), 0.0)
    bound = math.nan
    if samples.enough:
        # widened as for settings that are equivalent, see `hmopt.analysis.optimum`
        means = samples.means(curve.signed)
        losses = (means @ matrix.T).max(axis=1) - means[:, found]
        bound = max(float(np.quantile(losses, COVERAGE_OF_BOUND)), 0.0)
    is_measured = not between or len(settings) == len(curve.settings)
    return SearchRegret(value=value, bound=bound, settings=len(settings), measured=is_measured)
