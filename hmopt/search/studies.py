"""Optuna studies made of what a ledger holds: in memory, or exported to a storage."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from hmopt.catalogue import find_metric
from hmopt.catalogue.metrics import FOLDING
from hmopt.declaration import SearchOptions
from hmopt.errors import HmoptError, SearchError
from hmopt.files import content_hash, one_line
from hmopt.ledger.manifest import lattice_of
from hmopt.ledger.measurements import Measurements, check_measured
from hmopt.ledger.table import Part
from hmopt.progress import Track, silent
from hmopt.search.bulk import TrialWriter
from hmopt.search.curve import Curve, Curves, excess
from hmopt.search.lattice import distributions, lattice_index
from hmopt.search.scopes import COHORT, Criteria, Scope, find_scope, joined_criteria, list_scopes
from hmopt.search.storage import only_writer, patiently, quiet
from hmopt.search.tradeoff import Tradeoff, find_tradeoff, parse_axis
from hmopt.space import Index, Space
from hmopt.study_folder import StudyFolder


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What trials come from, apart from the scope.

    Parameters
    ----------
    identity
        The oracle's.
    space
        Its hyperparameters.
    limits
        Limits of a feasible trial by metric, as `SearchOptions.all_limits`.
    """

    identity: str
    space: Space
    limits: Mapping[str, float]

    @property
    def folding_limit(self) -> float:
        """Largest mean share of folded voxels of a feasible trial."""
        return self.limits.get(FOLDING, math.inf)


def origin_of(measurements: Measurements, options: SearchOptions) -> Origin:
    """Return where trials made of measurements come from."""
    return Origin(
        identity=measurements.identity,
        space=measurements.space,
        limits=options.all_limits,
    )


def open_study(
    folder: Path | str,
    metric: str | Sequence[str] = "dice",
    *,
    scope: str | Criteria = COHORT,
    **criteria: str,
) -> optuna.Study:
    """Return the study of any scope of a study folder, made when it is asked for.

    It is read from the folder's ledger or its committed results; neither model nor torch is needed.
    Only the scope's pairs, its label, the metric and folding are read.

    Parameters
    ----------
    folder
        The study folder.
    metric
        A metric that was measured; several of them, as `["dice", "folding"]`, for a study of
        several objectives, whose `best_trials` are the Pareto front. `dice:thalamus` is that of a
        label.
    scope
        What the scope's pairs have, as text or as a mapping: `"label=thalamus, task=within"`, or
        `"cohort"`.
    **criteria
        The same as keywords: `label`, `task`, `subject` (in either role), or a column of the
        cohort, as in `open_study("studies/brains", label="thalamus", task="within")`; none: the
        whole cohort.

    Returns
    -------
    optuna.Study
        In memory, with a trial for each setting that all its pairs were measured at, and the
        attributes of `hmopt.search.studies.make_study`.

    Raises
    ------
    LedgerError
        If nothing was measured, or not this metric.
    SearchError
        If there is no such scope; near matches are named.
    """
    files = StudyFolder(folder)
    asked = joined_criteria(scope, criteria)
    if isinstance(metric, str):
        return study_of_scope(files, metric, asked)
    return front_study_of_scope(files, metric, asked)


def study_of_scope(folder: StudyFolder, metric: str, criteria: Criteria) -> optuna.Study:
    """Return the study of a scope, as `open_study` does, of a study folder that is read already."""
    searched = folder.searched
    pairs = folder.pairs
    check_measured(metric, searched.search.measured)
    scope = find_scope(criteria, pairs, searched.labels, searched.search.min_paired_subjects)
    part = Part(
        pairs=pairs[scope.mask(pairs)],
        metrics=tuple(dict.fromkeys((metric, *searched.search.all_limits))),
        labels=searched.labels if scope.label is None else (scope.label,),
    )
    measurements = folder.measurements_of_part(part)
    curve = Curves(measurements, metric, searched.search.all_limits).of(scope)
    if curve is None:
        raise SearchError(
            "scope",
            expected="a score for some pair",
            got=scope.name,
            advice="Choose another scope; its pairs lack the label.",
        )
    return make_study(searched.name, curve, origin_of(measurements, searched.search))


def front_study_of_scope(
    folder: StudyFolder, axes: Sequence[str], criteria: Criteria
) -> optuna.Study:
    """Return the study of several objectives of a scope, as `open_study` does.

    Parameters
    ----------
    folder
        The study folder.
    axes
        Names of metrics, as of `hmopt.search.tradeoff.parse_axis`.
    criteria
        Of the scope.
    """
    searched = folder.searched
    pairs = folder.pairs
    parsed = [parse_axis(axis) for axis in axes]
    for axis in parsed:
        check_measured(axis.metric.name, searched.search.measured)
    scope = find_scope(criteria, pairs, searched.labels, searched.search.min_paired_subjects)
    part = Part(
        pairs=pairs[scope.mask(pairs)],
        metrics=tuple(dict.fromkeys(axis.metric.name for axis in parsed)),
        labels=searched.labels,
    )
    tradeoff = find_tradeoff(folder.measurements_of_part(part), scope, parsed)
    if tradeoff is None:
        raise SearchError(
            "scope",
            expected=f"a pair with {' and '.join(axes)}",
            got=scope.name,
            advice="Choose another scope; its pairs lack a label.",
        )
    return make_front_study(searched.name, tradeoff)


def make_front_study(name: str, tradeoff: Tradeoff) -> optuna.Study:
    """Return a study of several objectives in memory, with a trial for each measured setting.

    Its `directions` are those of the metrics, its `metric_names` their names.

    Parameters
    ----------
    name
        What the name of the study begins with.
    tradeoff
        What was measured.
    """
    objectives = " against ".join(tradeoff.names)
    with quiet():
        study = optuna.create_study(
            study_name=f"{name}: {tradeoff.scope.name}, {objectives}",
            directions=tradeoff.directions,
        )
        for index, values in zip(tradeoff.settings, tradeoff.means.tolist(), strict=True):
            setting = tradeoff.space.setting(index)
            trial = optuna.trial.create_trial(
                params=setting,
                distributions=distributions(tradeoff.space, index),
                values=values,
                user_attrs={"setting": setting},
            )
            study.add_trial(trial)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(tradeoff.names)
    study.set_user_attr("scope", tradeoff.scope.name)
    study.set_user_attr("pairs", len(tradeoff.pairs))
    return study


def study_name(name: str, curve: Curve, origin: Origin) -> str:
    """Return the name of a scope's study, unique to model, metric, pairs and limits."""
    lattice = lattice_of(origin.space)
    parts = [lattice, curve.metric.key, curve.ids, origin.folding_limit]
    further = {name: limit for name, limit in origin.limits.items() if name != FOLDING}
    if further:
        parts.append(sorted(further.items()))
    basis = content_hash(*parts)
    scope = curve.scope.name
    metric = curve.metric.name
    model = origin.identity[:8]
    return f"{name}: {scope}, {metric} (model {model}, pairs {basis[:8]})"


def make_study(name: str, curve: Curve, origin: Origin) -> optuna.Study:
    """Return the study of a scope in memory, with a trial for each measured setting.

    `study.best_trial` obeys the limits, as Optuna's does; the user attributes `optimum` and
    `optimum_constrained` hold the best setting without and with them (None where no setting obeys
    them), and `identity`, `scope`, `metric`, `limits` and `folding_limit` what it is about.
    """
    storage = InMemoryStorage()
    with quiet():
        study = optuna.create_study(
            storage=storage,
            study_name=study_name(name, curve, origin),
            direction=curve.metric.direction,
        )
        complete(study, curve, origin, TrialWriter(storage))
    return study


def stored_study(
    name: str,
    curve: Curve,
    origin: Origin,
    storage: BaseStorage,
    sampler: optuna.samplers.BaseSampler | None = None,
) -> optuna.Study:
    """Return the study of a scope in a storage, made if it is not there."""
    return optuna.create_study(
        storage=storage,
        study_name=study_name(name, curve, origin),
        direction=curve.metric.direction,
        load_if_exists=True,
        sampler=sampler,
    )


def complete(study: optuna.Study, curve: Curve, origin: Origin, writer: TrialWriter) -> None:
    """Add the trials and attributes that a study of a scope lacks.

    Parameters
    ----------
    study
        The study.
    curve, origin
        What was measured.
    writer
        Of the storage of the study.

    Raises
    ------
    SearchError
        If its trials cannot be read, or one has another score than was measured.
    """
    writer.add(study, _lacking(study, curve, origin))
    stored = study.user_attrs
    for key, value in _attributes(curve, origin).items():
        if key not in stored or stored[key] != value:
            study.set_user_attr(key, value)


def _lacking(study: optuna.Study, curve: Curve, origin: Origin) -> list[FrozenTrial]:
    """Return the trials that a study of a scope lacks; one that it has must have the measured score."""
    known = _known_scores(study, origin)
    lacking = []
    for index, trial in _trials(curve, origin):
        if index not in known:
            lacking.append(trial)
        elif not _is_score(known[index], trial.value):
            got = f"{known[index]} where {trial.value:g} was measured"
            raise _damaged(study.study_name, got)
    return lacking


def check_stored(
    measurements: Measurements, options: SearchOptions, name: str, storage: BaseStorage
) -> None:
    """Check that the studies of shared scopes in a storage have the scores that were measured.

    Nothing is written. Studies that are not in the storage are left out.

    Parameters
    ----------
    measurements, options, name, storage
        As for `store_studies`.

    Raises
    ------
    SearchError
        If a trial cannot be read, or has another score.
    """
    curves = Curves(measurements, options.metric)
    origin = origin_of(measurements, options)
    with quiet():
        try:
            stored = set(optuna.get_all_study_names(storage))
        except (LookupError, ValueError, SQLAlchemyError) as error:
            raise _damaged(name, one_line(error)) from error
        for scope in shared_scopes(measurements, options):
            curve = curves.of(scope)
            known = None if curve is None else study_name(name, curve, origin)
            if curve is not None and known in stored:
                study = optuna.load_study(study_name=known, storage=storage)
                _lacking(study, curve, origin)


def _known_scores(study: optuna.Study, origin: Origin) -> dict[Index | None, float | None]:
    """Return the scores of a study's finished trials by their place on the lattice."""
    try:
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return {lattice_index(origin.space, trial.params): trial.value for trial in trials}
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        AssertionError,
        HmoptError,
        SQLAlchemyError,
    ) as error:
        got = f"trials that cannot be read ({one_line(error)})"
        raise _damaged(study.study_name, got) from error


def _is_score(stored: object, measured: float | None) -> bool:
    if not isinstance(stored, float | int) or measured is None:
        return stored is None and measured is None
    return math.isclose(stored, measured, rel_tol=1e-6, abs_tol=1e-9)


def _damaged(study: str, got: str) -> SearchError:
    return SearchError(
        f"the stored study {study!r}",
        expected="the scores that were measured",
        got=got,
        advice="Delete it from its storage, or remove studies.db: `hmopt search` writes it again.",
    )


def store_studies(
    measurements: Measurements,
    options: SearchOptions,
    name: str,
    storage: BaseStorage,
    track: Track = silent,
) -> list[str]:
    """Export the studies of the declared scopes but those of single subjects."""
    scopes = shared_scopes(measurements, options)
    return write_studies(measurements, scopes, options, name, storage, track)


def shared_scopes(measurements: Measurements, options: SearchOptions) -> list[Scope]:
    """Return the declared scopes but those of single subjects."""
    scopes = list_scopes(options, measurements.pairs, measurements.labels)
    return [scope for scope in scopes if "subject" not in dict(scope.criteria)]


def write_studies(
    measurements: Measurements,
    scopes: Sequence[Scope],
    options: SearchOptions,
    name: str,
    storage: BaseStorage,
    track: Track = silent,
) -> list[str]:
    """Export the studies of scopes into a storage; trials that are there already stay.

    Several processes may do so at a time.

    Parameters
    ----------
    measurements
        What was measured.
    scopes
        Whom or what settings are chosen for; those that nothing was measured for are left out.
    options
        `metric` and the limits.
    name
        What the names of studies begin with.
    storage
        Where they are kept.
    track
        Told of every study.

    Returns
    -------
    list of str
        Names of the studies, as they stand in the storage.
    """
    curves = Curves(measurements, options.metric, options.all_limits)
    origin = origin_of(measurements, options)

    def write() -> list[str]:
        names = []
        writer = TrialWriter(storage)
        # two processes that look up at once what is lacking would both add it
        with quiet(), only_writer(storage, track):
            for scope in track(scopes, "Writing studies", len(scopes)):
                curve = curves.of(scope)
                if curve is None:
                    continue
                study = stored_study(name, curve, origin, storage)
                complete(study, curve, origin, writer)
                names.append(study.study_name)
        return names

    return patiently(write, track)


def _trials(curve: Curve, origin: Origin) -> Iterator[tuple[Index, FrozenTrial]]:
    """Yield a finished trial for every setting of a curve."""
    means = curve.means.tolist()
    for place, (index, score) in enumerate(zip(curve.settings, means, strict=True)):
        setting = origin.space.setting(index)
        found = _limited(curve, origin.limits, place)
        user_attrs: dict[str, object] = {"setting": setting, **found}
        constraints = limit_constraints(found, origin.limits) or None
        trial = optuna.trial.create_trial(
            params=setting,
            distributions=distributions(origin.space, index),
            value=score,
            user_attrs=user_attrs,
            constraints=constraints,
        )
        yield index, trial


def _limited(curve: Curve, limits: Mapping[str, float], place: int) -> dict[str, float]:
    """Return the means at a setting of those metrics with a limit that were measured, and of folding."""
    found = {}
    for name in dict.fromkeys((FOLDING, *limits)):
        value = float(curve.mean_of(name)[place])
        if not math.isnan(value):
            found[name] = value
    return found


def limit_constraints(means: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, float]:
    """Return the constraints of a trial: by metric that has a limit, what is above 0 where it is not obeyed.

    Parameters
    ----------
    means
        By metric that was measured.
    limits
        By metric.

    Examples
    --------
    >>> limit_constraints({"folding": 0.5, "dice": 0.75}, {"folding": 0.25, "hd95_mm": 2.0})
    {'folding': 0.25}
    """
    constraints = {}
    for name, limit in limits.items():
        if name in means:
            value = np.array([means[name]])
            (constraint,) = excess(find_metric(name), value, limit).tolist()
            constraints[name] = constraint
    return constraints


def _attributes(curve: Curve, origin: Origin) -> dict[str, object]:
    best = curve.best()
    constrained = curve.best_within(origin.limits)
    settings = [origin.space.setting(index) for index in curve.settings]
    return {
        "identity": origin.identity,
        "scope": curve.scope.name,
        "metric": curve.metric.name,
        "pairs": len(curve.pairs),
        "folding_limit": origin.folding_limit,
        "limits": dict(origin.limits),
        "optimum": settings[best],
        "optimum_constrained": None if constrained is None else settings[constrained],
    }
