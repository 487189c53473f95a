"""Several processes drive the Optuna studies of one search: each has the declared trials, no more and no fewer."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import OperationalError

from hmopt.errors import HmoptError
from hmopt.locks import alone, lock_beside
from hmopt.search import storage as storage_module
from hmopt.search.bulk import TrialWriter
from hmopt.search.objective import SAMPLER
from hmopt.search.storage import open_storage
from tests.workers import work
from tests.workers.conftest import LIMIT_S, Crew, Server, wait_for

Trials = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield a database that is empty."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/shared.db"
        return
    server: Server = request.getfixturevalue("server")
    name = "".join(letter for letter in tmp_path.name if letter.isalnum()).lower()
    yield server.new_database(name)


@contextmanager
def stored(url: str) -> Iterator[list[optuna.Study]]:
    """Yield all studies of a database, by name, and close its connections afterwards."""
    storage = RDBStorage(url)
    try:
        names = sorted(optuna.get_all_study_names(storage))
        yield [optuna.load_study(study_name=name, storage=storage) for name in names]
    finally:
        storage.remove_session()
        storage.engine.dispose()


def trials(url: str) -> Trials:
    """Return what the sampler asked for in each study, as it finished."""
    found: Trials = {}
    with stored(url) as studies:
        for study in studies:
            finished = study.get_trials(states=(TrialState.COMPLETE,))
            asked = [trial.params for trial in finished if SAMPLER in trial.user_attrs]
            found[study.study_name] = asked
    return found


def settings_of(url: str) -> dict[str, list[float]]:
    """Return the settings of all finished trials of each study, exported ones included."""
    found = {}
    with stored(url) as studies:
        for study in studies:
            finished = study.get_trials(states=(TrialState.COMPLETE,))
            settings = [trial.user_attrs["setting"]["regularization"] for trial in finished]
            found[study.study_name] = sorted(settings)
    return found


@pytest.fixture
def alone_url(tmp_path: Path) -> str:
    """Return the database that one worker leaves."""
    folder = tmp_path / "alone"
    folder.mkdir()
    own = f"sqlite:///{folder}/alone.db"
    work.optimize(folder, work.Formula(None, seconds=0), own)
    return own


def test_workers_leave_the_studies_that_one_leaves(crew: Crew, url: str, alone_url: str) -> None:
    crew.start(2, "optimize", url)
    crew.wait()
    found = trials(url)
    assert len(found) == work.STUDIES
    assert found == trials(alone_url)
    assert settings_of(url) == settings_of(alone_url)
    measured = crew.measured()
    assert measured.total() == len(measured)  # nothing was measured twice


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_study_of_a_worker_that_is_gone_is_finished_by_another(
    crew: Crew, tmp_path: Path, number: signal.Signals
) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    is_killed = number == signal.SIGKILL
    crew.hold()
    first, second = crew.start(
        2, "optimize", url, lease_s=LIMIT_S if is_killed else work.SHORT_LEASE_S
    )
    wait_for(lambda: crew.is_at_a_study(first), "trials")
    if is_killed:
        crew.kill(first)
        crew.release()
        crew.wait(second)
    else:
        crew.pause(first)
        crew.release()
        crew.wait(second)
        first.send_signal(signal.SIGCONT)
        crew.wait(first)
    found = trials(url)
    assert [len(asked) for asked in found.values()] == [work.OPTIONS.trials] * work.STUDIES
    for settings in settings_of(url).values():
        assert len(settings) >= work.OPTIONS.trials


def test_a_server_that_is_restarted_is_waited_for(crew: Crew, server: Server) -> None:
    url = server.new_database("restarted")
    crew.hold()
    first, second = crew.start(2, "optimize", url)
    # a worker that only begins does not wait: its URL may be wrong
    wait_for(lambda: crew.is_at_a_study(first), "trials")
    wait_for(lambda: crew.is_at_a_study(second), "trials")
    server.stop()
    crew.release()
    server.start()
    crew.wait()
    asked = trials(url).values()
    assert [len(one) for one in asked] == [work.OPTIONS.trials] * work.STUDIES


def test_a_server_that_goes_at_the_end_of_a_trial_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a server: the end of a trial is not stored, nor can the trial be looked up then."""
    store_end, look_up = RDBStorage.set_trial_state_values, RDBStorage.get_trial
    calls: list[str] = []

    def is_gone(call: str) -> None:
        calls.append(call)
        gone = OperationalError("UPDATE", None, OSError("server closed the connection"))
        raise StorageInternalError("during the commit") from gone

    def store_end_later(
        self: RDBStorage, trial: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        if state.is_finished() and not calls:
            is_gone("store")
        return store_end(self, trial, state, values)

    def look_up_later(self: RDBStorage, trial: int) -> FrozenTrial:
        if calls == ["store"]:
            is_gone("look up")
        return look_up(self, trial)

    monkeypatch.setattr(RDBStorage, "set_trial_state_values", store_end_later)
    monkeypatch.setattr(RDBStorage, "get_trial", look_up_later)
    monkeypatch.setattr(storage_module, "BETWEEN_ATTEMPTS_S", 0.0)
    url = f"sqlite:///{tmp_path}/own.db"
    work.optimize(tmp_path, work.Formula(None, seconds=0), url)
    assert calls == ["store", "look up"]
    asked = trials(url).values()
    assert [len(one) for one in asked] == [work.OPTIONS.trials] * work.STUDIES


def test_workers_that_open_a_new_database_at_once_all_succeed(crew: Crew, url: str) -> None:
    crew.start(3, "open", url)
    crew.wait()
    with stored(url) as studies:
        assert studies == []


def test_a_folder_without_locks_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(
        HmoptError, match=r"expected a file system that can lock files, got [^\n]+$"
    ):
        open_storage(tmp_path, f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(HmoptError), alone(lock_beside(tmp_path / "a"), "works"):
        pass


def test_a_server_holds_trials_written_together_as_optuna_writes_them(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [
        create_trial(
            params={"weight": place / 20, "similarity": "CC"},
            distributions={
                "weight": FloatDistribution(0.0, 1.0),
                "similarity": CategoricalDistribution(("MI", "CC")),
            },
            value=0.8 - (place / 20 - 1 / 3) ** 2,
            user_attrs={"setting": {"weight": place / 20}, "name": "Größe"},
            constraints={"folding": -1e-17},
        )
        for place in range(21)
    ]
    storage = open_storage(Path(), server.new_database("together"))
    together, one_by_one = (
        optuna.create_study(storage=storage, study_name=name) for name in ("together", "one by one")
    )
    add, added = optuna.Study.add_trial, []

    def noting(study: optuna.Study, trial: FrozenTrial) -> None:
        added.append(study.study_name)
        add(study, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", noting)
    TrialWriter(storage).add(together, trials[:10])
    TrialWriter(storage).add(together, trials[10:])
    one_by_one.add_trials(trials)
    assert added == ["together"] * 2 + ["one by one"] * 21
    with stored(server.url("together")) as (second, first):
        for ours, theirs in zip(first.trials, second.trials, strict=True):
            ours._trial_id = theirs._trial_id
            assert ours == theirs
    storage.engine.dispose()
