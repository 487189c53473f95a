import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from sqlalchemy import Connection

from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.ledger import Measurements, Tabulated
from hmopt.ledger.measurements import pair_records
from hmopt.search.curve import find_curves
from hmopt.search.objective import Objective
from hmopt.search.scopes import Scope
from hmopt.search.storage import (
    check_file,
    check_url,
    open_declared,
    open_storage,
    with_environment,
)
from hmopt.search.studies import make_study, origin_of, store_studies

SECTION = SearchOptions(scopes=[["cohort"], ["label", "task"], ["subject"]], folding_limit=0.005)
CURVES = {"thalamus": lambda x: 0.8 - (x - 0.6) ** 2, "cortex": lambda x: 0.7 - (x - 0.1) ** 2}
SETTINGS = [(20,), (60,), (100,), (120,)]


@pytest.fixture
def measurements(measure: Callable[..., Measurements]) -> Measurements:
    return measure(CURVES, SETTINGS, folding=lambda x: 0.01 * (1 - x))


@pytest.fixture
def cortex(measurements: Measurements) -> optuna.Study:
    (curve,) = find_curves(measurements, [Scope(criteria=(("label", "cortex"),))], "dice")
    return make_study("hearts", curve, origin_of(measurements, SECTION))


def studies_of(storage: optuna.storages.RDBStorage) -> dict[str, optuna.Study]:
    return {
        name: optuna.load_study(study_name=name, storage=storage)
        for name in optuna.get_all_study_names(storage)
    }


def test_a_study_is_called_after_its_scope(cortex: optuna.Study) -> None:
    assert cortex.study_name.startswith("hearts: label=cortex, dice (model 01234567")


def test_a_study_tells_the_best_setting_with_and_without_the_folding_limit(
    cortex: optuna.Study,
) -> None:
    assert cortex.best_params == {"regularization": 0.5}
    assert cortex.user_attrs == {
        "identity": "0123456789abcdef",
        "scope": "label=cortex",
        "metric": "dice",
        "pairs": 9,
        "folding_limit": 0.005,
        "limits": {"folding": 0.005},
        "optimum": {"regularization": 0.1},
        "optimum_constrained": {"regularization": 0.5},
    }


def test_a_study_is_what_optuna_makes_of_the_objective_at_the_same_settings(
    cortex: optuna.Study, measurements: Measurements
) -> None:
    pairs = pair_records(measurements.pairs)
    live = optuna.create_study(direction="maximize")
    for index in measurements.settings:
        live.enqueue_trial(measurements.space.setting(index))
    live.optimize(
        Objective(Tabulated(measurements), pairs, label="cortex", folding_limit=0.005),
        len(SETTINGS),
    )
    for made, run in zip(cortex.trials, live.trials, strict=True):
        assert made.params == pytest.approx(run.params)
        assert made.distributions == run.distributions
        assert made.value == pytest.approx(run.value)
        assert made.constraints == pytest.approx(run.constraints)
        assert made.user_attrs["setting"] == run.user_attrs["setting"]
    assert cortex.best_trial.number == live.best_trial.number


def test_a_study_without_a_feasible_setting_says_so(measurements: Measurements) -> None:
    (curve,) = find_curves(measurements, [Scope(criteria=())], "dice")
    study = make_study(
        "hearts", curve, replace(origin_of(measurements, SECTION), limits={"folding": -1.0})
    )
    assert study.user_attrs["optimum_constrained"] is None
    with pytest.raises(ValueError, match="feasible"):
        _ = study.best_trial


def test_studies_without_subjects_are_stored_once_and_named_for_people(
    measurements: Measurements, tmp_path: Path
) -> None:
    storage = open_storage(tmp_path)
    names = store_studies(measurements, SECTION, "hearts", storage)
    assert len(names) == 1 + 4
    assert names[-1].startswith("hearts: label=cortex, task=within, dice (model 01234567, pairs ")
    assert store_studies(measurements, SECTION, "hearts", storage) == names
    studies = studies_of(storage)
    assert sorted(studies) == sorted(names)
    assert {len(study.trials) for study in studies.values()} == {len(SETTINGS)}


def test_settings_that_were_measured_later_are_added(
    measurements: Measurements, tmp_path: Path
) -> None:
    storage = open_storage(tmp_path)
    section = SearchOptions(scopes=[["cohort"]])
    store_studies(measurements.at(SETTINGS[1:3]), section, "hearts", storage)
    (name,) = store_studies(measurements, section, "hearts", storage)
    study = studies_of(storage)[name]
    assert [trial.params["regularization"] for trial in study.trials] == [0.3, 0.5, 0.1, 0.6]
    assert study.user_attrs["optimum"] == {"regularization": 0.3}


@pytest.mark.parametrize("change", ["identity", "pairs", "limit", "metric"])
def test_with_another_model_other_pairs_another_limit_or_metric_new_studies_begin(
    change: str, measurements: Measurements, tmp_path: Path
) -> None:
    storage, section = open_storage(tmp_path), SearchOptions(scopes=[["cohort"]])
    (before,) = store_studies(measurements, section, "hearts", storage)
    if change == "identity":
        measurements = replace(measurements, identity="fedcba98")
    elif change == "pairs":
        values = {metric: array[:, 1:] for metric, array in measurements.values.items()}
        measurements = replace(
            measurements, pairs=measurements.pairs[1:].reset_index(drop=True), values=values
        )
    else:
        update = {"folding_limit": 0.01} if change == "limit" else {"metric": "folding"}
        section = section.model_copy(update=update)
    (after,) = store_studies(measurements, section, "hearts", storage)
    assert after != before
    assert set(studies_of(storage)) == {before, after}


@pytest.mark.parametrize("part", ["the first trial", "the others"])
def test_an_interrupted_writing_goes_on_where_it_stopped(
    part: str, measurements: Measurements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(tmp_path)
    owner, name = (
        (optuna.Study, "add_trial") if part == "the first trial" else (Connection, "execute")
    )
    do, calls = getattr(owner, name), []

    def interrupted(itself: Any, what: Any, *values: Any, **options: Any) -> Any:
        is_last_table = part == "the first trial" or "INTO trial_system_attributes" in str(what)
        calls.extend([what] * is_last_table)
        if len(calls) == 3 and is_last_table:
            raise KeyboardInterrupt
        return do(itself, what, *values, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            store_studies(measurements, SECTION, "hearts", storage)
    written = [len(study.trials) for study in studies_of(storage).values()]
    assert written == [4, 4, 0] if part == "the first trial" else [4, 4, 1]
    store_studies(measurements, SECTION, "hearts", storage)
    assert [len(study.trials) for study in studies_of(storage).values()] == [len(SETTINGS)] * 5


def test_the_default_storage_is_sqlite_with_a_write_ahead_log_in_the_study_folder(
    tmp_path: Path,
) -> None:
    open_storage(tmp_path).engine.dispose()
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def make_without_tables(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("VACUUM")
    connection.close()


@pytest.mark.parametrize("make", [Path.touch, make_without_tables])
def test_studies_that_are_gone_are_told_and_written_again(
    make: Callable[[Path], None], measurements: Measurements, tmp_path: Path
) -> None:
    path = tmp_path / "studies.db"
    make(path)
    with pytest.raises(SearchError, match=r"studies\.db.*Rerun `hmopt search`") as raised:
        check_file(path)
    assert "\n" not in str(raised.value)
    storage = open_storage(tmp_path)
    store_studies(measurements, SECTION, "hearts", storage)
    written = studies_of(storage).values()
    assert [len(study.trials) for study in written] == [len(SETTINGS)] * 5
    check_file(path)


@pytest.mark.parametrize(
    "url", ["nonsense", "sqlite:////nowhere/at/all/studies.db", "mysql+nodriver://a@b/c"]
)
def test_a_storage_that_cannot_be_opened_is_refused_in_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(
        SearchError, match=r"search.storage: expected a database that can be opened, got [^\n]*$"
    ):
        open_storage(tmp_path, url)


def test_stored_studies_open_in_the_dashboard(measurements: Measurements, tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    names = store_studies(measurements, SearchOptions(scopes=[["label"]]), "hearts", storage)
    environment: dict[str, Any] = {"PATH_INFO": "/api/studies"}
    setup_testing_defaults(environment)
    statuses: list[str] = []
    body = b"".join(
        optuna_dashboard.wsgi(storage)(environment, lambda status, *_: statuses.append(status))
    )
    assert statuses == ["200 OK"]
    assert all(name.encode() in body for name in names)


def test_optunas_log_is_quiet_here_and_as_the_user_left_it_afterwards(
    measurements: Measurements, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        store_studies(
            measurements, SearchOptions(scopes=[["cohort"]]), "hearts", open_storage(tmp_path)
        )
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)
    assert capfd.readouterr().err == ""


def test_every_study_is_told_of_while_it_is_written(
    measurements: Measurements, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []

    def track(items: Any, description: str, total: int, start: int = 0) -> Iterator[Any]:
        items = list(items)
        told.append((description, len(items), total))
        yield from items

    store_studies(
        measurements, SearchOptions(scopes=[["label"]]), "hearts", open_storage(tmp_path), track
    )
    assert told == [("Writing studies", 2, 2)]


def test_a_variable_of_the_environment_stands_for_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMOPT_DB_FOLDER", str(tmp_path))
    storage = open_storage(tmp_path, "sqlite:///${HMOPT_DB_FOLDER}/all.db")
    storage.engine.dispose()
    assert (tmp_path / "all.db").is_file()


@pytest.mark.parametrize(("value", "told"), [(None, "got none"), ("", "got an empty one")])
def test_a_variable_that_is_not_set_is_told_and_nothing_is_made(
    value: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HMOPT_DB", raising=False)
    if value is not None:
        monkeypatch.setenv("HMOPT_DB", value)
    expected = f"search.storage: expected the environment variable HMOPT_DB, {told}. Set it"
    with pytest.raises(SearchError, match=expected):
        open_storage(tmp_path, "${HMOPT_DB}")
    assert list(tmp_path.iterdir()) == []


def test_a_dollar_without_braces_is_a_part_of_the_url() -> None:
    assert with_environment("mysql://me:pa$$word@host/$db") == "mysql://me:pa$$word@host/$db"


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_a_password_that_a_driver_repeats_is_not_shown(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://me:s%40cr3t@host/db"

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(f"cannot connect as me with s@cr3t to {url}") from error("s@cr3t")

    # the first to connect takes the lock of a server
    monkeypatch.setattr("hmopt.search.storage.create_engine", refuse)
    monkeypatch.setattr("hmopt.search.storage.RDBStorage", refuse)
    with pytest.raises(SearchError) as caught:
        open_storage(tmp_path, url)
    assert "cr3t" not in str(caught.value)
    assert str(caught.value).count("***") == 2
    # a traceback would show the error that it was raised from
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url", ["foo", "foo://host/database", "postgresql://me:secret@host:port/database"]
)
def test_a_url_that_names_no_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SearchError, match="a URL that cannot be read") as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


def test_a_url_with_a_variable_that_is_not_set_is_checked_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HMOPT_PASSWORD", raising=False)
    check_url("postgresql://me:${HMOPT_PASSWORD}@host/database")


def test_a_declared_file_is_relative_to_the_study_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    elsewhere = tmp_path / "elsewhere"
    study.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    open_declared(study, "sqlite:///all.db")
    assert (study / "all.db").is_file()
    assert list(elsewhere.iterdir()) == []
