"""The best setting of a scope, its interval, and the settings that are equivalent to it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
from scipy.interpolate import CubicSpline, RBFInterpolator

from hmopt.analysis.resampling import (
    COVERAGE,
    NOTHING,
    Estimate,
    Floats,
    Interval,
    Names,
    Places,
    Samples,
    draw,
    estimate,
    interval,
    middle,
)
from hmopt.catalogue import Metric
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curve, Curves
from hmopt.search.lattice import bears_surface, even_lattice, unit_places
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Index, Setting, Space, Value

DRAWS = 1000
"""Bootstrap samples of the subjects behind every interval."""

FINEST = 10_001
"""Values of one hyperparameter at most between which scores are interpolated."""

CANDIDATES = 400
"""Settings, about, at which the surface over several hyperparameters is evaluated."""


def margin_of(metric: Metric, declared: float | None) -> float:
    """Return the negligible difference of a metric: the declared one, or its tolerance.

    Examples
    --------
    >>> from hmopt.catalogue import find_metric
    >>> margin_of(find_metric("dice"), None), margin_of(find_metric("dice"), 0.005)
    (0.002, 0.005)
    """
    return metric.tolerance if declared is None else declared


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best measured setting of a scope.

    Parameters
    ----------
    index, setting
        The best setting, on the lattice and as values.
    intervals
        By hyperparameter: 95 % bootstrap interval of the best value, measured or interpolated. It
        holds the best measured one.
    equals
        By hyperparameter: lowest and highest value of the settings around the best one that are
        equivalent to it: their mean loss is below the margin with 95 % confidence.
    score
        Mean over the pairs at the best setting, and its 95 % bootstrap interval.
    folding
        Mean share of folded voxels at the best setting; NaN where it was not measured.
    constrained
        The best of the settings that obey all limits, as that of mean folding; None where none does.
    score_constrained
        The score there.
    limited
        By metric that has a limit: its mean at the best setting; NaN where it was not measured.
    limited_constrained
        The same at the constrained one; empty where there is none.
    choices, equal_choices
        What `intervals` and `equals` are for numbers, of categorical hyperparameters: the fewest
        choices that are best in 95 % of the bootstrap samples, with the best measured one among
        them, and the choices of the equivalent settings. None from too few subjects.
    """

    index: Index
    setting: Setting
    intervals: Mapping[str, Interval]
    equals: Mapping[str, Interval]
    score: Estimate
    folding: float
    constrained: Setting | None
    score_constrained: float
    limited: Mapping[str, float] = field(default_factory=dict)
    limited_constrained: Mapping[str, float] = field(default_factory=dict)
    choices: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    equal_choices: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)


def find_optimum(
    response: Curve, samples: Samples, limits: Mapping[str, float], margin: float | None = None
) -> Optimum:
    """Find the best measured setting of a response.

    Parameters
    ----------
    response
        Scores of n pairs at s settings.
    samples
        Bootstrap samples of the subjects of these pairs.
    limits
        Limits of the constrained optimum by metric, as `SearchOptions.all_limits`.
    margin
        Loss that is negligible; left out: that of the metric's unit.
    """
    best = response.best()
    best_values = response.space.setting(response.settings[best])

    constrained_values = None
    score_constrained = np.nan
    constrained = response.best_within(limits)
    if constrained is not None:
        constrained_values = response.space.setting(response.settings[constrained])
        score_constrained = float(response.means[constrained])
    limited = {name: float(response.mean_of(name)[best]) for name in limits}
    limited_constrained = {}
    if constrained is not None:
        limited_constrained = {name: float(response.mean_of(name)[constrained]) for name in limits}

    resampled = _resampled_optima(response, samples)
    equivalent = _equivalent(response, samples, margin_of(response.metric, margin))
    measured = response.values
    intervals = {}
    equals = {}
    choices = {}
    equal_choices = {}
    for column, hyperparameter in enumerate(response.space.hyperparameters):
        name = hyperparameter.name
        if hyperparameter.is_ordered:
            around = _interval_around(
                hyperparameter, best, measured[:, column], resampled[:, column]
            )
            is_whole = hyperparameter.type == "integer"
            intervals[name] = _to_lattice(around, hyperparameter) if is_whole else around
            equals[name] = _range(measured[equivalent, column])
            continue
        intervals[name] = equals[name] = NOTHING
        likely = _likely_choices(measured[best, column], resampled[:, column])
        choices[name] = _values_at(hyperparameter, likely)
        equal_choices[name] = _values_at(hyperparameter, measured[equivalent, column])

    score = estimate(samples, response.scores[best])
    return Optimum(
        index=response.settings[best],
        setting=best_values,
        intervals=intervals,
        equals=equals,
        choices=choices,
        equal_choices=equal_choices,
        score=within_range(response.metric, score),
        folding=float(response.folding[best]),
        constrained=constrained_values,
        score_constrained=score_constrained,
        limited=limited,
        limited_constrained=limited_constrained,
    )


def within_range(metric: Metric, found: Estimate) -> Estimate:
    """Return an estimate whose interval is clipped to the range of the metric."""
    ends = [found.low, found.high]
    low, high = np.clip(ends, *metric.range).tolist()
    return Estimate(found.value, low, high)


class _HasSettings(Protocol):
    @property
    def settings(self) -> tuple[Index, ...]: ...


def shared_settings(measured: Iterable[_HasSettings]) -> list[Index]:
    """Return the settings that all of several curves or measurements have, sorted."""
    sets = [set(one.settings) for one in measured]
    shared = set.intersection(*sets)
    return sorted(shared)


@lru_cache(maxsize=64)
def interpolation(space: Space, settings: tuple[Index, ...]) -> tuple[list[Index], Floats]:
    """Return settings between the measured ones, and the matrix that interpolates scores there.

    One number: the cubic spline, on every lattice point from the first to the last measured one.
    Several floats: a cubic radial basis function with a quadratic polynomial, on about `CANDIDATES`
    evenly spread settings and the measured ones; the measured ones alone where they are too few.
    The measured ones alone also where there are choices, conditions, or integers beside others:
    nothing lies between two choices, and a few values of an integer bear no surface.

    Interpolation is linear in the scores, so that the matrix of the S unit vectors serves all
    scores, pairs and bootstrap samples.

    Parameters
    ----------
    space
        The hyperparameters.
    settings
        S measured settings, sorted.

    Returns
    -------
    list of Index
        C settings.
    array
        Shape (C, S). Exact on cubic polynomials of one hyperparameter, on parabolas of several.

    Examples
    --------
    >>> from hmopt.space import Hyperparameter
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.25),))
    >>> candidates, matrix = interpolation(space, ((0,), (2,), (4,)))
    >>> candidates, (matrix @ [0.0, 4.0, 16.0]).round(9).tolist()
    ([(0,), (1,), (2,), (3,), (4,)], [0.0, 1.0, 4.0, 9.0, 16.0])
    """
    dimensions = len(space.hyperparameters)
    fewest = 2
    if dimensions > 1:
        fewest = (dimensions + 1) * (dimensions + 2)
    is_smooth = space.is_continuous or (dimensions == 1 and space.is_ordered)
    is_fine = dimensions > 1 or (
        space.hyperparameters and space.hyperparameters[0].points <= FINEST
    )
    if len(settings) < fewest or not is_smooth or not is_fine:
        return list(settings), np.eye(len(settings))
    if dimensions == 1:
        return _spline(settings)
    if not bears_surface(unit_places(space, settings)):
        return list(settings), np.eye(len(settings))
    return _surface(space, settings)


def _spline(settings: tuple[Index, ...]) -> tuple[list[Index], Floats]:
    measured = [place for (place,) in settings]
    first = measured[0]
    last = measured[-1]
    lattice = np.arange(first, last + 1)
    unit_vectors = np.eye(len(settings))
    spline = CubicSpline(measured, unit_vectors)
    matrix = spline(lattice)
    candidates: list[Index] = [(place,) for place in lattice.tolist()]
    return candidates, np.asarray(matrix)


def _surface(space: Space, settings: tuple[Index, ...]) -> tuple[list[Index], Floats]:
    dimensions = len(space.hyperparameters)
    per_hyperparameter = round(CANDIDATES ** (1 / dimensions))
    even = even_lattice(space, per_hyperparameter)
    candidates = sorted({*settings, *even})
    measured = unit_places(space, settings)
    wanted = unit_places(space, candidates)
    unit_vectors = np.eye(len(settings))
    surface = RBFInterpolator(
        measured,
        unit_vectors,
        kernel="cubic",
        degree=2,
    )
    matrix = surface(wanted)
    return candidates, np.asarray(matrix)


@lru_cache(maxsize=64)
def interpolated_values(space: Space, settings: tuple[Index, ...]) -> tuple[Floats, Floats]:
    """Return what `interpolation` does, with the settings as values: (C, hyperparameters)."""
    candidates, matrix = interpolation(space, settings)
    values = [space.coordinates(index) for index in candidates]
    return np.array(values), matrix


def _likely_choices(best: float, resampled: Floats) -> Floats:
    """Return the places of the fewest choices that are best in 95 % of the samples, and of the best measured one.

    Best in 60, 36 and 4 % of the samples: the first two. NaN stands for settings without a choice.
    """
    if not len(resampled):
        return np.empty(0)
    places, counts = np.unique(resampled[np.isfinite(resampled)], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    covered = np.cumsum(counts[order])
    needed = COVERAGE * len(resampled)
    fewest = int(np.searchsorted(covered, needed)) + 1
    return np.append(places[order[:fewest]], best)


def _values_at(hyperparameter: Hyperparameter, places: Floats) -> tuple[Value, ...]:
    """Return the choices at some places, each once, in the order of their declaration."""
    known = np.unique(places[np.isfinite(places)])
    return tuple(hyperparameter.value(int(place)) for place in known)


def _resampled_optima(response: Curve, samples: Samples) -> Floats:
    """Return the best setting in each sample, interpolated: shape (draws, hyperparameters).

    No samples where there are too few subjects.
    """
    if not samples.enough:
        return np.empty((0, len(response.space.names)))
    values, matrix = interpolated_values(response.space, response.settings)
    means = samples.means(response.scores)
    best = response.best_of(means @ matrix.T)
    return values[best]


def _interval_around(
    hyperparameter: Hyperparameter, best: int, measured: Floats, resampled: Floats
) -> Interval:
    """Compute the interval of resampled best values, at least half-way to the best's neighbours.

    What lies nearer to the best measured value than half-way to the next one was never told from
    it. Measured 0, 0.2, 0.4 with the best at 0.2: the interval reaches from 0.1 to 0.3 or further.
    Half-way is meant along the range, or along its logarithm where the prior is log-uniform.
    """
    value = float(measured[best])
    if np.isnan(value):  # it is inactive at the best setting
        return NOTHING
    inner = interval(resampled[np.isfinite(resampled)])
    if np.isnan(inner.low):
        return NOTHING
    values = np.unique(measured[np.isfinite(measured)]).tolist()
    place = values.index(value)
    last = len(values) - 1
    place_below = max(place - 1, 0)
    place_above = min(place + 1, last)
    half_way_down = _half_way(hyperparameter, value, values[place_below])
    half_way_up = _half_way(hyperparameter, value, values[place_above])
    low = min(inner.low, half_way_down)
    high = max(inner.high, half_way_up)
    return Interval(low, high)


def _half_way(hyperparameter: Hyperparameter, one: float, other: float) -> float:
    """Return the number half-way between two values, which need not lie on the lattice.

    Of 0.01 and 1 it is 0.505, and 0.1 where the prior is log-uniform.
    """
    if hyperparameter.prior == "log-uniform":
        geometric = math.sqrt(one * other)
        return one if one == other else float(f"{geometric:.12g}")
    return (one + other) / 2


def _to_lattice(found: Interval, integer: Hyperparameter) -> Interval:
    """Return an interval between values of an integer that holds another one.

    Of 1, 3, 5, … 3.4 to 6 becomes 3 to 7.
    """
    if np.isnan(found.low):
        return found
    first = math.floor((found.low - integer.low) / integer.step)
    last = math.ceil((found.high - integer.low) / integer.step)
    low = integer.low + first * integer.step
    high = integer.low + last * integer.step
    return Interval(low, high)


def _equivalent(response: Curve, samples: Samples, margin: float) -> Places:
    """Return the places of the settings that lose less than the margin, with 95 % confidence.

    The test is one-sided, as the best setting cannot be the worse one. Of one hyperparameter, only
    settings that are connected to the best one by equivalent settings count.
    """
    if not samples.enough:
        return np.empty(0, dtype=np.intp)
    best = response.best()
    scores = response.signed
    losses = scores[best] - scores
    # Widened for the ends of the middle 95 %, though the bound is one-sided: of pairs that share
    # subjects, simulated with 5 to 12 of them and a true loss as large as the margin, 4.6 to 6.4 % are
    # called equivalent, and 5.8 to 6.9 % where samples are widened for the 95 % quantile.
    resampled = samples.means(losses)
    upper_bounds = np.quantile(
        resampled,
        COVERAGE,
        axis=0,
    )
    equivalent = upper_bounds <= margin
    equivalent[best] = True
    if len(response.space.names) > 1 or not response.space.is_ordered:
        return np.flatnonzero(equivalent)
    first = best
    while first > 0 and equivalent[first - 1]:
        first -= 1
    last = best
    end = len(equivalent) - 1
    while last < end and equivalent[last + 1]:
        last += 1
    return np.arange(first, last + 1)


def _range(values: Floats) -> Interval:
    known = values[np.isfinite(values)]
    if not len(known):
        return NOTHING
    low = float(known.min())
    high = float(known.max())
    return Interval(low, high)


def band(response: Curve, samples: Samples) -> Floats:
    """Compute the 95 % bootstrap interval of the mean at each setting, shape (2, s)."""
    if not samples.enough:
        settings = len(response.settings)
        return np.full((2, settings), np.nan)
    means = samples.means(response.scores)
    low, high = response.metric.range
    return np.clip(middle(means), low, high)


@dataclass(frozen=True, kw_only=True)
class CurveAnalysis:
    """The response of one scope with its optimum.

    Parameters
    ----------
    response
        Scores of its pairs.
    band
        95 % interval of the mean at each setting, shape (2, s).
    optimum
        The best setting.
    """

    response: Curve
    band: Floats
    optimum: Optimum


class ModelAnalysis:
    """Optima of any scopes of one model; what scopes share is computed once.

    Parameters
    ----------
    measurements
        All that was measured.
    options
        Metric, limits, margin and seed.
    """

    def __init__(self, measurements: Measurements, options: SearchOptions) -> None:
        self.measurements = measurements
        self.moving = measurements.pairs["moving_subject"].to_numpy(dtype=object)
        self.fixed = measurements.pairs["fixed_subject"].to_numpy(dtype=object)
        self.curves = Curves(measurements, options.metric, options.all_limits)
        self._options = options
        self._samples = lru_cache(maxsize=32)(self._draw)

    def of(self, scope: Scope) -> CurveAnalysis | None:
        """Analyse a scope; None where nothing was measured for it."""
        response = self.curves.of(scope)
        if response is None:
            return None
        samples = self.samples(scope, response)
        options = self._options
        optimum = find_optimum(
            response,
            samples,
            options.all_limits,
            options.margin,
        )
        of_means = band(response, samples)
        return CurveAnalysis(response=response, band=of_means, optimum=optimum)

    def samples(self, scope: Scope, response: Curve) -> Samples:
        """Return bootstrap samples of the subjects of a response's pairs."""
        pairs = tuple(response.pairs.tolist())
        return self._samples(pairs, subject_of(scope))

    def _draw(self, pairs: tuple[int, ...], always: str | None) -> Samples:
        places = list(pairs)
        moving = self.moving[places]
        fixed = self.fixed[places]
        return draw(moving, fixed, DRAWS, self._options.seed, always)

    def sides(self, response: Curve) -> tuple[Names, Names]:
        """Return the subjects that must be held out of a response's pairs: `held_out_sides`."""
        moving = self.moving[response.pairs]
        fixed = self.fixed[response.pairs]
        return held_out_sides(response.scope, moving, fixed)


def subject_of(scope: Scope) -> str | None:
    """Return the subject that a scope is about, if it is about one."""
    criteria = dict(scope.criteria)
    return criteria.get("subject")


def held_out_sides(scope: Scope, moving: Names, fixed: Names) -> tuple[Names, Names]:
    """Return the subjects that must be held out of each pair.

    They are both of its subjects. For a scope of one subject, who is in all its pairs, they are the
    partner alone: the same array twice.

    Parameters
    ----------
    scope
        Of the pairs.
    moving, fixed
        Subjects of each pair, shape (n,).
    """
    subject = subject_of(scope)
    if subject is None:
        return moving, fixed
    partner = np.where(moving == subject, fixed, moving)
    return partner, partner
