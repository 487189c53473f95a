import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hmopt.search import bulk
from hmopt.search.bulk import TrialWriter
from hmopt.search.storage import open_storage

WEIGHT = FloatDistribution(0.0, 1.0, step=0.005)
AMONG: dict[str, BaseDistribution] = {
    "similarity": CategoricalDistribution(("MI", "CC", False)),
    "radius": IntDistribution(1, 4),
    "weight": WEIGHT,
}


def trial(value: float | None, **params: Any) -> FrozenTrial:
    return create_trial(
        params=params,
        distributions={name: AMONG[name] for name in params},
        value=value,
        user_attrs={
            "setting": params,
            "folding": 0.1 + 0.2,
            "name": "Größe \N{GREEK SMALL LETTER LAMDA}",
        },
        constraints={"folding": -1e-17, "hd95_mm": float("-inf")},
    )


PARABOLA = [
    trial(0.8 - (place / 200 - 1 / 3) ** 2, weight=place / 200) for place in range(0, 201, 10)
]
MIXED = [
    trial(0.1, similarity="MI", weight=0.1),
    trial(0.2, similarity="CC", radius=3, weight=0.2),
    trial(0.3, similarity=False, weight=0.3),
    trial(0.4, similarity="CC", radius=1, weight=0.4),
    trial(float("inf"), similarity="MI", weight=0.5),
    trial(-5e-324, similarity="MI", weight=0.335),
    create_trial(state=TrialState.FAIL, user_attrs={"failed": "crash"}),
    create_trial(value=1.0, intermediate_values={0: 0.5, 1: 0.25}),
    trial(0.7, similarity="CC", radius=4, weight=0.0),
    create_trial(state=TrialState.PRUNED, value=0.5),
    create_trial(state=TrialState.WAITING),
    trial(0.9, similarity="CC", radius=2, weight=1.0),
]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[RDBStorage]:
    opened = open_storage(tmp_path)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[FrozenTrial]:
    """Return trials that Optuna adds from now on."""
    add, seen = optuna.Study.add_trial, []

    def noting(study: optuna.Study, one: FrozenTrial) -> None:
        seen.append(one)
        add(study, one)

    monkeypatch.setattr(optuna.Study, "add_trial", noting)
    return seen


def new_study(storage: optuna.storages.BaseStorage, name: str = "parabola") -> optuna.Study:
    return optuna.create_study(storage=storage, study_name=name, direction="maximize")


def rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables of a database."""
    connection = sqlite3.connect(folder / "studies.db")
    names = connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
    found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}
    connection.close()
    return found


def written(folder: Path, trials: Sequence[FrozenTrial], *, by_optuna: bool) -> list[FrozenTrial]:
    """Write trials into two studies of a new database, in turns, and return those of the first."""
    folder.mkdir()
    storage = open_storage(folder)
    one, other = new_study(storage, "one"), new_study(storage, "other")
    half = len(trials) // 2
    for study, part in [(one, trials[:half]), (other, trials[half:]), (one, trials[half:])]:
        if by_optuna:
            study.add_trials(part)
        else:
            TrialWriter(storage).add(study, part)
    found = optuna.load_study(study_name="one", storage=storage).trials
    storage.engine.dispose()
    return found


@pytest.mark.parametrize("trials", [PARABOLA, MIXED], ids=["parabola", "mixed"])
def test_a_database_holds_what_optuna_writes_one_trial_at_a_time(
    trials: list[FrozenTrial], tmp_path: Path
) -> None:
    together = written(tmp_path / "together", trials, by_optuna=False)
    assert together == written(tmp_path / "optuna", trials, by_optuna=True)
    assert [one.number for one in together] == list(range(len(trials)))
    expected = rows(tmp_path / "optuna")
    assert expected["trial_user_attributes"]
    assert rows(tmp_path / "together") == expected


def test_of_each_form_optuna_writes_the_first_trial(
    storage: RDBStorage, added: list[FrozenTrial]
) -> None:
    TrialWriter(storage).add(new_study(storage), PARABOLA)
    assert added == PARABOLA[:1]


def test_what_has_more_than_one_finite_value_is_left_to_optuna(
    storage: RDBStorage, added: list[FrozenTrial]
) -> None:
    TrialWriter(storage).add(new_study(storage), MIXED)
    together = [MIXED[place] for place in (2, 3, 5, 8, 11)]
    assert [one for one in MIXED if one not in together] == added


def test_a_study_that_is_open_sees_the_trials(storage: RDBStorage) -> None:
    study = new_study(storage)
    study.add_trial(PARABOLA[0])
    TrialWriter(storage).add(study, PARABOLA[1:])
    study.add_trial(PARABOLA[0])
    assert [one.number for one in study.trials] == list(range(len(PARABOLA) + 1))
    assert study.best_trial.number == 7  # λ = 0.35 is nearest to 1/3


def in_local_time(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(year=2000)


@pytest.mark.parametrize("change", ["value", "column", "row", "table"])
def test_where_optuna_writes_other_rows_it_writes_all(
    change: str, storage: RDBStorage, added: list[FrozenTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(storage)
    statements: dict[str, list[str]] = {
        "value": [],
        "column": ["ALTER TABLE trial_params ADD COLUMN origin VARCHAR DEFAULT 'sampler'"],
        "row": [
            "CREATE TRIGGER more AFTER INSERT ON trials BEGIN INSERT INTO trial_heartbeats "
            "(trial_id, heartbeat) VALUES (new.trial_id, CURRENT_TIMESTAMP); END"
        ],
        "table": ["ALTER TABLE trial_system_attributes RENAME TO attributes_of_trials"],
    }
    for statement in statements[change]:
        with storage.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    if change == "value":
        monkeypatch.setattr(bulk, "_utc", in_local_time)
    if change == "table":
        with storage.engine.begin() as connection:  # as far as Optuna is concerned it is there
            connection.exec_driver_sql(
                "CREATE VIEW trial_system_attributes AS SELECT * FROM attributes_of_trials"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER onward INSTEAD OF INSERT ON trial_system_attributes BEGIN "
                "INSERT INTO attributes_of_trials (trial_id, key, value_json) "
                "VALUES (new.trial_id, new.key, new.value_json); END"
            )
    few = PARABOLA[:3]
    if change == "table":
        few = [create_trial(value=float(value)) for value in range(3)]
    TrialWriter(storage).add(study, few)
    assert added == few
    assert [one.value for one in study.trials] == [one.value for one in few]


def test_a_distribution_of_another_kind_is_refused_as_by_optuna(storage: RDBStorage) -> None:
    study = new_study(storage)
    study.add_trial(
        create_trial(
            params={"weight": 1}, distributions={"weight": IntDistribution(0, 1)}, value=0.5
        )
    )
    with pytest.raises(ValueError, match="different distribution kind"):
        TrialWriter(storage).add(study, PARABOLA)
    assert len(study.trials) == 1


def test_nobody_else_adds_a_trial_meanwhile(
    storage: RDBStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise two trials would have the same number."""
    insert_below, refused = bulk._insert_below, []

    def intruded(*arguments: Any) -> None:
        other = sqlite3.connect(tmp_path / "studies.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO trials (study_id, state) VALUES (1, 'RUNNING')")
        other.close()
        refused.append(True)
        insert_below(*arguments)

    monkeypatch.setattr(bulk, "_insert_below", intruded)
    TrialWriter(storage).add(new_study(storage), PARABOLA)
    assert refused == [True]


def test_a_study_that_was_deleted_gets_no_trials(
    storage: RDBStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(storage)
    hold_last = bulk._Tables.hold_last

    def deleted(*arguments: Any) -> bool:
        found = hold_last(*arguments)
        optuna.delete_study(study_name=study.study_name, storage=storage)
        return found

    monkeypatch.setattr(bulk._Tables, "hold_last", deleted)
    with pytest.raises(KeyError):
        TrialWriter(storage).add(study, PARABOLA)
    assert rows(tmp_path)["trials"] == []


def test_a_storage_that_is_no_database_is_left_to_optuna() -> None:
    storage = InMemoryStorage()
    study = new_study(storage)
    TrialWriter(storage).add(study, PARABOLA)
    assert [one.value for one in study.trials] == [one.value for one in PARABOLA]
