"""`hmopt ledger` and `hmopt export` on a small searched folder, made without a model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import hmopt
from hmopt.catalogue import METRICS
from hmopt.cli.app import app
from hmopt.declaration import SearchOptions
from hmopt.ledger import Ledger, Searched
from hmopt.ledger.measurements import PAIR_COLUMNS
from hmopt.records import Block
from hmopt.space import Hyperparameter, Space
from hmopt.study_folder import StudyFolder

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization"),))
SUBJECTS = ("007", "017", "027", "037")
LABELS = ("thalamus", "cortex")
PAIRS = pd.DataFrame(
    [(f"{m}->{f}", m, f, m, f, "cross") for m in SUBJECTS for f in SUBJECTS if m != f],
    columns=list(PAIR_COLUMNS),
)
SETTINGS = (0, 50, 100, 150, 200)
SECTION = SearchOptions(
    scopes=[["cohort"], ["label"], ["subject", "label"]], reported=[], min_paired_subjects=2
)


def block(place: int) -> Block:
    ids = tuple(PAIRS["pair"])
    best = np.array([100, 50]) + 50 * PAIRS["moving"].isin(["007"]).to_numpy()[:, None]
    values = {
        "dice": 0.8 - ((place - best) / 200) ** 2,
        "folding": np.full(len(ids), 0.01 * (1 - place / 200)),
    }
    return Block(index=(place,), pairs=ids, labels=LABELS, values=values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A searched folder, with measurements of an older model beside."""
    searched = Searched(
        name="hearts",
        identity="f" * 16,
        identity_half=None,
        labels=LABELS,
        spacing_mm=None,
        space=SPACE,
        loss={},
        loss_scale=1.0,
        search=SECTION,
    )
    StudyFolder(tmp_path).write_search(searched, PAIRS)
    ledger = Ledger(tmp_path / "ledger")
    for place in SETTINGS:
        ledger.write("f" * 16, SPACE, [block(place)])
    ledger.write("0" * 16, SPACE, [block(0)])
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_of(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines() if "@" in line]


def test_the_ledger_says_of_which_models_it_holds_how_much_and_what_is_stale(folder: Path) -> None:
    result = run("ledger", folder)
    assert result.exit_code == 0, result.output
    full = [row for row in rows_of(result.stdout) if row[0] == "full"]
    assert [row[2:7] for row in full] == [
        ["dice@1", "5", "12", "2", "120"],
        ["folding@1", "5", "12", "0", "60"],
    ]
    assert full[0][7] == "5"
    assert "other  " + "0" * 16 in result.stdout
    assert result.stdout.count("stale: model is not of this study") == 2
    assert "Stale: 36 of 216 rows" in result.stdout


def test_a_metric_of_an_older_version_is_stale(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "folding", replace(METRICS["folding"], version=2))
    output = run("ledger", folder).stdout
    assert output.count("stale: other version of the metric") == 2
    assert "Stale: 96 of 216 rows" in output


def test_compacting_says_what_it_changed_and_changes_no_value(folder: Path) -> None:
    Ledger(folder / "ledger").write("f" * 16, SPACE, [block(0)])
    before = hmopt.read_folder(folder)
    lines = run("ledger", folder, "--compact").stdout.splitlines()
    assert lines[0].startswith("Before: 252 rows in 7 shards, ")
    assert lines[1].startswith("Now:    216 rows in 2 shards, ")
    after = hmopt.read_folder(folder)
    assert after.settings == before.settings
    for metric, values in before.values.items():
        np.testing.assert_array_equal(after.values[metric], values)


def test_a_folder_without_a_ledger_is_refused_in_one_line(tmp_path: Path) -> None:
    result = run("ledger", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "Run `hmopt search` first" in result.stderr
    assert list(tmp_path.iterdir()) == []


def exported(folder: Path, *scopes: str) -> tuple[dict[str, optuna.Study], str]:
    url = f"sqlite:///{folder / 'all.db'}"
    result = run(
        "export",
        folder,
        "--storage",
        url,
        *(part for scope in scopes for part in ("--scope", scope)),
    )
    assert result.exit_code == 0, result.output
    studies = [
        optuna.load_study(study_name=name, storage=url) for name in optuna.get_all_study_names(url)
    ]
    return {study.user_attrs["scope"]: study for study in studies}, result.stdout


def test_every_declared_scope_is_exported_subjects_and_products_too(folder: Path) -> None:
    studies, said = exported(folder)
    products = [f"subject={subject}, label={label}" for subject in SUBJECTS for label in LABELS]
    assert list(studies) == ["cohort", "label=thalamus", "label=cortex", *products]
    assert said.splitlines()[-1] == "Exported: 11 studies"
    assert studies["label=cortex"].user_attrs["optimum"] == {"regularization": 0.25}


def test_an_exported_study_is_the_one_that_is_opened_on_demand(folder: Path) -> None:
    studies, _ = exported(folder, "subject=017, label=thalamus")
    (study,) = studies.values()
    opened = hmopt.open_study(folder, subject="017", label="thalamus")
    assert study.study_name == opened.study_name
    assert [(t.params, t.value, t.constraints) for t in study.trials] == [
        (t.params, t.value, t.constraints) for t in opened.trials
    ]


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (["cohort"], ["cohort"]),
        (["label=*"], ["label=thalamus", "label=cortex"]),
        (["label=cortex", "label=*", "cohort"], ["label=cortex", "label=thalamus", "cohort"]),
        (["label=cortex,subject=*"], [f"label=cortex, subject={subject}" for subject in SUBJECTS]),
        (["task=cross, label=thalamus"], ["task=cross, label=thalamus"]),
    ],
)
def test_scopes_are_chosen_by_value_or_by_a_star(
    folder: Path, scopes: list[str], expected: list[str]
) -> None:
    assert list(exported(folder, *scopes)[0]) == expected


def test_exporting_again_adds_only_what_is_lacking(folder: Path) -> None:
    exported(folder, "cohort")
    Ledger(folder / "ledger").write("f" * 16, SPACE, [block(75)])
    studies, said = exported(folder)
    assert said.splitlines()[-1] == "Exported: 11 studies"
    assert [trial.params["regularization"] for trial in studies["cohort"].trials] == [
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
        0.375,
    ]
    assert {len(study.trials) for study in studies.values()} == {6}


@pytest.mark.parametrize(
    ("scope", "named"),
    [
        ("labl=*", "label"),
        ("label=thalamos", "thalamus"),
        ("thalamus", "NAME=VALUE"),
        ("subject=*,task=within", "task"),
    ],
)
def test_scopes_that_are_not_there_are_refused_before_anything_is_written(
    folder: Path, scope: str, named: str
) -> None:
    before = set(folder.rglob("*"))
    result = run("export", folder, "--storage", f"sqlite:///{folder / 'all.db'}", "--scope", scope)
    assert result.exit_code == 2
    assert named in result.stderr
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "url", ["postgresql://me:hush@nowhere.invalid/db", "nonsense+hush", "mysql://me:x@y:hush/z"]
)
def test_a_password_is_neither_shown_nor_kept(folder: Path, url: str) -> None:
    result = run("export", folder, "--storage", url)
    assert result.exit_code == 2
    assert "storage: expected a database that can be opened" in result.stderr
    assert "hush" not in result.output
    assert not any(b"hush" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
