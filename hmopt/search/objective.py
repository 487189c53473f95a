"""The objective of an Optuna study, the mean score of pairs at a setting, and its optimization."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState

from hmopt.catalogue import Metric, find_metric
from hmopt.catalogue.metrics import FOLDING
from hmopt.declaration import SearchOptions
from hmopt.errors import DeclarationError, FailedPairsError, SearchError
from hmopt.ledger.leases import Leases, Work
from hmopt.ledger.measurements import Measurements, mean, pair_records
from hmopt.ledger.recorded import Recorded
from hmopt.progress import Track, silent
from hmopt.protocol import Oracle
from hmopt.records import Block, Pair
from hmopt.search.curve import Curve, Curves
from hmopt.search.lattice import distribution, lattice_index
from hmopt.search.sampler import make_sampler
from hmopt.search.spending import Spending, best_by_score, make_spending
from hmopt.search.storage import patiently, quiet
from hmopt.search.studies import (
    limit_constraints,
    origin_of,
    shared_scopes,
    stored_study,
    study_name,
)
from hmopt.space import INACTIVE, Hyperparameter, Index, Space, Value, assigned_text

SAMPLER = "sampler"
"""User attribute of a trial: the sampler that asked for it. Exported trials have none."""
KNOWN = "known"
"""User attribute of a trial whose setting was measured before; it is none of the declared trials."""
FAILED = "failed"
"""User attribute of a trial that failed because a pair could not be registered: the message."""
EXHAUSTED = "exhausted"
"""User attribute of a study: the sampler that has nothing left to ask for, as that of a grid."""


class Objective:
    """The mean score of pairs at a setting that a trial suggests: callable with any Optuna trial.

    The trial keeps the setting that was measured (the lattice point nearest to what was suggested),
    the mean share of folded voxels and the mean of every metric that has a limit as user attributes:
    `setting`, `folding`, and the metric's name.

    Parameters
    ----------
    oracle
        What measures.
    pairs
        The pairs to average over; those that lack the label do not count.
    label
        One of the oracle's labels; left out: the mean over the labels that each pair has.
    metric
        Name of a declared metric.
    folding_limit
        Largest mean share of folded voxels, in [0, 1], of a feasible trial; left out: every trial
        is feasible.
    limits
        Limits of a feasible trial by further metrics, as `{"hd95_mm": 2.0}`.
    measured
        Further metrics to measure at once, so that an oracle that records need not register the
        same pairs again for them.

    Raises
    ------
    SearchError
        If there are no pairs, or the oracle does not know the label; when called, if a value was
        enqueued that lies outside its bounds, or no pair has the label.
    FailedPairsError
        When called, if the oracle could not register a pair: give it to `study.optimize` as
        `catch`, and the trial fails while the study goes on.

    Examples
    --------
    >>> import optuna
    >>> from hmopt.space import Space
    >>> class Parabola:
    ...     space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    ...     identity, labels = "0f", ("x",)
    ...
    ...     def measure(self, settings, pairs, metrics):
    ...         for (index,) in settings:
    ...             dice, folding = np.array([[1 - (index / 200 - 0.35) ** 2]]), np.array([0.0])
    ...             values = {"dice": dice, "folding": folding}
    ...             yield Block(index=(index,), pairs=(pairs[0].id,), labels=("x",), values=values)
    >>> pair = Pair(moving="a", fixed="b", moving_subject="a", fixed_subject="b")
    >>> objective = Objective(Parabola(), [pair])
    >>> objective(optuna.trial.FixedTrial({"regularization": 0.35}))
    1.0
    """

    def __init__(
        self,
        oracle: Oracle,
        pairs: Sequence[Pair],
        label: str | None = None,
        metric: str = "dice",
        folding_limit: float | None = None,
        measured: Sequence[str] = (),
        limits: Mapping[str, float] | None = None,
    ) -> None:
        if not pairs:
            raise SearchError(
                "pairs", expected="at least one pair", got="none", advice="Give the pairs to score."
            )
        if label is not None and label not in oracle.labels:
            known = ", ".join(oracle.labels)
            raise SearchError(
                "label", expected=f"one of {known}", got=repr(label), advice="Correct the name."
            )
        self._oracle = oracle
        self.pairs = tuple(pairs)
        self._label = label
        self._metric = find_metric(metric)
        self._limits = {} if folding_limit is None else {FOLDING: folding_limit}
        self._limits.update(limits or {})
        self._limited = [name for name in self._limits if name != FOLDING]
        self._metrics = tuple(dict.fromkeys((metric, FOLDING, *self._limited, *measured)))

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """The direction for `optuna.create_study`."""
        return self._metric.direction

    def __call__(self, trial: BaseTrial) -> float:
        """Measure the setting that a trial suggests, and return its score.

        Raises
        ------
        SearchError
            If the trial's study asks for the wrong direction, or see `Objective`.
        FailedPairsError
            If a pair could not be registered.
        """
        index = self.suggest(trial)
        return self.tell(trial, self.measure(index, self.pairs))

    def suggest(self, trial: BaseTrial) -> Index:
        """Return the lattice point nearest to what a trial suggests, of the hyperparameters that are active.

        The trial keeps it as user attribute `setting`.

        Raises
        ------
        SearchError
            If the trial's study asks for the wrong direction, or a value was enqueued that lies
            outside its bounds.
        """
        self._check_direction(trial)
        space = self._oracle.space
        places = [INACTIVE] * len(space.hyperparameters)
        for column, hyperparameter in enumerate(space.hyperparameters):
            # what is active depends on the values before it alone, as conditions look back
            active = space.active(tuple(places))
            if hyperparameter in active:
                places[column] = _suggested(trial, hyperparameter)
        index = space.canonical(tuple(places))
        trial.set_user_attr("setting", space.setting(index))
        return index

    def measure(self, index: Index, pairs: Sequence[Pair]) -> "Scores":
        """Return score, folding and what has a limit of some pairs at a setting, in their order.

        Raises
        ------
        FailedPairsError
            If one could not be registered.
        """
        place_of = {pair.id: place for place, pair in enumerate(pairs)}
        scores = np.full(len(pairs), np.nan)
        folding = np.full(len(pairs), np.nan)
        limited = {name: np.full(len(pairs), np.nan) for name in self._limited}
        failures: dict[str, str] = {}
        for block in self._oracle.measure([index], pairs, self._metrics):
            places = [place_of[pair] for pair in block.pairs]
            scores[places] = self._of_pairs(block, self._metric)
            folding[places] = block.values[FOLDING]
            for name, values in limited.items():
                values[places] = self._of_pairs(block, find_metric(name))
            failures.update(block.failures)
        if failures:
            first = min(failures)
            setting = self._oracle.space.setting(index)
            raise FailedPairsError(
                "registration",
                expected=f"{len(pairs)} pairs registered at {assigned_text(setting)}",
                got=f"{len(failures)} that failed, as {first} ({failures[first]})",
                advice="Leave the setting or the pair out, or correct the engine.",
            )
        return Scores(scores=scores, folding=folding, limited=limited)

    def tell(self, trial: BaseTrial, found: "Scores") -> float:
        """Keep the means of what has a limit with a trial, and return the mean score of the pairs that have one.

        Raises
        ------
        SearchError
            If none has a score.
        """
        score, folding = self.means(found)
        means = {FOLDING: folding}
        for name, values in found.limited.items():
            (means[name],) = mean(values[np.newaxis], axis=1).tolist()
        for name, value in means.items():
            trial.set_user_attr(name, value)
        for name, value in limit_constraints(means, self._limits).items():
            # nothing to measure obeys no limit
            trial.set_constraint(name, math.inf if math.isnan(value) else value)
        return score

    def means(self, found: "Scores") -> tuple[float, float]:
        """Return the mean score and mean folding of the pairs that have a score.

        Raises
        ------
        SearchError
            If there are none.
        """
        measured = np.isfinite(found.scores)
        if not measured.any():
            of_label = f"{self._metric.name} of {self._label or 'a label'}"
            raise SearchError(
                "score",
                expected=f"{of_label} for some of {len(found.scores)} pairs",
                got="nothing that can be measured",
                advice="Choose pairs whose images have the label.",
            )
        # summed exactly, so that the order of pairs changes nothing
        count = int(measured.sum())
        mean_score = math.fsum(found.scores[measured]) / count
        mean_folding = float(found.folding[measured].mean())
        return mean_score, mean_folding

    def _check_direction(self, trial: BaseTrial) -> None:
        """Refuse a study that would search for the worst setting."""
        study = getattr(trial, "study", None)
        if study is None:
            return
        directions = [direction.name.lower() for direction in study.directions]
        # an objective may be one of several of a study, whose places it does not know
        if self.direction not in directions:
            wanted = self.direction
            raise SearchError(
                "direction",
                expected=f"{wanted}, as {self._metric.name} asks for",
                got=", ".join(directions),
                advice=f'Create the study with direction="{wanted}" (`objective.direction`).',
            )

    def _of_pairs(self, block: Block, metric: Metric) -> NDArray[np.float64]:
        """Return one value of a metric for each pair of a block: of the label, or the mean over labels."""
        values = block.values[metric.name]
        if not metric.per_label:
            return values
        if self._label is None:
            return mean(values, axis=1)
        column = block.labels.index(self._label)
        return values[:, column]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Score, share of folded voxels, and metrics that have a limit, of n pairs at one setting: (n,) each.

    What is of a label is NaN for a pair without it.
    """

    scores: NDArray[np.float64]
    folding: NDArray[np.float64]
    limited: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def _suggested(trial: BaseTrial, hyperparameter: Hyperparameter) -> int:
    """Return the lattice index nearest to the value that a trial suggests."""
    among = distribution(hyperparameter)
    name = hyperparameter.name
    value: Value | None
    with warnings.catch_warnings():  # an enqueued value outside is refused below
        warnings.filterwarnings("ignore", message=".*out of (the )?range", category=UserWarning)
        if isinstance(among, CategoricalDistribution):
            value = trial.suggest_categorical(name, hyperparameter.choices)
        elif isinstance(among, IntDistribution):
            value = trial.suggest_int(name, among.low, among.high, step=among.step, log=among.log)
        else:
            assert isinstance(among, FloatDistribution)
            value = trial.suggest_float(name, among.low, among.high, step=among.step, log=among.log)
    assert value is not None  # no choice is
    try:
        return hyperparameter.index(value)
    except DeclarationError as error:
        expected = f"a value {hyperparameter.range_text}"
        if hyperparameter.is_continuous:
            low, high = float(hyperparameter.low), float(hyperparameter.high)
            expected = f"a number in [{low}, {high}]"
        raise SearchError(
            name,
            expected=expected,
            got=value,
            advice="Enqueue a value inside.",
        ) from error


def optimize_scopes(
    oracle: Oracle,
    measurements: Measurements,
    options: SearchOptions,
    name: str,
    storage: BaseStorage,
    track: Track = silent,
) -> list[Index]:
    """Run the declared sampler in the stored study of every scope but those of single subjects.

    Each study gets `options.trials` trials of this sampler. Rerun to resume: finished trials count,
    one that was interrupted is marked as failed, and what a ledger holds is not measured again.
    Trials that are there already, exported or of another sampler, stay, and the sampler learns from
    them.

    Several processes may do so at a time, on the folder of one ledger: each takes a study that no
    other is at, and at the end waits for those that others are at.

    Parameters
    ----------
    oracle
        What measures: a `Recorded` one, so that measurements go to its ledger.
    measurements
        Of at least one setting of all pairs: they say which pairs a scope has.
    options
        `sampler`, `sampler_options`, `trials`, `spending`, `spending_options`, `jobs`, `seed`,
        `scopes`, `metric` and the limits.
    name
        What the names of studies begin with.
    storage
        Holds the studies.
    track
        Told of every trial of each study.

    Returns
    -------
    list of Index
        Settings to measure on all pairs, sorted: those of all finished trials of these studies; or
        where pairs are spent adaptively, the best of each study, and its best within the limits.

    Raises
    ------
    SearchError
        If there is no such sampler, or the oracle fails.
    """
    curves = Curves(measurements, options.metric, options.all_limits)
    origin = origin_of(measurements, options)
    left: dict[str, Curve] = {}
    for scope in shared_scopes(measurements, options):
        curve = curves.of(scope)
        if curve is not None:
            left[study_name(name, curve, origin)] = curve
    leases = oracle.leases if isinstance(oracle, Recorded) else Leases(None)
    complete = Complete(oracle.space)
    settings: set[Index] = set()
    while left:
        works = [Work(of=one) for one in left]
        with leases.holding(works, most=1) as held, quiet():
            is_held = partial(leases.holds, held)
            for work in held.works:
                curve = left[work.of]
                known = [] if options.spending == "all" else complete.on(curve.ids)
                open_stored = partial(stored_study, name, curve, origin, storage)
                run = partial(
                    _optimize_opened,
                    open_stored,
                    oracle,
                    measurements,
                    curve,
                    options,
                    known,
                    track,
                    is_held,
                )
                study = patiently(run, track)
                if not is_held():  # it is finished by whoever took it over
                    continue
                del left[work.of]
                take_up = partial(
                    _take_up, study, curve.ids, complete, options.spending, oracle.space
                )
                settings |= patiently(take_up, track)
        if not held.works:
            leases.wait(works, held.others, track)
    return sorted(settings)


class Complete:
    """Settings that earlier studies of a sweep measured on all their pairs.

    Parameters
    ----------
    space
        The hyperparameters.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._pairs_at: dict[Index, set[str]] = {}

    def add(self, study: optuna.Study, pairs: Sequence[str]) -> None:
        """Take up the finished trials of a study over some pairs."""
        for index in _finished_settings(study, self._space):
            self._pairs_at.setdefault(index, set()).update(pairs)

    def on(self, pairs: Sequence[str]) -> list[Index]:
        """Return the settings that all of some pairs were measured at, and the default, which comes first."""
        default = self._space.index(self._space.default)
        wanted = set(pairs)
        found = {index for index, known in self._pairs_at.items() if known >= wanted}
        return [default, *sorted(found - {default})]


def _take_up(
    study: optuna.Study,
    pairs: Sequence[str],
    complete: Complete,
    spending: str,
    space: Space,
) -> set[Index]:
    """Note what a study measured, and return the settings to measure on all pairs."""
    complete.add(study, pairs)
    if spending == "all":
        return _finished_settings(study, space)
    return _best_settings(study, space)


def _optimize_opened(open_stored: Callable[[], optuna.Study], *arguments: Any) -> optuna.Study:
    """Open a study, optimize it, and return it."""
    study = open_stored()
    optimize(study, *arguments)
    return study


def optimize(
    study: optuna.Study,
    oracle: Oracle,
    measurements: Measurements,
    curve: Curve,
    options: SearchOptions,
    known: Sequence[Index] = (),
    track: Track = silent,
    is_held: Callable[[], bool] = lambda: True,
) -> None:
    """Run what is left of the declared trials in the study of one scope.

    Parameters
    ----------
    study
        The study.
    oracle
        What measures.
    measurements
        Of at least one setting of all pairs.
    curve
        Tells the scope, and which of the pairs it has.
    options
        As for `optimize_scopes`.
    known
        Settings that all these pairs were measured at already, the default first: they become
        trials beside the declared ones, which cost nothing, and which others are compared with.
    track
        Told of every trial.
    is_held
        Asked before every trial whether no other process has taken over the study, as from one that
        was paused for long; then this one leaves it.
    """
    _fail_interrupted(study)
    done = _finished_trials(study, options.sampler)
    left = options.trials - done
    if left <= 0 or study.user_attrs.get(EXHAUSTED) == options.sampler:
        return
    # another seed after an interruption: the same one would ask for the same settings again
    study.sampler = make_sampler(options, oracle.space, options.seed + done)
    objective = Objective(
        oracle,
        pair_records(measurements.pairs.iloc[curve.pairs]),
        label=curve.scope.label,
        metric=options.metric,
        measured=options.measured,
        limits=options.all_limits,
    )
    spending = make_spending(objective, measurements.pairs, options)
    if spending.pruner is not None:
        study.pruner = spending.pruner
    for index in known:
        setting = oracle.space.setting(index)
        study.enqueue_trial(setting, user_attrs={KNOWN: True}, skip_if_exists=True)
    waiting = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    measured = partial(_measure_trial, spending=spending, oracle=oracle, is_held=is_held)
    trials = left + waiting
    shown = track(range(trials), f"{options.sampler}, {curve.scope.name}", trials)
    try:
        _make_trials(study, measured, trials, shown)
    except (UpdateFinishedTrialError, ValueError):
        if is_held():
            raise
        # whoever has taken over has marked the trial as failed
    if is_held() and _finished_trials(study, options.sampler) < options.trials:
        study.set_user_attr(EXHAUSTED, options.sampler)


class _TakenOverError(Exception):
    """Another process has taken over the study: a trial that was begun here is none of the declared ones."""


def _measure_trial(
    trial: Trial, spending: Spending, oracle: Oracle, is_held: Callable[[], bool]
) -> float:
    """Return the score of a trial, which is marked as one of the declared sampler."""
    options = spending.options
    if not is_held():  # whoever has taken over makes the trials that are left
        trial.study.stop()
        raise _TakenOverError
    if KNOWN not in trial.user_attrs:
        trial.set_user_attr(SAMPLER, options.sampler)
    try:
        return spending(trial)
    except FailedPairsError as error:
        trial.set_user_attr(FAILED, str(error))
        raise
    finally:
        # every few pairs became a shard of their own, which the next trials would open each time
        if options.spending != "all" and isinstance(oracle, Recorded):
            oracle.compact()


def _make_trials(
    study: optuna.Study,
    objective: Callable[[Trial], float],
    trials: int,
    progress: Iterator[object],
) -> None:
    """Make trials, and take an item of the progress before each."""
    next(progress, None)  # the first trial begins

    def show_progress(_study: optuna.Study, _trial: FrozenTrial) -> None:
        next(progress, None)

    with warnings.catch_warnings(), quiet(optuna.logging.ERROR):
        # some samplers cannot use limits; the study and the report still tell what obeys them
        warnings.filterwarnings("ignore", message="Constraints have been set", category=UserWarning)
        try:
            study.optimize(
                objective,
                n_trials=trials,
                catch=(FailedPairsError, _TakenOverError),
                callbacks=[show_progress],
            )
        except (AssertionError, UnboundLocalError) as error:
            # what Optuna ends with where the end of a trial cannot be stored; its context says why
            reason = error.__context__ or error
            raise reason from reason.__cause__
    list(progress)  # to its end, also where the sampler had nothing left to ask for


def _fail_interrupted(study: optuna.Study) -> None:
    """Mark trials that an interruption left unfinished: nobody will finish them."""
    unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in unfinished:
        study.tell(trial.number, state=TrialState.FAIL)


def _finished_trials(study: optuna.Study, sampler: str) -> int:
    """Return how many trials of a sampler ended: also those that were pruned, or whose pairs failed."""
    count = 0
    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    for trial in study.get_trials(deepcopy=False, states=ended):
        was_interrupted = trial.state == TrialState.FAIL and FAILED not in trial.user_attrs
        if trial.user_attrs.get(SAMPLER) == sampler and not was_interrupted:
            count += 1
    return count


def _finished_settings(study: optuna.Study, space: Space) -> set[Index]:
    """Return the lattice points of a study's finished trials."""
    found = set()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        index = lattice_index(space, trial.params)
        if index is not None:
            found.add(index)
    return found


def _best_settings(study: optuna.Study, space: Space) -> set[Index]:
    """Return the best lattice points of a study's finished trials: of all, and of those within the limits."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    feasible = [trial for trial in trials if max(trial.constraints.values(), default=0.0) <= 0]
    found = set()
    for among in (trials, feasible):
        best = best_by_score(study.direction, among)
        index = None if best is None else lattice_index(space, best.params)
        if index is not None:
            found.add(index)
    return found
