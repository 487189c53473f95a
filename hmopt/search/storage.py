"""Where the studies of cohort, groups and labels are kept."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from hmopt.errors import SearchError
from hmopt.files import one_line
from hmopt.search.quiet import quiet
from hmopt.study_folder import StudyFolder

SECONDS_TO_WAIT = 60
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


def open_storage(folder: Path, url: str | None = None) -> RDBStorage:
    """Give the storage that a study folder declares, made if it is not there.

    SQLite is put into write-ahead logging: a dashboard can read while a search writes, and a trial is written without
    waiting for the disk. A power failure can cost the last trials, which the same command writes again, but never
    leaves a broken file.

    Parameters
    ----------
    folder
        The study folder.
    url
        As SQLAlchemy takes it; left out: `studies.db` in the folder.

    Raises
    ------
    SearchError
        If it cannot be opened, or is a file that is no Optuna storage; the message shows no password.

    References
    ----------
    https://www.sqlite.org/pragma.html#pragma_synchronous: NORMAL in WAL mode.
    """
    own = StudyFolder(folder).studies_file.resolve()
    url = url or f"sqlite:///{own}"
    is_sqlite = url.startswith("sqlite")
    if is_sqlite:
        _check_file(url, own)
    try:
        with quiet():
            storage = RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": SECONDS_TO_WAIT}} if is_sqlite else {},
            )
        if is_sqlite:
            event.listen(storage.engine, "connect", _write_ahead)
            storage.engine.dispose()  # connections made before do not write ahead
            storage.engine.connect().close()
    except (
        ArgumentError,
        ValueError,
    ):  # their messages can hold parts of the URL, and so of a password
        raise _refused("a URL that cannot be read") from None
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        raise _refused(str(error).splitlines()[0]) from error
    return storage


def _check_file(url: str, own: Path) -> None:
    """Refuse a file that is no database, or the database of another program: nothing is written into it."""
    try:
        name = make_url(url).database
    except ArgumentError:
        raise _refused("a URL that cannot be read") from None
    path = None if name in (None, "", ":memory:") else Path(str(name))
    if path is None or not path.exists():
        return
    advice = (
        "Remove it: `hmopt search` writes it anew."
        if path.resolve() == own
        else "Choose another file."
    )
    if not path.is_file() or (path.stat().st_size == 0 and path.resolve() != own):
        raise _refused(f"{path}, which is no database", advice)
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise _refused(f"{path}, which is no database", advice)
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {
                str(table)
                for (table,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type='table'"
                )
            }
            sound = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise _refused(f"{path} ({one_line(error)})", advice) from error
    lacking = sorted(TABLES - tables)
    if tables and lacking:
        raise _refused(f"{path} without the tables {', '.join(lacking)}", advice)
    if sound != ("ok",):
        raise _refused(f"{path}, which is damaged", advice)


def _write_ahead(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _refused(reason: str, advice: str = "Correct the URL.") -> SearchError:
    return SearchError(
        "search.storage", expected="a database that can be opened", got=reason, advice=advice
    )
