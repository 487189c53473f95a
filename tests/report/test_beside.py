"""Study folders and tables of scores side by side: what is read, what is refused, and what the report shows."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hmopt
from hmopt.commands import Command
from hmopt.errors import DataError, HmoptError, LedgerError
from hmopt.ledger import Ledger
from hmopt.ledger.measurements import PAIR_COLUMNS, Measurements
from hmopt.ledger.searched import Spent
from hmopt.records import Block
from hmopt.report import write_report, write_results
from hmopt.report.beside import check_beside, read_beside, search_minutes
from hmopt.space import Hyperparameter, Space
from hmopt.study_folder import StudyFolder

LOWER = 0.04
"""How much lower the Dice of the second study is, at every setting."""


def copy_lower(folder: Path, to: Path, lower: float = LOWER, **changed: Any) -> Path:
    """Copy a study folder: another model of lower scores, with other facts."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("report", "results", "examples"))
    files = StudyFolder(folder)
    measured = files.measurements()
    generator = np.random.default_rng(0)
    noise = 0.005 * generator.standard_normal(measured.values["dice"].shape[1:])
    blocks = []
    for place, index in enumerate(measured.settings):
        values = {name: array[place] for name, array in measured.values.items()}
        values["dice"] = np.clip(values["dice"] - lower + noise, 0, 1)
        ids = tuple(measured.pairs["pair"])
        blocks.append(Block(index=index, pairs=ids, labels=measured.labels, values=values))
    Ledger(to / "ledger").write("lower", measured.space, blocks)
    changes: dict[str, Any] = {"name": "lower", "identity": "lower", **changed}
    searched = replace(files.searched, **changes)
    StudyFolder(to).write_search(searched, files.pairs)
    return to


def declare(folder: Path, text: str) -> None:
    path = folder / "study.toml"
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{text}\n", encoding="utf-8")


@pytest.fixture
def folder(study_folder: Path, tmp_path: Path) -> Path:
    """A study folder beside which nothing stands yet."""
    copy = tmp_path / "own"
    shutil.copytree(study_folder, copy, ignore=shutil.ignore_patterns("report", "results"))
    return copy


def test_a_study_of_lower_scores_is_worse_by_as_much_in_every_structure(
    folder: Path, tmp_path: Path
) -> None:
    copy_lower(folder, tmp_path / "lower")
    declare(folder, '[report]\nbeside = ["../lower"]')
    found = read_beside(StudyFolder(folder))
    assert found is not None
    titles = [one.title for one in found.entries]
    assert titles == [
        "made-up brains, tuned",
        "made-up brains, default",
        "lower, tuned",
        "lower, default",
    ]
    for label in (None, *found.labels):
        difference = found.difference("lower, default", "made-up brains, default", label)
        assert difference is not None
        assert difference.mean.value == pytest.approx(-LOWER, abs=0.005)
        assert difference.verdict == "worse"


def test_nothing_stands_beside_a_study_that_declares_none(folder: Path) -> None:
    assert read_beside(StudyFolder(folder)) is None


def test_the_report_shows_the_methods_and_keeps_their_numbers(folder: Path, tmp_path: Path) -> None:
    copy_lower(folder, tmp_path / "lower")
    declare(folder, '[report]\ntitle = "ours"\nbeside = ["../lower"]')
    page = write_report(folder).read_text(encoding="utf-8")
    results = write_results(folder)
    assert "Comparison of methods" in page
    assert "lower, tuned" in page
    table = pd.read_csv(results / "beside.csv")
    overall = table[table["label"].isna()].set_index(["method", "choice"])
    assert overall.loc[("lower", "tuned"), "verdict"] == "worse"
    assert overall.loc[("ours", "default"), "evaluations"] == 0
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    entries = summary["beside"]["entries"]
    assert entries["ours, tuned"]["score"][0] == pytest.approx(
        overall.loc[("ours", "tuned"), "dice"], abs=1e-5
    )
    assert entries["ours, tuned"]["score"][0] == pytest.approx(summary["dice_held_out"])
    assert (results / "figures" / "beside.svg").is_file()


def test_committed_results_give_the_same_numbers_as_the_ledger(
    folder: Path, tmp_path: Path
) -> None:
    lower = copy_lower(folder, tmp_path / "lower")
    for one in (folder, lower):
        write_results(one)
        shutil.copytree(one / "results", tmp_path / "clone" / one.name / "results")
    here = hmopt.beside(folder, lower).table()
    clone = hmopt.beside(tmp_path / "clone" / "own", tmp_path / "clone" / "lower").table()
    pd.testing.assert_frame_equal(here, clone, rtol=1e-5, atol=1e-6)


def test_a_table_of_scores_stands_beside_with_a_row_for_each_method(
    folder: Path, tmp_path: Path
) -> None:
    measured = StudyFolder(folder).measurements()
    rows = []
    for place, pair in enumerate(measured.pairs["pair"][:40]):
        for label in measured.labels:
            score = measured.score("dice", label)[10, place]
            rows.append((pair, "slow", label, score, 3.0))
            rough = max(score - 0.2 + 0.001 * (place % 3), 0.0)
            rows.append((pair, "rough", label, rough, 1.0))
    columns = ["pair", "method", "label", "dice", "seconds"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "program.csv", index=False)
    found = hmopt.beside(folder, tmp_path / "program.csv", choices=["default"])
    assert [one.title for one in found.entries[1:]] == ["program slow", "program rough"]
    assert [one.seconds for one in found.entries[1:]] == [3.0, 1.0]
    default, slow, poor = found.entries
    same = found.difference(slow.title, default.title)  # setting 10 of 21 is the default
    worse = found.difference(poor.title, default.title)
    assert same is not None
    assert worse is not None
    assert (same.verdict, same.mean.value, same.pairs) == ("negligible", 0.0, 40)
    assert (worse.verdict, round(worse.mean.value, 3)) == ("worse", -0.199)
    chosen = '[[report.beside]]\npath = "../program.csv"\nmethods = ["rough"]\ntitle = "P"'
    declare(folder, chosen)
    declared = read_beside(StudyFolder(folder))
    assert declared is not None
    assert [one.source for one in declared.entries] == ["made-up brains"] * 2 + ["P rough"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pair,label\na,b\n", "dice"),
        ("pair,label,dice\ns00_1->s01_1,cortex,high\n", "expected numbers in column dice"),
        ("pair,label,dice\ns00_1->s01_1,cortex,1.5\n", r"expected dice in \[0, 1\], got 1.5"),
        ("pair,label,dice\nx,cortex,0.5\n", "expected pairs of the study"),
        ("pair,label,dice\ns00_1->s01_1,lung,0.5\n", "expected structures of the study"),
        (
            "pair,label,dice\ns00_1->s01_1,cortex,0.5\ns00_1->s01_1,cortex,0.5\n",
            "expected one score for each",
        ),
    ],
)
def test_a_wrong_table_of_scores_is_one_line(
    folder: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "program.csv").write_text(content, encoding="utf-8")
    with pytest.raises(HmoptError, match=message) as caught:
        hmopt.beside(folder, tmp_path / "program.csv")
    assert "\n" not in str(caught.value)


def test_another_grid_is_refused_with_the_numbers(folder: Path, tmp_path: Path) -> None:
    copy_lower(folder, tmp_path / "lower", spacing_mm=(2.0, 1.5), identity_unregistered="elsewhere")
    with pytest.raises(DataError, match=r"expected images prepared at 1 × 1 mm, got 2 × 1.5 mm"):
        hmopt.beside(folder, tmp_path / "lower")


def test_other_images_of_the_same_names_are_refused_by_their_scores_before_registration(
    folder: Path, tmp_path: Path
) -> None:
    lower = copy_lower(folder, tmp_path / "lower", identity_unregistered="moved")
    before = StudyFolder(folder).measurements("unregistered")
    values = {name: array[0].copy() for name, array in before.values.items()}
    ids = tuple(before.pairs["pair"])
    near = {**values, "dice": values["dice"] + 0.001}
    far = {**values, "dice": values["dice"] + 0.03}
    ledger = Ledger(lower / "ledger")
    ledger.write(
        "moved", before.space, [Block(index=(), pairs=ids, labels=before.labels, values=near)]
    )
    assert hmopt.beside(folder, lower).remarks == ()
    searched = replace(StudyFolder(lower).searched, identity_unregistered="others")
    StudyFolder(lower).write_search(searched, StudyFolder(lower).pairs)
    ledger.write(
        "others", before.space, [Block(index=(), pairs=ids, labels=before.labels, values=far)]
    )
    with pytest.raises(DataError, match=r"before registration within 0.002 .* got 0.0300 apart"):
        hmopt.beside(folder, lower)


def test_what_differs_in_the_preparation_is_said_in_a_remark(folder: Path, tmp_path: Path) -> None:
    files = StudyFolder(folder)
    declared = {"preprocessing": {"shape": [48, 64], "normalization": "percentile"}}
    searched = replace(files.searched, declared=declared)
    files.write_search(searched, files.pairs)
    padded = {"preprocessing": {"shape": [64, 64], "normalization": "minmax"}}
    copy_lower(
        folder,
        tmp_path / "lower",
        declared=padded,
        identity_unregistered=None,
        labels=files.searched.labels,
    )
    remarks = " ".join(hmopt.beside(folder, tmp_path / "lower").remarks)
    assert "shape [48, 64] and [64, 64]; normalization percentile and minmax" in remarks
    assert "It is not known whether" in remarks


def test_a_study_of_other_pairs_or_that_was_not_searched_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(LedgerError, match=r"Run `hmopt search` first"):
        hmopt.beside(folder, tmp_path / "nothing")
    with pytest.raises(DataError, match="expected methods with different names"):
        hmopt.beside(folder, folder)
    with pytest.raises(DataError, match="expected another study folder"):
        hmopt.beside(folder)
    with pytest.raises(HmoptError, match="'tuned', 'per_structure', 'default' or 'matched'"):
        hmopt.beside(folder, folder, choices=["best"])  # type: ignore[list-item]


def test_pairs_that_were_given_up_early_count_and_are_told(folder: Path, tmp_path: Path) -> None:
    spent = Spent(evaluations=999, grid=5000, settings=40, partial=19, failed=0)
    adaptive = StudyFolder(folder).searched.search.model_copy(update={"spending": "wilcoxon"})
    lower = copy_lower(folder, tmp_path / "lower", spent=spent, search=adaptive)
    found = hmopt.beside(folder, lower, choices=["tuned"])
    assert [one.evaluations for one in found.entries][1] == 999
    assert "Settings of lower were stopped early" in " ".join(found.remarks)


@pytest.mark.parametrize("path", ["../nothing", "../nothing.csv"])
def test_what_is_not_there_is_refused_before_anything_is_analysed(folder: Path, path: str) -> None:
    declare(folder, f'[report]\nbeside = ["{path}"]')
    with pytest.raises(HmoptError, match="nothing"):
        check_beside(StudyFolder(folder))


def test_below_five_subjects_there_is_no_verdict(few_folder: Path, tmp_path: Path) -> None:
    lower = copy_lower(few_folder, tmp_path / "lower")
    found = hmopt.beside(few_folder, lower, choices=["default"])
    assert {one.verdict for one in found.differences} == {"too few subjects"}


def test_tuning_took_the_time_of_all_plain_searches() -> None:
    commands = [
        Command(command="hmopt train", minutes=30.0),
        Command(command="hmopt search", minutes=5.0),
        Command(command="hmopt search --gap", minutes=60.0),
        Command(command="hmopt search --per-structure", minutes=10.0),
        Command(command="hmopt search --dense", minutes=4.0),
    ]
    assert search_minutes(commands, 30.0, taking(seconds=1.0)) == (5.0, True)
    # without times of registrations nothing contradicts the record
    assert search_minutes(commands, 30.0, taking(seconds=None)) == (5.0, True)


def test_tuning_is_incomplete_where_its_registrations_took_longer() -> None:
    last_run = [Command(command="hmopt search", minutes=0.5)]
    assert search_minutes(last_run, 0.0, taking(seconds=30.0)) == (0.5, False)
    only_further = [Command(command="hmopt search --gap", minutes=60.0)]
    assert search_minutes(only_further, 0.0, taking(seconds=30.0)) == (10.0, False)
    minutes, _ = search_minutes(only_further, 0.0, taking(seconds=None))
    assert math.isnan(minutes)


def test_of_a_whole_run_the_training_is_taken_off() -> None:
    run = [Command(command="hmopt run", minutes=40.0)]
    assert search_minutes(run, 30.0, taking(seconds=1.0)) == (10.0, True)


def taking(seconds: float | None) -> Measurements:
    """Measurements of ten pairs at two settings, each of which took so long."""
    names = [f"s{number}" for number in range(10)]
    rows = [(f"{name}->x", name, "x", name, "x", "cross") for name in names]
    values = {"dice": np.full((2, 10, 1), 0.7)}
    if seconds is not None:
        values["wall_time_s"] = np.full((2, 10), seconds)
    return Measurements(
        identity="made up",
        space=Space(hyperparameters=(Hyperparameter(name="regularization"),)),
        settings=((0,), (100,)),
        pairs=pd.DataFrame(rows, columns=list(PAIR_COLUMNS)),
        labels=("thalamus",),
        values=values,
    )
