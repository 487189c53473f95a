"""The URL of a storage: what is refused, and what a message shows of it."""

import sqlite3
from pathlib import Path

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from hmopt.errors import SearchError
from hmopt.search import storage
from hmopt.search.storage import open_storage


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+pysqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:all?mode=memory&uri=true",
    ],
)
def test_a_database_in_memory_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SearchError, match=r"search.storage: expected a database .* got one in memory"
    ):
        open_storage(tmp_path, url)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_opened(tmp_path: Path) -> None:
    found = open_storage(tmp_path, f"sqlite:///{tmp_path}/memory.db")
    assert isinstance(found, optuna.storages.RDBStorage)
    assert (tmp_path / "memory.db").is_file()


def refusal(url: str, error: Exception, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(storage, "RDBStorage", fail)
    with pytest.raises(SearchError) as caught:
        open_storage(folder, url)
    return str(caught.value)


@pytest.mark.parametrize("password", ["s", "ost", "%73"])
def test_a_short_password_hides_the_message_of_the_driver(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = f"cannot reach the host as me:{password}"
    error = OperationalError(message, None, sqlite3.OperationalError(message))
    line = refusal(f"mysql://me:{password}@host/db", error, monkeypatch, tmp_path)
    assert "got OperationalError of its driver, whose message may show the password" in line
    assert "***" not in line


def test_a_long_password_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "no user me with correct-horse"
    error = OperationalError(message, None, sqlite3.OperationalError(message))
    line = refusal("mysql://me:correct-horse@host/db", error, monkeypatch, tmp_path)
    assert "no user me with ***" in line


def test_a_driver_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ModuleNotFoundError("No module named 'MySQLdb'", name="MySQLdb")
    line = refusal("mysql://me:s@host/db", error, monkeypatch, tmp_path)
    assert line.endswith(
        "got a URL whose driver is not installed (MySQLdb). Install MySQLdb, or name another database."
    )


def test_an_error_without_a_message_is_told_by_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "got RuntimeError. " in refusal("mysql://host/db", RuntimeError(), monkeypatch, tmp_path)
