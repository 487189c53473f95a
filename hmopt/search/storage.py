"""Where the studies of cohort, groups and labels are kept."""

from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from hmopt.errors import SearchError
from hmopt.search.quiet import quiet

FILE_NAME = "studies.db"
SECONDS_TO_WAIT = 60


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
        If it cannot be opened; the message shows no password.

    References
    ----------
    https://www.sqlite.org/pragma.html#pragma_synchronous: NORMAL in WAL mode.
    """
    url = url or f"sqlite:///{(Path(folder) / FILE_NAME).resolve()}"
    is_sqlite = url.startswith("sqlite")
    try:
        with quiet():
            storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": SECONDS_TO_WAIT}} if is_sqlite else {})
        if is_sqlite:
            event.listen(storage.engine, "connect", _write_ahead)
            storage.engine.dispose()  # connections made before do not write ahead
            storage.engine.connect().close()
    except (ArgumentError, ValueError):  # their messages can hold parts of the URL, and so of a password
        raise _refused("a URL that cannot be read") from None
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        raise _refused(str(error).splitlines()[0]) from error
    return storage


def _write_ahead(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _refused(reason: str) -> SearchError:
    return SearchError(
        "search.storage", expected="a database that can be opened", got=reason, advice="Correct the URL."
    )
