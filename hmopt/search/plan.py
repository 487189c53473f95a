"""Which settings a sweep measures: a coarse lattice, then those that promise most over all scopes.

The plan, in equations. Scopes c = 1, …, n have scores f_c(x) at settings x; more is better. After
the coarse settings, u_c(x) ≥ 0 is how much x may gain on the best that was measured of c: an
optimistic curve through the scores (`promise`) less their maximum, at least 0. The most that c can
gain is u_c* = max_x u_c(x). A setting that gains u_c(x) leaves u_c* - u_c(x) to be gained. Measured
next is the setting that leaves least over all scopes,

    x_next = argmin_x Σ_c (u_c* - u_c(x))²,

so that one setting serves many scopes whose optima are close; the square keeps a single scope with
much to gain from being outvoted. The plan ends when scopes have little to gain on average, mean_c
u_c* ≤ `NEGLIGIBLE`, or when `refinements` settings were chosen.

A worked example, settings 0, …, 4, of which 0, 2 and 4 are measured:

    setting              0      1       2      3       4
    scope a, measured   0.50          0.70           0.66
             promise           0.63           0.71            u_a = (0, 0,      0, 0.01, 0)
    scope b, measured   0.70          0.69           0.30
             promise           0.7425         0.5425          u_b = (0, 0.0425, 0, 0,    0)

Setting 1 leaves 0.01² + 0² = 0.0001, setting 3 leaves 0² + 0.0425² = 0.0018: 1 is measured next. If
b scores there what was promised, only a has something left to gain, and 3 follows.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator, CubicSpline, RBFInterpolator

from hmopt.catalogue import find_metric
from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import find_curves
from hmopt.search.lattice import (
    SPREAD_FROM,
    bears_surface,
    coarse_lattice,
    even_lattice,
    settings_of_one_regularization,
    unit_places,
)
from hmopt.search.scopes import WHOLE_COHORT, list_scopes
from hmopt.space import Index, Space

_LEAST_CHOSEN = 3
"""Settings that a curve is drawn through, at least."""

NEGLIGIBLE_SHARE = 1 / 8
"""Mean gain that scopes may still have when a sweep ends, as a share of the metric's tolerance."""

MOST_PREDICTED = 10_001
"""Values of one hyperparameter at most at which scores are predicted."""

PER_AXIS = {2: 41, 3: 21}
"""Values of each hyperparameter, by their number, at which scores are predicted; of more 6."""


def coarse_settings(space: Space, options: SearchOptions) -> list[Index]:
    """Return the settings that are measured first: the coarse lattice, and the default.

    Where the coarse lattice is no whole product, the default without regularization is measured,
    too: reports compare with it. So they do with one regularization for all regions, where a model
    has several.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", default=0.3),))
    >>> coarse_settings(space, SearchOptions(coarse=4))
    [(0,), (60,), (100,), (175,), (200,)]
    """
    coarse = coarse_lattice(space, options.coarse)
    references = [space.default]
    if len(space.hyperparameters) >= SPREAD_FROM:
        references.append(space.unregularized)
    of_one = settings_of_one_regularization(space, options.coarse)
    return sorted({*coarse, *of_one, *(space.index(setting) for setting in references)})


def dense_settings(space: Space) -> list[Index]:
    """Return every setting of a space with one hyperparameter: what a plan is judged by.

    Raises
    ------
    SearchError
        If there are several hyperparameters: their lattice has too many points.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> dense_settings(Space(hyperparameters=(Hyperparameter(name="regularization", step=0.5),)))
    [(0,), (1,), (2,)]
    """
    if len(space.hyperparameters) != 1:
        raise SearchError(
            "hyperparameters",
            expected="one, to measure every value of it",
            got=", ".join(space.names),
            advice="Search without --dense, or declare a larger search.coarse.",
        )
    return [(place,) for place in range(space.hyperparameters[0].points)]


def confirming_settings(measurements: Measurements, options: SearchOptions) -> list[Index]:
    """Return what to measure next, one setting at most, by the rule above.

    Only the coarse settings and what was chosen here before are looked at,
    so that whatever else was measured changes nothing.

    Parameters
    ----------
    measurements
        With all coarse settings, and what was chosen before.
    options
        `scopes`, `metric`, `coarse` and `refinements`.

    Returns
    -------
    list of Index
        Empty when scopes have little to gain on average (`NEGLIGIBLE_SHARE`), or `refinements`
        settings were chosen.

    Examples
    --------
    While it returns settings, they are measured::

        while settings := confirming_settings(ledger.measurements(...), options):
            recorded.fill(settings, pairs, metrics)
    """
    coarse = coarse_settings(measurements.space, options)
    usable, scores = _scope_scores(measurements, options)
    failed = set(measurements.settings) - set(usable)  # a pair could not be registered at these
    if not scores.size or not set(measurements.settings) >= set(coarse):
        return []
    chosen = [setting for setting in coarse if setting not in failed]
    place_of = {setting: place for place, setting in enumerate(usable)}
    negligible = NEGLIGIBLE_SHARE * find_metric(options.metric).tolerance
    # the plan is followed from its beginning: its choices that were measured are taken up, the
    # first other is next
    for _ in range(options.refinements):
        if len(chosen) < _LEAST_CHOSEN:
            return []
        at_chosen = scores[[place_of[setting] for setting in chosen]]
        promising = _most_promising(measurements.space, chosen, at_chosen, negligible, failed)
        if promising is None:
            return []
        if promising not in place_of:
            return [promising]
        chosen = sorted([*chosen, promising])
    return []


def _scope_scores(
    measurements: Measurements, options: SearchOptions
) -> tuple[tuple[Index, ...], NDArray[np.float64]]:
    """Return the settings of the cohort's curve, and the scores f_c of scopes at all these: (settings, scopes)."""
    scopes = list_scopes(options, measurements.pairs, measurements.labels)
    cohort = WHOLE_COHORT
    curves = list(find_curves(measurements, [cohort, *scopes], options.metric))
    if not curves or curves[0].scope != cohort:
        return (), np.empty((0, 0))
    settings = curves[0].settings
    usable = set(settings)
    whole = [
        curve.at(settings).signed_means for curve in curves[1:] if usable <= set(curve.settings)
    ]
    scores = np.array(whole).reshape(len(whole), len(settings))
    return settings, scores.T


def _most_promising(
    space: Space,
    settings: Sequence[Index],
    scores: NDArray[np.float64],
    negligible: float,
    failed: Collection[Index] = (),
) -> Index | None:
    """Return x_next as above; None where scopes have little to gain on average.

    Parameters
    ----------
    space
        The hyperparameters.
    settings
        The S settings that were chosen so far, sorted.
    scores
        f_c at these, shape (S, scopes).
    negligible
        What scopes may have to gain on average at the end.
    failed
        Settings that were measured and cannot be chosen.
    """
    candidates, predicted = predict(space, settings, scores)  # (candidates, scopes)
    gains = np.maximum(predicted - scores.max(axis=0), 0.0)  # u_c(x)
    gains = np.nan_to_num(gains)  # nothing is predicted beyond the outermost settings
    known = {*settings, *failed}
    is_known = [setting in known for setting in candidates]
    gains[is_known] = 0.0
    attainable = gains.max(axis=0)  # u_c*
    if attainable.mean() <= negligible:
        return None
    left = np.square(attainable - gains).sum(axis=1)
    return candidates[int(left.argmin())]


def promise(
    places: Sequence[int], scores: NDArray[np.float64], at: Sequence[int]
) -> NDArray[np.float64]:
    """Return how high scores may be between measured lattice places, by two curves through them.

    Akima's curve A never rises much above what was measured, so that a hump between two places
    escapes it; the cubic spline C shows the hump, and rings where scores fall steeply. Where they
    disagree something is to be learned:

        promise(x) = max(A(x), C(x)) + |A(x) - C(x)| / 2.

    Through two places both are the straight line.

    Parameters
    ----------
    places
        Lattice indices, rising; at least two.
    scores
        Shape (places, ...): one or many curves; more is better.
    at
        Lattice indices between the first and the last place.

    Returns
    -------
    array
        Shape (at, ...).

    References
    ----------
    Akima, J. ACM 1970. Both curves are exact on parabolas through evenly spaced places.

    Examples
    --------
    >>> promise([0, 10, 20, 30], np.array([0.0, 1.0, 4.0, 9.0]), [15, 20])
    array([2.25, 4.  ])
    >>> promise([0, 10], np.array([0.0, 1.0]), [4])
    array([0.4])
    """
    measured = np.asarray(places, dtype=float)
    wanted = np.asarray(at, dtype=float)
    spline = CubicSpline(measured, scores, axis=0)(wanted)
    if len(measured) == 2:
        # scipy's slopes of Akima's curve are undefined memory there
        return np.asarray(spline)
    akima = Akima1DInterpolator(measured, scores, axis=0)(wanted)
    higher = np.maximum(akima, spline)
    return np.asarray(higher + np.abs(akima - spline) / 2)


def predict(
    space: Space, settings: Sequence[Index], scores: NDArray[np.float64]
) -> tuple[list[Index], NDArray[np.float64]]:
    """Return how high scores may be at settings that were not measured.

    Parameters
    ----------
    space
        The hyperparameters.
    settings
        S settings, sorted, that reach from end to end.
    scores
        Shape (S, n): n curves, or surfaces; more is better.

    Returns
    -------
    list of Index
        C settings: the whole lattice of one hyperparameter, or `MOST_PREDICTED` of it; for several
        `PER_AXIS` values of each, spread evenly, or the measured ones alone where they do not determine a
        surface, as where a hyperparameter was measured at two values. Where there are choices or
        conditions: these for each combination of choices, of the numbers that are active with it,
        between the values that were measured with it.
    array
        Shape (C, n): what `promise` says of one hyperparameter. For several, a smooth surface
        through the scores, exact on parabolas: a polyharmonic spline r³ with a polynomial of degree
        2.
    """
    dimensions = len(space.hyperparameters)
    if not space.is_ordered:
        return _predict_combinations(space, settings, scores)
    if dimensions == 1:
        lattice = [place for (place,) in even_lattice(space, MOST_PREDICTED)]
        places = [place for (place,) in settings]
        predicted = promise(places, scores, lattice)
        return [(place,) for place in lattice], predicted
    candidates = even_lattice(space, PER_AXIS.get(dimensions, 6))
    measured_at = unit_places(space, settings)
    wanted_at = unit_places(space, candidates)
    if not bears_surface(measured_at):
        return list(settings), scores
    surface = RBFInterpolator(measured_at, scores, kernel="cubic", degree=2)
    return candidates, np.asarray(surface(wanted_at))


def _predict_combinations(
    space: Space, settings: Sequence[Index], scores: NDArray[np.float64]
) -> tuple[list[Index], NDArray[np.float64]]:
    """Return what `predict` does, for each combination of choices by the settings that have it alone.

    Choices have no order, and where a hyperparameter is inactive its place means nothing: no curve
    leads from one combination to another. With the choices CC and MI and a window that only CC has,
    λ and the window are predicted among the settings with CC, and λ among those with MI.
    """
    combinations: dict[tuple[int | None, ...], list[int]] = {}
    for row, index in enumerate(settings):
        combination = _combination(space, index)
        combinations.setdefault(combination, []).append(row)
    candidates: list[Index] = []
    predicted = []
    for combination, rows in combinations.items():
        members = [settings[row] for row in rows]
        of_members = scores[rows]
        free = [column for column, place in enumerate(combination) if place is None]
        found, of_found = _predict_numbers(space, free, members, of_members)
        # an integer may activate others: what has another combination is predicted with that one
        kept = [_combination(space, index) == combination for index in found]
        candidates += [index for index, is_kept in zip(found, kept, strict=True) if is_kept]
        predicted.append(of_found[kept])
    return candidates, np.concatenate(predicted)


def _combination(space: Space, index: Index) -> tuple[int | None, ...]:
    """Return the places of choices and of inactive hyperparameters; None of a number that is active."""
    active = space.active(index)
    return tuple(
        None if one.is_ordered and one in active else place
        for one, place in zip(space.hyperparameters, index, strict=True)
    )


def _predict_numbers(
    space: Space, free: Sequence[int], settings: Sequence[Index], scores: NDArray[np.float64]
) -> tuple[list[Index], NDArray[np.float64]]:
    """Predict scores between settings that differ only in some of the columns, within their box.

    The settings themselves where there are none of these columns, or all have one place in them.
    """
    places = np.array(settings)[:, free]
    if not free or (len(free) == 1 and len(settings) == 1):
        return list(settings), scores
    numbers = [replace(space.hyperparameters[column], only_if=()) for column in free]
    of_numbers = Space(hyperparameters=tuple(numbers))
    measured: list[Index] = [tuple(row) for row in places.tolist()]
    found, predicted = predict(of_numbers, measured, scores)
    lowest = places.min(axis=0)
    highest = places.max(axis=0)
    inside = ((np.array(found) >= lowest) & (np.array(found) <= highest)).all(axis=1)
    candidates = []
    for index in np.array(found)[inside].tolist():
        whole = list(settings[0])
        for column, place in zip(free, index, strict=True):
            whole[column] = place
        candidates.append(tuple(whole))
    return candidates, predicted[inside]
