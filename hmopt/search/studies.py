"""Optuna studies made of what a ledger holds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import optuna
from optuna.storages import RDBStorage

from hmopt.declaration import SearchOptions
from hmopt.errors import HmoptError, SearchError
from hmopt.files import content_hash, one_line
from hmopt.ledger.manifest import lattice_of
from hmopt.ledger.measurements import Measurements
from hmopt.progress import Track, silent
from hmopt.search.curve import Curve, Curves
from hmopt.search.lattice import distributions, lattice_index
from hmopt.search.quiet import quiet
from hmopt.search.scopes import Scope, list_scopes
from hmopt.space import Index, Setting, Space


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What trials come from, apart from the scope.

    Parameters
    ----------
    identity
        The oracle's.
    space
        Its hyperparameters.
    folding_limit
        Largest mean share of folded voxels of a feasible trial.
    """

    identity: str
    space: Space
    folding_limit: float


def origin_of(measurements: Measurements, section: SearchOptions) -> Origin:
    """Give where trials made of measurements come from."""
    return Origin(
        identity=measurements.identity,
        space=measurements.space,
        folding_limit=section.folding_limit,
    )


def study_name(name: str, curve: Curve, origin: Origin) -> str:
    """Give what a scope's study is called: the same for the same model, metric, pairs and limit, and for no others."""
    basis = content_hash(
        lattice_of(origin.space), curve.metric.key, curve.ids, origin.folding_limit
    )
    return f"{name}: {curve.scope.name}, {curve.metric.name} (model {origin.identity[:8]}, pairs {basis[:8]})"


def make_study(name: str, curve: Curve, origin: Origin) -> optuna.Study:
    """Give the study of a scope in memory, a trial for each measured setting; what it is called begins with `name`.

    `study.best_trial` obeys the folding limit, as Optuna's does; the user attributes `optimum` and
    `optimum_constrained` hold the best setting without and with it (None where no setting obeys it), and `identity`,
    `scope`, `metric` and `folding_limit` what it is about.
    """
    with quiet():
        study = optuna.create_study(
            study_name=study_name(name, curve, origin), direction=curve.metric.direction
        )
        complete(study, curve, origin)
    return study


def complete(study: optuna.Study, curve: Curve, origin: Origin) -> None:
    """Add the trials and attributes that a study of a scope lacks.

    Raises
    ------
    SearchError
        If its trials cannot be read, or one has another score than was measured.
    """
    try:
        trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        known = {lattice_index(origin.space, trial.params): trial.value for trial in trials}
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        AssertionError,
        HmoptError,
    ) as error:
        raise _damaged(
            study.study_name, f"trials that cannot be read ({one_line(error)})"
        ) from error
    measured = dict(_trials(curve, origin))
    for index, trial in measured.items():
        if index in known and not _is_score(known[index], trial.value):
            raise _damaged(study.study_name, f"{known[index]} where {trial.value:g} was measured")
    study.add_trials(trial for index, trial in measured.items() if index not in known)
    stored = study.user_attrs
    for key, value in _attributes(curve, origin).items():
        if key not in stored or stored[key] != value:
            study.set_user_attr(key, value)


def _is_score(stored: object, measured: float | None) -> bool:
    if not isinstance(stored, float | int) or measured is None:
        return stored is None and measured is None
    return math.isclose(stored, measured, rel_tol=1e-6, abs_tol=1e-9)


def _damaged(study: str, got: str) -> SearchError:
    return SearchError(
        f"the stored study {study!r}",
        expected="the scores that were measured",
        got=got,
        advice="Delete it from its storage, or remove studies.db: `hmopt search` writes it anew.",
    )


def store_studies(
    measurements: Measurements,
    section: SearchOptions,
    name: str,
    storage: RDBStorage,
    track: Track = silent,
) -> list[str]:
    """Write the studies of the declared scopes without a subject into a storage, as `write_studies` does."""
    scopes = list_scopes(section, measurements.pairs, measurements.labels)
    kept = [scope for scope in scopes if "subject" not in dict(scope.criteria)]
    return write_studies(measurements, kept, section, name, storage, track)


def write_studies(
    measurements: Measurements,
    scopes: Sequence[Scope],
    section: SearchOptions,
    name: str,
    storage: RDBStorage,
    track: Track = silent,
) -> list[str]:
    """Write the studies of scopes into a storage; what is there already stays, and what it lacks is added.

    Parameters
    ----------
    measurements
        What was measured.
    scopes
        Whom or what settings are chosen for; those that nothing was measured for are left out.
    section
        `metric` and `folding_limit`.
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
    curves = Curves(measurements, section.metric)
    origin = origin_of(measurements, section)
    names = []
    with quiet():
        for scope in track(scopes, "Writing studies", len(scopes)):
            if (curve := curves.of(scope)) is not None:
                names.append(study_name(name, curve, origin))
                study = optuna.create_study(
                    storage=storage,
                    study_name=names[-1],
                    direction=curve.metric.direction,
                    load_if_exists=True,
                )
                complete(study, curve, origin)
    return names


def _trials(curve: Curve, origin: Origin) -> Iterator[tuple[Index, optuna.trial.FrozenTrial]]:
    among = distributions(origin.space)
    for index, score, folding in zip(
        curve.settings, curve.means.tolist(), curve.folding.tolist(), strict=True
    ):
        setting, known = origin.space.setting(index), folding == folding
        yield (
            index,
            optuna.trial.create_trial(
                params=setting,
                distributions=among,
                value=score,
                user_attrs={"setting": setting} | ({"folding": folding} if known else {}),
                constraints={"folding": folding - origin.folding_limit} if known else None,
            ),
        )


def _attributes(curve: Curve, origin: Origin) -> dict[str, object]:
    best, constrained = curve.best(), curve.best_within(origin.folding_limit)
    return {
        "identity": origin.identity,
        "scope": curve.scope.name,
        "metric": curve.metric.name,
        "pairs": len(curve.pairs),
        "folding_limit": origin.folding_limit,
        "optimum": _setting(curve, origin, best),
        "optimum_constrained": None
        if constrained is None
        else _setting(curve, origin, constrained),
    }


def _setting(curve: Curve, origin: Origin, place: int) -> Setting:
    return origin.space.setting(curve.settings[place])
