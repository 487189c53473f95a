"""The storage of Optuna studies: in a study folder, or on a server that several machines share."""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import URL, Connection, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)

from hmopt.errors import SearchError
from hmopt.files import naming, one_line, private_folder, put_new
from hmopt.locks import alone, lock_beside, this_worker
from hmopt.progress import Track, silent, wait_until
from hmopt.study_folder import StudyFolder

T = TypeVar("T")

SECONDS_TO_WAIT = 60
"""How long a database of SQLite that another process writes to is waited for."""
SECONDS_TO_RECONNECT = 300
"""How long a server that is gone is waited for."""
BETWEEN_ATTEMPTS_S = 2.0
AT_WORK = "writes to the studies"
"""What another process does that is waited for."""
ADVISORY_LOCK = 0x686D6F7074
"""Number of hmopt's lock in a database of PostgreSQL: its name in ASCII."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")
"""An environment variable in a URL. `$NAME` without braces is none: a password may hold a dollar."""
_SQLITE_FILE = re.compile(r"(?P<opening>sqlite(\+\w+)?:///)(?P<file>[^?]+)(?P<query>.*)", re.DOTALL)
"""A URL of a file of SQLite."""
MAGIC = b"SQLite format 3\0"
"""How a database file of SQLite begins."""
SHORT_PASSWORD = 6
"""Characters below which a password may be a part of other words."""
_REMOVE = "Remove it: `hmopt search` writes it again."
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
        _check_not_in_memory(url)
        try:
            _check_file(url, own)
        except SearchError:
            # another process may be making it
            with _only_writer_to(make_url(url)):
                _check_file(url, own)
    # of a server: a connection that it has closed meanwhile is opened again
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    if is_sqlite:
        arguments = {"connect_args": {"timeout": SECONDS_TO_WAIT}}
    try:
        if is_sqlite and make_url(url).database == str(own):
            _make_database(own)
        with quiet(), _only_writer_to(make_url(url)):
            storage = RDBStorage(url, engine_kwargs=arguments)
            if is_sqlite:
                event.listen(storage.engine, "connect", _write_ahead)
                storage.engine.dispose()  # connections made before do not write ahead
                storage.engine.connect().close()
    except (ArgumentError, ValueError):
        # their messages can hold parts of the URL, and so of a password
        raise _refused("a URL that cannot be read") from None
    except ImportError as error:
        package = error.name or "its driver"
        advice = f"Install {package}, or name another database."
        raise _refused(f"a URL whose driver is not installed ({package})", advice) from None
    except (SQLAlchemyError, RuntimeError) as error:
        # a driver may repeat the URL or parts of it, and so would the chain of errors
        raise _refused(_without_password(error, url)) from None
    return storage


def open_declared(folder: Path, url: str | None) -> RDBStorage:
    """Return the storage of `search.storage`, as `open_storage`; a file of SQLite is relative to the study folder.

    Parameters
    ----------
    folder
        The study folder.
    url
        What is declared; None: `studies.db` in the folder.

    Raises
    ------
    SearchError
        As `open_storage`.
    """
    return open_storage(folder, None if url is None else _in_folder(with_environment(url), folder))


def _in_folder(url: str, folder: Path) -> str:
    """Return a URL whose relative file of SQLite is one in a folder.

    Examples
    --------
    >>> _in_folder("sqlite:///all.db?timeout=9", Path("/studies/mine"))
    'sqlite:////studies/mine/all.db?timeout=9'
    >>> _in_folder("sqlite:////data/all.db", Path("/studies/mine"))
    'sqlite:////data/all.db'
    """
    found = _SQLITE_FILE.match(url)
    if found is None or found["file"].startswith((":memory:", "file:")):
        return url
    # an absolute path takes the place of the folder
    place = folder.absolute() / Path(found["file"]).expanduser()
    return f"{found['opening']}{place}{found['query']}"


def check_url(url: str) -> None:
    """Refuse a URL that names no kind of database, before anything is computed; nothing is opened.

    Parameters
    ----------
    url
        What is declared. Where it names an environment variable that is not set, it is not checked.

    Raises
    ------
    SearchError
        If it cannot be read, or names another kind of database than SQLAlchemy knows.
    """
    try:
        meant = with_environment(url)
    except SearchError:
        return
    try:
        make_url(meant).get_dialect()
    except (ArgumentError, ValueError):
        # their messages can hold parts of the URL, and so of a password
        raise _refused("a URL that cannot be read") from None
    except ImportError:
        pass  # of a driver, which may be there where the search runs


@contextmanager
def only_writer(storage: BaseStorage, track: Track = silent) -> Iterator[None]:
    """Be the only process in this block that adds what studies lack; wait while another one does.

    Parameters
    ----------
    storage
        Of SQLite the lock is a file beside the database, of PostgreSQL one of the server. Other
        storages have none.
    track
        Shows who is waited for.
    """
    if not isinstance(storage, RDBStorage):
        yield
        return
    with _only_writer_to(storage.engine.url, track):
        yield


@contextmanager
def _only_writer_to(url: URL, track: Track = silent) -> Iterator[None]:
    backend = url.get_backend_name()
    is_file = backend == "sqlite" and url.database not in (None, "", ":memory:")
    path = Path(url.database or "").absolute()
    if is_file and path.parent.is_dir():
        with alone(lock_beside(path), AT_WORK, track):
            yield
    elif backend == "postgresql":
        with _advisory_lock(url, track):
            yield
    else:
        yield


@contextmanager
def _advisory_lock(url: URL, track: Track) -> Iterator[None]:
    """Hold hmopt's lock of a database of PostgreSQL, which the server releases with the connection.

    References
    ----------
    https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
    """
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            # by this name other processes tell who holds it
            name = text("SELECT set_config('application_name', :name, false)")
            connection.execute(name, {"name": f"hmopt, {this_worker()}"})
            if not _is_locked(connection):
                what = f"Waiting for {_holder(connection)}, which {AT_WORK}"
                wait_until(lambda: _is_locked(connection), what, track)
            yield
    finally:
        engine.dispose()


def _is_locked(connection: Connection) -> bool:
    """Take the lock if nobody has it; return whether it was taken."""
    asked = text("SELECT pg_try_advisory_lock(:number)")
    return bool(connection.execute(asked, {"number": ADVISORY_LOCK}).scalar())


def _holder(connection: Connection) -> str:
    """Return the name of the connection that holds the lock."""
    asked = text(
        "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) + objid::bigint = :number"
    )
    found = connection.execute(asked, {"number": ADVISORY_LOCK}).scalar()
    return str(found or "another process")


def patiently(work: Callable[[], T], track: Track = silent) -> T:
    """Do work on a storage; where its server is gone, wait, and do it again.

    Parameters
    ----------
    work
        Can be interrupted and done again.
    track
        Shows the waiting.

    Raises
    ------
    SearchError
        If the server does not come back, or another program keeps a database of SQLite locked.
    """
    failed_since: float | None = None
    while True:
        began = time.monotonic()
        try:
            return work()
        except (SQLAlchemyError, StorageInternalError) as error:
            reason = _connection_fault(error)
            if reason is None:
                raise
            now = time.monotonic()
            if failed_since is None or now - began > SECONDS_TO_WAIT:
                failed_since = now  # it has worked in between
            is_locked = "locked" in reason
            if is_locked or now - failed_since > SECONDS_TO_RECONNECT:
                # as where it is opened: the chain of errors may repeat the URL
                raise _unreachable(reason) from None
        _pause(track)


def _pause(track: Track) -> None:
    over_at = time.monotonic() + BETWEEN_ATTEMPTS_S
    wait_until(
        lambda: time.monotonic() >= over_at, "Waiting for the database of search.storage", track
    )


def _connection_fault(error: Exception) -> str | None:
    """Return how the connection to a database failed, in one line; None where it is another error."""
    cause: BaseException | None = error
    # a lost connection may be told by what could not be committed or rolled back after it
    while isinstance(cause, StorageInternalError | PendingRollbackError):
        cause = cause.__cause__ or cause.__context__
    if not isinstance(cause, OperationalError | InterfaceError):
        return None
    reason = one_line(cause.orig or cause)
    is_of_sqlite = isinstance(cause.orig, sqlite3.Error)
    if is_of_sqlite and "locked" not in reason:  # as of a full disk
        return None
    return reason


def _unreachable(reason: str) -> SearchError:
    return SearchError(
        "search.storage",
        expected="a database that answers",
        got=reason,
        advice="Finished work is kept; rerun the command once it does.",
    )


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


def _without_password(error: Exception, url: str) -> str:
    """Return the message of an error without the password of a URL, as it is written there and as it is meant.

    A password of few characters can be a part of other words, which would show what was replaced: then only the
    kind of the error is told.
    """
    kind = type(error).__name__
    message, *_ = str(error).splitlines() or [kind]
    meant = make_url(url).password
    written = re.search(r"://[^:/@]*:(.*)@", url)
    for secret in (meant, written and written[1]):
        if not secret:
            continue
        if len(str(secret)) < SHORT_PASSWORD:
            return f"{kind} of its driver, whose message may show the password"
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
        # kept in the file: who opens it later need not change it
        with storage.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        storage.engine.dispose()
        put_new(beside, path)


def _check_file(url: str, own: Path) -> None:
    """Refuse a file that is no database, or that of another program."""
    try:
        name = make_url(url).database
    except ArgumentError:
        raise _refused("a URL that cannot be read") from None
    path = None if name is None else Path(name)
    if path is None or not path.exists():
        return
    is_own = path.resolve() == own
    if is_own and _is_empty(path):
        return  # it is made again: studies are a view of the ledger
    advice = _REMOVE if is_own else "Choose another file."
    _check_database(path, advice)


def _check_not_in_memory(url: str) -> None:
    """Refuse a URL of SQLite that names no file.

    References
    ----------
    https://www.sqlite.org/inmemorydb.html.
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        raise _refused("a URL that cannot be read") from None
    name = parts.database or ":memory:"
    if ":memory:" in name or "mode=memory" in name or parts.query.get("mode") == "memory":
        raise _refused(
            "one in memory, which ends with the command", "Name a file, as sqlite:///all.db."
        )


def check_file(path: Path) -> None:
    """Refuse `studies.db` of a study folder where it is not what was written; it is not changed.

    An empty one, or one without tables, is refused as well, although `hmopt search` writes it again
    without a word: all studies are gone.

    Parameters
    ----------
    path
        The file, which exists.

    Raises
    ------
    SearchError
        If it is no Optuna storage, or damaged.
    """
    again = "Rerun `hmopt search`, which writes it again from the ledger."
    if _is_empty(path):
        raise _refused(f"{path}, which is empty", again)
    if not _check_database(path, _REMOVE):
        raise _refused(f"{path} without any table", again)


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _check_database(path: Path, advice: str) -> set[str]:
    """Refuse a file that is no database, that of another program, or damaged; return its tables, if any."""
    if not path.is_file() or path.stat().st_size == 0:
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
    return tables


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
