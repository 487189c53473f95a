"""A sampler that reads a response curve: a coarse lattice first, then where curves through the scores are highest."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hmopt.errors import SearchError
from hmopt.search.lattice import coarse_lattice, distributions, lattice_index
from hmopt.search.spline import promise
from hmopt.space import Index, Space

COARSE = {1: 10, 2: 6}
"""Coarse settings per hyperparameter, by how many hyperparameters there are; for more there is no coarse lattice."""

NEGLIGIBLE = 1e-4
"""Gains that are none, as a share of the range of the scores."""


class CurveSampler(BaseSampler):
    """Suggests settings on the declared lattice.

    With one hyperparameter: coarse settings, end points first and then ever denser; when they are measured, the
    unmeasured lattice point that promises most by curves through all scores, so that of two humps the higher one is
    refined; where none promises more than the best there is, the middle of the widest gap. With two: coarse settings,
    then Optuna's `GPSampler` (its `TPESampler` where torch is not installed). With more: `TPESampler`. Trials with
    constraints are taken into account. Parameters that are not in the space are drawn at random.

    Parameters
    ----------
    space
        The hyperparameters.
    coarse
        Coarse settings per hyperparameter; left out: 10 for one, 6 for two.
    seed
        With one hyperparameter nothing is random.

    Examples
    --------
    >>> import optuna
    >>> from hmopt.space import Hyperparameter
    >>> sampler = CurveSampler(Space(hyperparameters=(Hyperparameter(name="regularization"),)), coarse=6)
    >>> study = optuna.create_study(sampler=sampler)
    >>> objective = lambda trial: (trial.suggest_float("regularization", 0, 1, step=0.005) - 0.35) ** 2
    >>> study.optimize(objective, n_trials=10)
    >>> [trial.params["regularization"] for trial in study.trials[:6]]
    [0.0, 1.0, 0.5, 0.25, 0.75, 0.94]
    >>> study.best_params
    {'regularization': 0.35}
    """

    def __init__(self, space: Space, coarse: int | None = None, seed: int = 0) -> None:
        dimensions = len(space.hyperparameters)
        if coarse is not None and coarse < 3:
            raise SearchError(
                "coarse",
                expected="at least 3",
                got=coarse,
                advice="Leave it out for a good choice.",
            )
        points = coarse or COARSE.get(dimensions)
        self._space = space
        self._coarse = (
            _spread_out(coarse_lattice(space, points)) if points and dimensions in COARSE else []
        )
        self._random = RandomSampler(seed=seed)
        self._further = _further_sampler(dimensions, seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Give the distributions of the space."""
        return distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Give the next setting."""
        self._raise_error_if_multi_objective(study)
        others = [
            other for other in study.get_trials(deepcopy=False) if other.number != trial.number
        ]
        taken = {self._index(other) for other in others if other.state != TrialState.FAIL}
        left = [index for index in self._coarse if index not in taken]
        if left:
            return dict(self._space.setting(left[0]))
        if self._further is not None:
            return self._further.sample_relative(study, trial, search_space)
        index = self._refined(study, others, taken)
        return {} if index is None else dict(self._space.setting(index))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Give a value of a parameter that `sample_relative` left out."""
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

    def _index(self, trial: FrozenTrial) -> Index | None:
        return lattice_index(self._space, trial.params)

    def _refined(
        self, study: Study, trials: Sequence[FrozenTrial], taken: set[Index | None]
    ) -> Index | None:
        """Give the unmeasured lattice point where the curve is best; None where there is none left, or no curve."""
        measured = {
            index[0]: trial
            for trial in trials
            if trial.state == TrialState.COMPLETE and (index := self._index(trial)) is not None
        }
        free = [
            place
            for place in range(min(measured, default=0), max(measured, default=0))
            if (place,) not in taken
        ]
        if len(measured) < 2 or not free:
            return None
        places = sorted(measured)
        sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
        scores = sign * np.array([measured[place].value for place in places], dtype=float)
        violations = np.array(
            [max(measured[place].constraints.values(), default=0.0) for place in places]
        )
        worthwhile = scores[violations <= 0].max(initial=-np.inf) + NEGLIGIBLE * np.ptp(scores)
        predicted = np.maximum(promise(places, scores, free), worthwhile)
        feasible = np.interp(free, places, violations) <= 0
        if feasible.any():
            predicted = np.where(feasible, predicted, -np.inf)
        return (free[_best(predicted, free, places)],)


def _best(predicted: NDArray[np.float64], free: Sequence[int], places: Sequence[int]) -> int:
    """Give the highest; of equals the one farthest from what is measured."""
    equal = np.flatnonzero(predicted >= predicted.max() - 1e-12 * max(1.0, abs(predicted.max())))
    distance = np.abs(np.asarray(free)[equal, None] - np.asarray(places)).min(axis=1)
    return int(equal[distance.argmax()])


def _spread_out(settings: Sequence[Index]) -> list[Index]:
    """Put settings in an order in which each next one is the farthest from those before it."""
    points = np.array(settings, dtype=float)
    points /= np.maximum(points.max(axis=0), 1)
    distance = np.full(len(points), np.inf)
    order: list[int] = []
    for _ in settings:
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[order[-1]], axis=1))
        distance[order] = -1
    return [settings[place] for place in order]


def _further_sampler(dimensions: int, seed: int) -> BaseSampler | None:
    if dimensions == 1:
        return None
    if dimensions == 2 and importlib.util.find_spec("torch"):
        return GPSampler(seed=seed)
    return TPESampler(seed=seed)
