"""Several processes drive the Optuna studies of one search: each has the declared trials, no more and no fewer."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hmopt.errors import HmoptError
from hmopt.locks import alone, lock_beside
from hmopt.search.objective import SAMPLER
from hmopt.search.storage import open_storage
from tests.workers import work
from tests.workers.conftest import Crew, Server, wait_for

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


def trials(url: str) -> Trials:
    """Return what the sampler asked for in each study, as it finished."""
    found: Trials = {}
    for name in sorted(optuna.get_all_study_names(url)):
        finished = optuna.load_study(study_name=name, storage=url).get_trials(
            states=(TrialState.COMPLETE,)
        )
        asked = [trial.params for trial in finished if SAMPLER in trial.user_attrs]
        found[name] = asked
    return found


def settings_of(url: str) -> dict[str, list[float]]:
    """Return the settings of all finished trials of each study, exported ones included."""
    found = {}
    for name in optuna.get_all_study_names(url):
        study = optuna.load_study(study_name=name, storage=url)
        finished = study.get_trials(states=(TrialState.COMPLETE,))
        found[name] = sorted(trial.user_attrs["setting"]["regularization"] for trial in finished)
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
    first, second = crew.start(2, "optimize", url)
    wait_for(lambda: crew.is_at_a_study(first), "trials")
    if number == signal.SIGKILL:
        crew.kill(first)
        crew.wait(second)
    else:
        crew.pause(first)
        crew.wait(second)
        first.send_signal(signal.SIGCONT)
        crew.wait(first)
    found = trials(url)
    assert [len(asked) for asked in found.values()] == [work.OPTIONS.trials] * work.STUDIES
    for settings in settings_of(url).values():
        assert len(settings) >= work.OPTIONS.trials


def test_a_server_that_is_restarted_is_waited_for(crew: Crew, server: Server) -> None:
    url = server.new_database("restarted")
    first, _ = crew.start(2, "optimize", url)
    wait_for(lambda: crew.is_at_a_study(first), "trials")
    server.stop()
    server.start()
    crew.wait()
    asked = trials(url).values()
    assert [len(one) for one in asked] == [work.OPTIONS.trials] * work.STUDIES


def test_workers_that_open_a_new_database_at_once_all_succeed(crew: Crew, url: str) -> None:
    crew.start(3, "open", url)
    crew.wait()
    assert optuna.get_all_study_names(url) == []


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
