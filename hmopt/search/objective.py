"""The objective of an Optuna study, the mean score of pairs at a setting, and its optimization."""

import math
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import RDBStorage
from optuna.trial import BaseTrial, Trial, TrialState

from hmopt.catalogue import find_metric
from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.ledger.measurements import Measurements, mean, pair_records
from hmopt.progress import Track, silent
from hmopt.protocol import Oracle
from hmopt.records import Block, Pair
from hmopt.search.curve import Curve, Curves
from hmopt.search.lattice import distribution, lattice_index
from hmopt.search.sampler import make_sampler
from hmopt.search.storage import quiet
from hmopt.search.studies import origin_of, shared_scopes, stored_study
from hmopt.space import Hyperparameter, Index, Space

FOLDING = "folding"
SAMPLER = "sampler"
"""User attribute of a trial: the sampler that asked for it. Exported trials have none."""
EXHAUSTED = "exhausted"
"""User attribute of a study: the sampler that has nothing left to ask for, as that of a grid."""


class Objective:
    """The mean score of pairs at a setting that a trial suggests: callable with any Optuna trial.

    The trial keeps the setting that was measured (the lattice point nearest to what was suggested)
    and the mean share of folded voxels as user attributes `setting` and `folding`.

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

    Raises
    ------
    SearchError
        If there are no pairs, or the oracle does not know the label; when called, if a value was
        enqueued that lies outside its bounds, or no pair has the label.

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
        self._pairs = tuple(pairs)
        self._label = label
        self._metric = find_metric(metric)
        self._folding_limit = folding_limit

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
        """
        self._check_direction(trial)
        space = self._oracle.space
        index = tuple(_suggested(trial, one) for one in space.hyperparameters)
        setting = space.setting(index)
        score, folding = self._measure(index)
        trial.set_user_attr("setting", setting)
        trial.set_user_attr("folding", folding)
        if self._folding_limit is not None:
            trial.set_constraint("folding", folding - self._folding_limit)
        return score

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

    def _measure(self, index: Index) -> tuple[float, float]:
        """Return the mean score and mean folding of the pairs that have a score."""
        metrics = tuple(dict.fromkeys((self._metric.name, FOLDING)))
        blocks = list(self._oracle.measure([index], self._pairs, metrics))
        scores = np.concatenate([self._scores(block) for block in blocks])
        folding = np.concatenate([block.values[FOLDING] for block in blocks])
        measured = np.isfinite(scores)
        if not measured.any():
            of_label = f"{self._metric.name} of {self._label or 'a label'}"
            raise SearchError(
                "score",
                expected=f"{of_label} for some of {len(self._pairs)} pairs",
                got="nothing that can be measured",
                advice="Choose pairs whose images have the label.",
            )
        # summed exactly, so that the order of pairs changes nothing
        count = int(measured.sum())
        mean_score = math.fsum(scores[measured]) / count
        mean_folding = float(folding[measured].mean())
        return mean_score, mean_folding

    def _scores(self, block: Block) -> NDArray[np.float64]:
        """Return the score of each pair of a block."""
        metric = self._metric.name
        values = block.values[metric]
        if not self._metric.per_label:
            return values
        if self._label is None:
            return mean(values, axis=1)
        column = block.labels.index(self._label)
        return values[:, column]


def _suggested(trial: BaseTrial, hyperparameter: Hyperparameter) -> int:
    """Return the lattice index nearest to the value that a trial suggests."""
    among = distribution(hyperparameter)
    with warnings.catch_warnings():  # an enqueued value outside is refused below
        warnings.filterwarnings("ignore", message=".*out of (the )?range", category=UserWarning)
        value = trial.suggest_float(
            hyperparameter.name, among.low, among.high, step=among.step, log=among.log
        )
    if not among.low <= value <= among.high:
        raise SearchError(
            hyperparameter.name,
            expected=f"a number in [{among.low}, {among.high}]",
            got=value,
            advice="Enqueue a value inside.",
        )
    return hyperparameter.index(value)


def optimize_scopes(
    oracle: Oracle,
    measurements: Measurements,
    options: SearchOptions,
    name: str,
    storage: RDBStorage,
    track: Track = silent,
) -> list[Index]:
    """Run the declared sampler in the stored study of every scope but those of single subjects.

    Each study gets `options.trials` trials of this sampler. Rerun to resume: finished trials count,
    one that was interrupted is marked as failed, and what a ledger holds is not measured again.
    Trials that are there already, exported or of another sampler, stay, and the sampler learns from
    them.

    Parameters
    ----------
    oracle
        What measures: a `Recorded` one, so that measurements go to its ledger.
    measurements
        Of at least one setting of all pairs: they say which pairs a scope has.
    options
        `sampler`, `sampler_options`, `trials`, `seed`, `scopes`, `metric` and `folding_limit`.
    name
        What the names of studies begin with.
    storage
        Holds the studies.
    track
        Told of every study.

    Returns
    -------
    list of Index
        The settings of all finished trials of these studies, sorted.

    Raises
    ------
    SearchError
        If there is no such sampler, or the oracle fails.
    """
    curves = Curves(measurements, options.metric)
    scopes = shared_scopes(measurements, options)
    origin = origin_of(measurements, options)
    settings: set[Index] = set()
    with quiet():
        for scope in track(scopes, f"Running {options.sampler}", len(scopes)):
            curve = curves.of(scope)
            if curve is None:
                continue
            study = stored_study(name, curve, origin, storage)
            optimize(study, oracle, measurements, curve, options)
            settings |= _finished_settings(study, oracle.space)
    return sorted(settings)


def optimize(
    study: optuna.Study,
    oracle: Oracle,
    measurements: Measurements,
    curve: Curve,
    options: SearchOptions,
) -> None:
    """Run what is left of the declared trials in the study of one scope."""
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
        folding_limit=options.folding_limit,
    )

    def measured(trial: Trial) -> float:
        trial.set_user_attr(SAMPLER, options.sampler)
        return objective(trial)

    with warnings.catch_warnings():
        # some samplers cannot use the folding limit; the study and the report still tell what obeys
        # it
        warnings.filterwarnings("ignore", message="Constraints have been set", category=UserWarning)
        study.optimize(measured, n_trials=left)
    if _finished_trials(study, options.sampler) < options.trials:
        study.set_user_attr(EXHAUSTED, options.sampler)


def _fail_interrupted(study: optuna.Study) -> None:
    """Mark trials that an interruption left unfinished: nobody will finish them."""
    unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in unfinished:
        study.tell(trial.number, state=TrialState.FAIL)


def _finished_trials(study: optuna.Study, sampler: str) -> int:
    """Return how many finished trials a sampler asked for."""
    count = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if trial.user_attrs.get(SAMPLER) == sampler:
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
