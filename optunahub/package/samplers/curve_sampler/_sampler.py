"""A sampler that reads the response curve of one hyperparameter."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.interpolate import Akima1DInterpolator, CubicSpline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Index = tuple[int, ...]

COARSE = {1: 10, 2: 6}
"""Coarse settings per hyperparameter, for one and for two; for more there is no coarse lattice."""

POINTS = 201
"""Lattice points of a float without a step."""

MOST_POINTS = 10_001
"""Lattice points of a hyperparameter at most where curves are drawn."""

NEGLIGIBLE = 1e-4
"""Gains that are none, as a share of the range of the scores."""


class CurveSampler(BaseSampler):
    """Suggests settings of an objective that is expensive and smooth.

    With one hyperparameter: coarse settings, end points first and then ever denser; when they are
    measured, the unmeasured lattice point that promises most by curves through all scores, so that
    of two humps the higher one is refined; where none promises more than the best there is, the
    middle of the widest gap. With two: coarse settings, then Optuna's `GPSampler` (its `TPESampler`
    where torch is not installed). With more, with categorical ones, and with one of more than
    `MOST_POINTS` values: `TPESampler`. Constraints of trials are taken into account. Trials that
    were added or enqueued count as measured ones.

    Parameters
    ----------
    search_space
        Distributions by name; left out: those that all finished trials have in common. Then the
        first trial has the lowest value of every number. Other parameters are drawn at random.
    coarse
        Coarse settings per hyperparameter, at least 3; left out: 10 for one, 6 for two.
    points
        Lattice points of a float without a step, evenly along its range or its logarithm.
    seed
        With one hyperparameter nothing is random.

    Raises
    ------
    ValueError
        If `coarse` or `points` is too small.
    """

    # How one hyperparameter is refined, after the coarse settings. With scores f at measured
    # places, more is better:
    #
    #   worthwhile = max f over feasible places + NEGLIGIBLE * (max f - min f)
    #   next       = argmax over unmeasured feasible places x of max(promise(x), worthwhile)
    #
    # The inner maximum makes all places equal that promise nothing worthwhile; of equals the one
    # farthest from any measured place is taken. An example with places 0, …, 8, of which 0, 4 and 8
    # are measured:
    #
    #   place          0     1     2     3     4     5     6     7     8
    #   score        0.50                    0.80                    0.60
    #   promise             0.62  0.71  0.77        0.80  0.76  0.70
    #
    # No place promises more than 0.80, so that all are equal, and 2 and 6 are farthest, at a
    # distance of 2: place 2 is next. Say it scores 0.82. Then curves through four scores promise
    # 0.845 at place 3, which is next.

    def __init__(
        self,
        search_space: Mapping[str, BaseDistribution] | None = None,
        *,
        coarse: int | None = None,
        points: int = POINTS,
        seed: int | None = None,
    ) -> None:
        if coarse is not None and coarse < 3:
            raise ValueError(
                f"coarse: expected at least 3, got {coarse}. Leave it out for a good choice."
            )
        if points < 3:
            raise ValueError(f"points: expected at least 3, got {points}. Declare more.")
        self._declared = None if search_space is None else dict(search_space)
        self._common = IntersectionSearchSpace()
        self._coarse = coarse
        self._points = points
        self._seed = seed
        self._random = RandomSampler(seed=seed)
        self._further: BaseSampler | None = None
        self._lattice: _Lattice | None = None
        if self._declared is not None:
            self._prepare(self._declared)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the declared distributions, or those that all finished trials have in common."""
        space = self._declared
        if space is None:
            space = self._common.calculate(study)
        lattice = self._prepare(space)
        if self._further is not None and not lattice.is_ordered:
            return self._further.infer_relative_search_space(study, trial)
        return dict(lattice.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next setting."""
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        lattice = self._prepare(search_space)
        trials = study.get_trials(deepcopy=False)
        others = [other for other in trials if other.number != trial.number]
        tried = [other for other in others if other.state != TrialState.FAIL]
        taken = {lattice.index(other.params) for other in tried}
        taken |= _given_up(lattice, others)
        for index in lattice.coarse:
            if index not in taken:
                return lattice.setting(index)
        if self._further is not None:
            return self._further.sample_relative(study, trial, search_space)
        refined = _refined(study, lattice, others, taken)
        return {} if refined is None else lattice.setting(refined)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a value of a parameter that `sample_relative` left out."""
        is_number = isinstance(param_distribution, (FloatDistribution, IntDistribution))
        if is_number and self._declared is None and _is_first(study, trial, param_name):
            return param_distribution.low  # type: ignore[attr-defined]
        sampler = self._random if self._further is None else self._further
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Make workers draw differently."""
        self._random.reseed_rng()
        if self._further is not None:
            self._further.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Tell the further sampler."""
        if self._further is not None:
            self._further.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Tell the further sampler."""
        if self._further is not None:
            self._further.after_trial(study, trial, state, values)

    def _prepare(self, space: Mapping[str, BaseDistribution]) -> _Lattice:
        """Return the lattice of a space, and have the sampler that follows its coarse settings."""
        several = {name: values for name, values in space.items() if not values.single()}
        lattice = self._lattice
        if lattice is None or lattice.space != several:
            lattice = _Lattice(several, self._coarse, self._points)
            self._lattice = lattice
            self._further = self._further_sampler(lattice)
        return lattice

    def _further_sampler(self, lattice: _Lattice) -> BaseSampler | None:
        """Return the sampler of all but a single number; the one before where it is of the same class."""
        dimensions = len(lattice.space)
        if lattice.is_ordered and dimensions <= 1:
            return None
        has_torch = importlib.util.find_spec("torch") is not None
        kind: type[GPSampler | TPESampler] = TPESampler
        if lattice.is_ordered and dimensions == 2 and has_torch:
            kind = GPSampler
        if type(self._further) is kind:
            return self._further
        return kind(seed=self._seed)


class _Axis:
    """The lattice of one number: evenly along its range, or along its logarithm."""

    def __init__(self, values: FloatDistribution | IntDistribution, points: int) -> None:
        self.low = values.low
        self.high = values.high
        self.is_log = values.log
        self.is_integer = isinstance(values, IntDistribution)
        self.points = points
        if values.step is not None:
            self.points = round((self.high - self.low) / values.step) + 1
        self.step = (self.high - self.low) / (self.points - 1)
        if isinstance(values, IntDistribution):
            self.step = values.step

    def value(self, index: int) -> float:
        """Return the value at a lattice index."""
        if self.is_integer:
            return self.low + index * self.step
        return self._along(index / (self.points - 1))

    def index(self, value: Any) -> int | None:
        """Return the index of the nearest lattice point; None outside the range."""
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            return None
        if self.is_integer:
            return round((value - self.low) / self.step) if float(value).is_integer() else None
        return round(self._share(value) * (self.points - 1))

    def coarse(self, count: int) -> list[int]:
        """Return `count` indices, even from end to end but for one near the upper end.

        In the last interval a place is added at a quarter of its length from the end.
        """
        last = self.points - 1
        intervals = count - 2
        if self.is_integer and self.is_log:
            shares = [number / intervals for number in range(count - 1)]
            shares.append(1 - 1 / intervals / 4)
            return sorted({round(self._along(share) - self.low) for share in shares})
        interval = last / intervals
        even = [round(number * interval) for number in range(count - 1)]
        near_the_end = round(last - interval / 4)
        return sorted({*even, near_the_end})

    def _along(self, share: float) -> float:
        """Return the number at a share of the range, or of its logarithm."""
        value = self.low + share * (self.high - self.low)
        if self.is_log:
            value = self.low * (self.high / self.low) ** share
        # 0.35, not 0.35000000000000003
        return float(f"{value:.12g}")

    def _share(self, value: float) -> float:
        """Return the share of the range, or of its logarithm, at which a number lies."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


class _Lattice:
    """The settings that are suggested, as lattice indices, one for each hyperparameter.

    Parameters
    ----------
    space
        Distributions of more than one value, by name.
    coarse
        Coarse settings per hyperparameter; None: as of `COARSE`.
    points
        Lattice points of a float without a step.
    """

    def __init__(self, space: dict[str, BaseDistribution], coarse: int | None, points: int) -> None:
        self.space = space
        self._axes: dict[str, _Axis] = {}
        for name, values in space.items():
            if isinstance(values, (FloatDistribution, IntDistribution)):
                self._axes[name] = _Axis(values, points)
        sizes = [axis.points for axis in self._axes.values()]
        self.is_ordered = len(sizes) == len(space) and max(sizes, default=0) <= MOST_POINTS
        self.coarse: list[Index] = []
        if self.is_ordered and len(space) in COARSE:
            count = coarse or COARSE[len(space)]
            per_axis = [axis.coarse(count) for axis in self._axes.values()]
            self.coarse = _spread_out(list(itertools.product(*per_axis)))

    def setting(self, index: Index) -> dict[str, Any]:
        """Return the values of a setting by name."""
        axes = enumerate(self._axes.items())
        return {name: axis.value(index[position]) for position, (name, axis) in axes}

    def index(self, params: Mapping[str, Any]) -> Index | None:
        """Return the lattice point nearest to a trial's parameters; None where one is missing or outside."""
        places = []
        for name, axis in self._axes.items():
            place = axis.index(params.get(name))
            if place is None:
                return None
            places.append(place)
        return tuple(places)


def _is_first(study: Study, trial: FrozenTrial, name: str) -> bool:
    """Return whether no other trial has a parameter, but for those that failed."""
    for other in study.get_trials(deepcopy=False):
        is_other = other.number != trial.number and other.state != TrialState.FAIL
        if is_other and name in other.params:
            return False
    return True


def _spread_out(settings: Sequence[Index]) -> list[Index]:
    """Return settings in an order in which each is the farthest from those before it.

    Of the places 0, 50, 100, 150, 200: first 0, then 200 (the farthest), 100 (50 and 150 are nearer
    to an end), 50, 150.
    """
    points = np.array(settings, dtype=float)
    points /= np.maximum(points.max(axis=0), 1)
    distance = np.full(len(points), np.inf)  # of each to the nearest that was taken
    order: list[int] = []
    for _ in settings:
        farthest = int(distance.argmax())
        order.append(farthest)
        to_farthest = np.linalg.norm(points - points[farthest], axis=1)
        distance = np.minimum(distance, to_farthest)
        distance[order] = -1
    return [settings[place] for place in order]


def _given_up(lattice: _Lattice, trials: Sequence[FrozenTrial]) -> set[Index | None]:
    """Return the settings that failed twice: an interrupted trial is tried again, an impossible one is not."""
    failed = [lattice.index(trial.params) for trial in trials if trial.state == TrialState.FAIL]
    return {index for index, times in Counter(failed).items() if times > 1}


def _refined(
    study: Study, lattice: _Lattice, trials: Sequence[FrozenTrial], taken: set[Index | None]
) -> Index | None:
    """Return the lattice point to refine; None where there is none, or no curve."""
    measured: dict[int, FrozenTrial] = {}
    for trial in trials:
        index = lattice.index(trial.params)
        if trial.state != TrialState.COMPLETE or index is None or trial.value is None:
            continue
        # no curve goes through an infinite score
        if math.isfinite(trial.value):
            measured[index[0]] = trial
    places = sorted(measured)
    if len(places) < 2:
        return None
    free = [place for place in range(places[0], places[-1]) if (place,) not in taken]
    if not free:
        return None
    at_places = [measured[place] for place in places]
    values = np.array([trial.value for trial in at_places], dtype=float)
    violations = np.array([_violation(trial) for trial in at_places])
    scores = values if study.direction == StudyDirection.MAXIMIZE else -values
    best_feasible = scores[violations <= 0].max(initial=-np.inf)
    worthwhile = best_feasible + NEGLIGIBLE * np.ptp(scores)
    hopes = np.maximum(_promise(places, scores, free), worthwhile)
    # the constraint between two places is taken to be linear
    is_feasible = np.interp(free, places, violations) <= 0
    if is_feasible.any():
        hopes = np.where(is_feasible, hopes, -np.inf)
    chosen = _farthest_of_best(hopes, free, places)
    return (free[chosen],)


def _promise(
    places: Sequence[int], scores: NDArray[np.float64], at: Sequence[int]
) -> NDArray[np.float64]:
    """Return how high scores may be between measured lattice places, by two curves through them.

    Akima's curve A never rises much above what was measured, so that a hump between two places
    escapes it; the cubic spline C shows the hump, and rings where scores fall steeply. Where they
    disagree something is to be learned:

        promise(x) = max(A(x), C(x)) + |A(x) - C(x)| / 2.

    Through two places both are the straight line.
    """
    measured = np.asarray(places, dtype=float)
    wanted = np.asarray(at, dtype=float)
    spline = CubicSpline(measured, scores)(wanted)
    if len(measured) == 2:
        # scipy's slopes of Akima's curve are undefined memory there
        return np.asarray(spline)
    akima = Akima1DInterpolator(measured, scores)(wanted)
    higher = np.maximum(akima, spline)
    return np.asarray(higher + np.abs(akima - spline) / 2)


def _violation(trial: FrozenTrial) -> float:
    """Return by how much a trial breaks its worst constraint; at most 0 where it is feasible."""
    return max(trial.constraints.values(), default=0.0)


def _farthest_of_best(
    hopes: NDArray[np.float64], free: Sequence[int], places: Sequence[int]
) -> int:
    """Return the position in `free` of the highest hope; of equals, the farthest from any place."""
    highest = hopes.max()
    tolerance = 1e-12 * max(1.0, abs(highest))
    equal = np.flatnonzero(hopes >= highest - tolerance)
    candidates = np.asarray(free)[equal]
    gaps = np.abs(candidates[:, None] - np.asarray(places))  # (equal, places)
    nearest = gaps.min(axis=1)
    farthest = nearest.argmax()
    return int(equal[farthest])
