"""Where the studies of cohort, groups and labels are kept."""

from pathlib import Path

from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from hmopt.errors import SearchError
from hmopt.search.quiet import quiet

FILE_NAME = "studies.db"
SECONDS_TO_WAIT = 60


def open_storage(folder: Path, url: str | None = None) -> RDBStorage:
    """Give the storage that a study folder declares, made if it is not there.

    SQLite is put into write-ahead logging: a dashboard can read while a search writes, and writing is faster.

    Parameters
    ----------
    folder
        The study folder.
    url
        As SQLAlchemy takes it; left out: `studies.db` in the folder.

    Raises
    ------
    SearchError
        If it cannot be opened.
    """
    url = url or f"sqlite:///{(Path(folder) / FILE_NAME).resolve()}"
    is_sqlite = url.startswith("sqlite")
    try:
        with quiet():
            storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": SECONDS_TO_WAIT}} if is_sqlite else {})
        if is_sqlite:
            with storage.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise SearchError(
            "search.storage", expected="a database that can be opened", got=reason, advice="Correct the URL."
        ) from error
    return storage
