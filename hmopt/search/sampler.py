"""Samplers: hmopt's own, which reads a response curve, and any of Optuna's by name."""

import importlib.util
import inspect
import math
import pkgutil
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.files import one_line
from hmopt.search.lattice import coarse_lattice, distributions, lattice_index, spread_out
from hmopt.search.plan import MOST_PREDICTED, promise
from hmopt.space import Index, Space, Value, even_indices

COARSE = {1: 10, 2: 6}
"""Coarse settings per hyperparameter, for one and for two; for more there is no coarse lattice."""

NEGLIGIBLE = 1e-4
"""Gains that are none, as a share of the range of the scores."""

CURVE_SAMPLER, AUTO_SAMPLER = "CurveSampler", "AutoSampler"


class CurveSampler(BaseSampler):
    """Suggests settings on the declared lattice.

    With one hyperparameter: coarse settings, end points first and then ever denser; when they are
    measured, the unmeasured lattice point that promises most by curves through all scores, so that
    of two humps the higher one is refined; where none promises more than the best there is, the
    middle of the widest gap. With two: coarse settings, then Optuna's `GPSampler` (its `TPESampler`
    where torch is not installed). With more, with categorical or conditional ones, and with an
    integer of more than 10 000 values: `TPESampler`. Trials with constraints are taken into
    account. Parameters that are not in the space are drawn at random.

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
    >>> space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    >>> sampler = CurveSampler(space, coarse=6)
    >>> study = optuna.create_study(sampler=sampler)
    >>> def objective(trial):
    ...     return (trial.suggest_float("regularization", 0, 1, step=0.005) - 0.35) ** 2
    >>> study.optimize(objective, n_trials=10)
    >>> [trial.params["regularization"] for trial in study.trials[:6]]
    [0.0, 1.0, 0.5, 0.25, 0.75, 0.94]
    >>> study.best_params
    {'regularization': 0.35}
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

    def __init__(self, space: Space, coarse: int | None = None, seed: int = 0) -> None:
        dimensions = len(space.hyperparameters)
        if coarse is not None and coarse < 3:
            raise SearchError(
                "coarse",
                expected="at least 3",
                got=coarse,
                advice="Leave it out to use a suitable default.",
            )
        self._space = space
        self._coarse: list[Index] = []
        points = coarse or COARSE.get(dimensions)
        sizes = [hyperparameter.points for hyperparameter in space.hyperparameters]
        self._is_ordered = space.is_ordered and max(sizes, default=0) <= MOST_PREDICTED
        if points and dimensions in COARSE and self._is_ordered:
            self._coarse = spread_out(coarse_lattice(space, points))
        self._random = RandomSampler(seed=seed)
        self._further = _further_sampler(dimensions, seed, self._is_ordered)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the distributions of the space; none of one whose hyperparameters depend on each other."""
        if self._further is not None and not self._is_ordered:
            return self._further.infer_relative_search_space(study, trial)
        return distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next setting."""
        self._raise_error_if_multi_objective(study)
        trials = study.get_trials(deepcopy=False)
        others = [other for other in trials if other.number != trial.number]
        tried = [other for other in others if other.state != TrialState.FAIL]
        taken = {self._index(other) for other in tried}
        taken |= self._given_up(others)
        for index in self._coarse:
            if index not in taken:
                return dict(self._space.setting(index))
        if self._further is not None:
            return self._further.sample_relative(study, trial, search_space)
        refined = self._refined(study, others, taken)
        return {} if refined is None else dict(self._space.setting(refined))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a value of a parameter that `sample_relative` left out."""
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

    def _given_up(self, trials: Sequence[FrozenTrial]) -> set[Index | None]:
        """Return the settings that failed twice: an interrupted trial is tried again, an impossible one is not."""
        failed = [self._index(trial) for trial in trials if trial.state == TrialState.FAIL]
        return {index for index, times in Counter(failed).items() if times > 1}

    def _index(self, trial: FrozenTrial) -> Index | None:
        return lattice_index(self._space, trial.params)

    def _refined(
        self, study: Study, trials: Sequence[FrozenTrial], taken: set[Index | None]
    ) -> Index | None:
        """Return the lattice point to refine, as above; None where there is none, or no curve."""
        measured: dict[int, FrozenTrial] = {}
        for trial in trials:
            index = self._index(trial)
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
        hopes = np.maximum(promise(places, scores, free), worthwhile)
        # the constraint between two places is taken to be linear
        is_feasible = np.interp(free, places, violations) <= 0
        if is_feasible.any():
            hopes = np.where(is_feasible, hopes, -np.inf)
        chosen = _farthest_of_best(hopes, free, places)
        return (free[chosen],)


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


def _further_sampler(dimensions: int, seed: int, is_ordered: bool) -> BaseSampler | None:
    if not is_ordered:
        return TPESampler(seed=seed)
    if dimensions == 1:
        return None
    if dimensions == 2 and importlib.util.find_spec("torch"):
        return GPSampler(seed=seed)
    return TPESampler(seed=seed)


def make_sampler(options: SearchOptions, space: Space, seed: int) -> BaseSampler:
    """Return the sampler that is declared as `search.sampler`.

    Parameters
    ----------
    options
        `sampler`: the name of one of Optuna's, `CurveSampler`, `AutoSampler`, or a dotted path;
        `sampler_options`: its arguments.
    space
        The hyperparameters, for a sampler with an argument `space`, or `search_space` as that of a
        grid: `options.coarse` values of each number, and every choice.
    seed
        For a sampler with an argument `seed`, where the options have none.

    Raises
    ------
    SearchError
        If there is no such sampler, it refuses its arguments, or cannot search the space.

    Examples
    --------
    >>> make_sampler(SearchOptions(sampler="RandomSampler"), Space(hyperparameters=()), seed=1)
    <optuna.samplers._random.RandomSampler object at ...>
    """
    name = options.sampler
    make = _find_sampler(name)
    offered = {"space": space, "seed": seed, "search_space": _grid(space, options.coarse)}
    arguments = {**_offered(make, offered), **options.sampler_options}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = make(**arguments)
    except (Exception, SystemExit) as error:  # whatever somebody else's class raises
        raise SearchError(
            "search.sampler_options",
            expected=f"arguments of {name}",
            got=one_line(error),
            advice="Correct them.",
        ) from error
    if not isinstance(sampler, BaseSampler):
        raise SearchError(
            "search.sampler",
            expected="a class derived from optuna.samplers.BaseSampler",
            got=name,
            advice="Name a sampler.",
        )
    if isinstance(sampler, CmaEsSampler) and not space.is_ordered:
        raise SearchError(
            "search.sampler",
            expected="one that takes categorical and conditional hyperparameters",
            got=name,
            advice="Declare TPESampler.",
        )
    return sampler


def _grid(space: Space, points: int) -> dict[str, list[Value]]:
    """Return the values of a grid: `points` of each number, and every choice."""
    grid = {}
    for hyperparameter in space.hyperparameters:
        indices = even_indices(hyperparameter, points)
        grid[hyperparameter.name] = [hyperparameter.value(index) for index in indices]
    return grid


def _find_sampler(name: str) -> Callable[..., object]:
    """Return the class that a name or a dotted path stands for."""
    try:
        if name == CURVE_SAMPLER:
            return CurveSampler
        if name == AUTO_SAMPLER:
            hub = importlib.import_module("optunahub")
            found = hub.load_module("samplers/auto_sampler").AutoSampler
        elif "." in name or ":" in name:
            found = pkgutil.resolve_name(name)
        else:
            found = getattr(optuna.samplers, name)
    except (Exception, SystemExit) as error:  # importing runs somebody else's module
        got = f"{name!r} ({type(error).__name__}: {one_line(error)})"
        advice = "Correct the name, or install the package that it is of."
        raise SearchError(
            "search.sampler", expected="a sampler that can be imported", got=got, advice=advice
        ) from error
    return cast(Callable[..., object], found)


def _offered(make: Callable[..., object], arguments: Mapping[str, object]) -> dict[str, object]:
    """Return those of some arguments that a class takes."""
    try:
        taken = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in arguments.items() if name in taken}
