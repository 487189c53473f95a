"""The storage of Optuna studies in a study folder."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from hmopt.errors import SearchError
from hmopt.files import naming, one_line, private_folder, put_new
from hmopt.study_folder import StudyFolder

SECONDS_TO_WAIT = 60
_VARIABLE = re.compile(r"\$\{(\w+)\}")
"""An environment variable in a URL. `$NAME` without braces is none: a password may hold a dollar."""
MAGIC = b"SQLite format 3\0"
"""How a database file of SQLite begins."""
TABLES = {
    "studies",
    "study_directions",
    "study_user_attributes",
    "study_system_attributes",
    "trials",
    "trial_params",
    "trial_values",
    "trial_user_attributes",
    "trial_system_attributes",
    "version_info",
}
"""Tables that every Optuna storage has."""


@contextmanager
def quiet(level: int = optuna.logging.WARNING) -> Iterator[None]:
    """Silence messages of Optuna on studies and trials below a level for a while."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, level))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def open_storage(folder: Path, url: str | None = None) -> RDBStorage:
    """Return the storage that a study folder declares, made if it is not there.

    SQLite is put into write-ahead logging: a dashboard can read while a search writes, and a trial
    is written without waiting for the disk. A power failure can cost the last trials, which the
    same command writes again, but never leaves a broken file.

    Parameters
    ----------
    folder
        The study folder.
    url
        As SQLAlchemy takes it; left out: `studies.db` in the folder. `${NAME}` stands for the value of an environment
        variable.

    Raises
    ------
    SearchError
        If it cannot be opened, is a file that is no Optuna storage, or names an environment variable that is not set;
        the message shows no password.

    References
    ----------
    https://www.sqlite.org/pragma.html#pragma_synchronous: NORMAL in WAL mode.
    """
    own = StudyFolder(folder).studies_file.resolve()
    url = with_environment(url) if url else f"sqlite:///{own}"
    is_sqlite = url.startswith("sqlite")
    if is_sqlite:
        _check_file(url, own)
    arguments = {"connect_args": {"timeout": SECONDS_TO_WAIT}} if is_sqlite else {}
    try:
        if is_sqlite and make_url(url).database == str(own):
            _make_database(own)
        with quiet():
            storage = RDBStorage(url, engine_kwargs=arguments)
        if is_sqlite:
            event.listen(storage.engine, "connect", _write_ahead)
            storage.engine.dispose()  # connections made before do not write ahead
            storage.engine.connect().close()
    except (ArgumentError, ValueError):
        # their messages can hold parts of the URL, and so of a password
        raise _refused("a URL that cannot be read") from None
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        # a driver may repeat the URL or parts of it, and so would the chain of errors
        raise _refused(_without_password(str(error).splitlines()[0], url)) from None
    return storage


def with_environment(url: str) -> str:
    """Return a URL in which `${NAME}` is replaced by the environment variable of that name.

    Raises
    ------
    SearchError
        If it is not set, or empty.

    Examples
    --------
    >>> import os
    >>> os.environ["HMOPT_DB"] = "sqlite:///all.db"
    >>> with_environment("${HMOPT_DB}")
    'sqlite:///all.db'
    >>> with_environment("postgresql://me:${HMOPT_UNSET}@host/db")
    Traceback (most recent call last):
    hmopt.errors.SearchError: search.storage: expected the environment variable HMOPT_UNSET, got none. Set it, ...
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        found = os.environ.get(name)
        if not found:
            raise SearchError(
                "search.storage",
                expected=f"the environment variable {name}",
                got="none" if found is None else "an empty one",
                advice="Set it, or name the database itself.",
            )
        return found

    return _VARIABLE.sub(value, url)


def _without_password(message: str, url: str) -> str:
    """Return the message of an error without the password of a URL, as it is written there and as it is meant."""
    meant = make_url(url).password
    written = re.search(r"://[^:/@]*:(.*)@", url)
    for secret in (meant, written and written[1]):
        if secret:
            message = message.replace(str(secret), "***")
    return message


def _make_database(path: Path) -> None:
    """Make an empty database with all its tables, whole or not at all, where there is none."""
    if path.exists() and path.stat().st_size:
        return
    path.unlink(missing_ok=True)
    with naming(path), private_folder(path.parent, path) as private:
        beside = private / path.name
        with quiet():
            storage = RDBStorage(f"sqlite:///{beside}")
        storage.engine.dispose()
        put_new(beside, path)


def _check_file(url: str, own: Path) -> None:
    """Refuse a file that is no database, or that of another program."""
    try:
        name = make_url(url).database
    except ArgumentError:
        raise _refused("a URL that cannot be read") from None
    path = None if name in (None, "", ":memory:") else Path(str(name))
    if path is None or not path.exists():
        return
    is_own = path.resolve() == own
    check_file(path, is_own=is_own)


def check_file(path: Path, *, is_own: bool = True) -> None:
    """Refuse a file that is no database, that of another program, or damaged; it is not changed.

    Parameters
    ----------
    path
        The file, which exists.
    is_own
        Whether it is `studies.db` of a study folder, which may be empty and can be removed.

    Raises
    ------
    SearchError
        If it is no Optuna storage.
    """
    advice = "Remove it: `hmopt search` writes it again." if is_own else "Choose another file."
    if not path.is_file():
        raise _refused(f"{path}, which is no database", advice)
    if path.stat().st_size == 0:
        if is_own:
            return
        raise _refused(f"{path}, which is no database", advice)
    with path.open("rb") as file:
        opening = file.read(len(MAGIC))
    if opening != MAGIC:
        raise _refused(f"{path}, which is no database", advice)
    try:
        tables, sound = _look_into(path)
    except (sqlite3.Error, UnicodeError) as error:  # names in a damaged database can be no text
        raise _refused(f"{path} ({one_line(error)})", advice) from error
    lacking = sorted(TABLES - tables)
    if tables and lacking:
        raise _refused(f"{path} without the tables {', '.join(lacking)}", advice)
    if not sound:
        raise _refused(f"{path}, which is damaged", advice)


def _look_into(path: Path) -> tuple[set[str], bool]:
    """Return the names of a database's tables, and whether SQLite finds it sound."""
    read_only = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(read_only, uri=True)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        answer = connection.execute("PRAGMA quick_check(1)").fetchone()
    return {str(name) for (name,) in rows}, answer == ("ok",)


def _write_ahead(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _refused(reason: str, advice: str = "Correct the URL.") -> SearchError:
    return SearchError(
        "search.storage", expected="a database that can be opened", got=reason, advice=advice
    )
