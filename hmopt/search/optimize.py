"""The sweep of an Optuna sampler: its studies ask for settings, and an oracle measures them."""

import warnings

import optuna
from optuna.storages import RDBStorage
from optuna.trial import Trial, TrialState

from hmopt.declaration import SearchOptions
from hmopt.ledger.measurements import Measurements, pair_records
from hmopt.progress import Track, silent
from hmopt.protocol import Oracle
from hmopt.search.curve import Curve, Curves
from hmopt.search.lattice import lattice_index
from hmopt.search.objective import Objective
from hmopt.search.sampler import make_sampler
from hmopt.search.storage import quiet
from hmopt.search.studies import origin_of, shared_scopes, stored_study
from hmopt.space import Index, Space

SAMPLER = "sampler"
"""User attribute of a trial: the sampler that asked for it. Exported trials have none."""
EXHAUSTED = "exhausted"
"""User attribute of a study: the sampler that has nothing left to ask for, as that of a grid."""


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
