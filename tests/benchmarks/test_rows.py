"""How rows of the benchmark are declared, judged and kept; nothing here is timed."""

import inspect
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks.rows import Declared, Measured, Row, declared_rows

ROWS = list(declared_rows().values())


def declared(goal: float = 2.0, better: str = "higher", limit: str = "") -> Declared:
    values = {"name": "a-row", "unit": "×", "against": "another", "network": "none"}
    return Declared(**values, goal=goal, better=better, limit=limit, measure=lambda: Measured(1.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_says_what_it_measures_and_what_for(row: Declared) -> None:
    assert row.better in ("higher", "lower")
    assert math.isfinite(row.goal)
    assert all([row.unit, row.against, row.network, inspect.getdoc(row.measure)])
    assert not inspect.signature(row.measure).parameters


@pytest.mark.parametrize(
    ("better", "value", "met"),
    [
        ("higher", 2.0, True),
        ("higher", 1.9, False),
        ("lower", 2.0, True),
        ("lower", 2.1, False),
        ("lower", None, False),
        ("lower", math.nan, False),
    ],
)
def test_a_row_meets_its_goal_from_the_better_side(
    better: str, value: float | None, met: bool
) -> None:
    assert declared(better=better).filled(value, "").met is met


def test_only_a_row_that_misses_its_goal_tells_its_limit() -> None:
    row = declared(limit="The bound is 1.")
    assert row.filled(2.0, "measured").note == "measured"
    assert row.filled(1.0, "measured").note == "measured. The bound is 1."


def test_results_keep_the_order_of_the_table_and_forget_rows_that_are_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    path.write_text(
        json.dumps([{"name": "second", "value": 1.0}, {"name": "gone", "value": 1.0}]),
        encoding="utf-8",
    )
    monkeypatch.setattr(command, "RESULTS", path)
    command.write_results([declared().filled(3.0, "")], {"a-row": declared(), "second": declared()})
    lines = json.loads(path.read_text(encoding="utf-8"))
    assert [(line["name"], line["value"]) for line in lines] == [("a-row", 3.0), ("second", 1.0)]
    assert lines[0].keys() == {
        "name",
        "value",
        "goal",
        "better",
        "unit",
        "against",
        "network",
        "note",
        "met",
    }


def test_a_row_that_fails_says_how_and_has_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    row = command.measure_in_subprocess(declared())
    assert row.value is None
    assert "failed" in row.note


def test_a_row_that_cannot_be_measured_here_says_why_and_leaves_the_results_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"name": "a-row", "value": 1.0}]), encoding="utf-8")
    printed = subprocess.CompletedProcess([], 0, stdout="left out: No such unit.\n", stderr="")
    monkeypatch.setattr(command, "RESULTS", path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: printed)
    console = Console(record=True, width=100)
    assert command.run({"a-row": declared()}, ["a-row"], console) == []
    assert "a-row: left out. No such unit." in console.export_text()
    assert json.loads(path.read_text(encoding="utf-8")) == [{"name": "a-row", "value": 1.0}]


@pytest.mark.parametrize(
    ("asked", "names"),
    [([], ["short"]), (["--long"], ["short", "long"]), (["--only", "long"], ["long"])],
    ids=["by default", "--long", "--only"],
)
def test_long_rows_run_where_they_are_asked_for(
    asked: list[str], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"short": declared(), "long": replace(declared(), is_long=True)}
    found: list[str] = []

    def run(_: Mapping[str, Declared], wanted: Sequence[str], __: Console) -> list[Row]:
        found.extend(wanted)
        return []

    monkeypatch.setattr(command, "declared_rows", lambda: rows)
    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: None)  # the growth curves
    monkeypatch.setattr(sys, "argv", ["benchmarks", *asked])
    assert command.main() == 0
    assert found == names


measured = pytest.mark.skipif(
    not command.RESULTS.is_file(), reason="`make bench` has not written results.json yet"
)


@measured
def test_the_committed_results_hold_every_row_as_it_is_declared() -> None:
    lines = json.loads(command.RESULTS.read_text(encoding="utf-8"))
    kept = ("name", "goal", "better", "unit", "against", "network")
    found = {tuple(line[key] for key in kept) for line in lines}
    declared = {tuple(getattr(row, key) for key in kept): row for row in ROWS}
    assert found <= declared.keys()
    # one that needs a GPU is there once it was measured on one
    missing = [row.name for key, row in declared.items() if key not in found and not row.needs_gpu]
    assert missing == []


@measured
def test_the_committed_results_say_why_a_goal_is_missed() -> None:
    lines = json.loads(command.RESULTS.read_text(encoding="utf-8"))
    assert [line["name"] for line in lines if not line["met"] and not line["note"]] == []
