"""A report of a study whose labels, subjects and files have names that are HTML, formulas, SQL and paths."""

import csv
import json
import re
import sqlite3
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hmopt
from hmopt.declaration.search import SearchOptions
from hmopt.ledger import Ledger, Searched
from hmopt.ledger.measurements import PAIR_COLUMNS
from hmopt.records import Block
from hmopt.space import Hyperparameter, Space
from hmopt.study_folder import StudyFolder

LABELS = (
    "<img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "../../../outside",
    "x'); DROP TABLE studies; --",
    "</svg><script>alert(2)</script>",
    '" onmouseover="alert(3)',
)
SUBJECTS = (
    "<svg onload=alert(4)>",
    "@SUM(1+1)",
    "..",
    "'; DROP TABLE trials; --",
    "/etc/passwd",
    "javascript:alert(5)",
)
SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.25),))
EVENTS = re.compile(r"on\w+")
ALLOWED_SCRIPTS = 1
"""The page's own."""


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def folder(parent: Path) -> Path:
    """A report was written there."""
    folder = parent / "study"
    rows = [(f"{a}->{b}", a, b, a, b, "cross") for a, b in permutations(SUBJECTS, 2)]
    pairs = pd.DataFrame(rows, columns=list(PAIR_COLUMNS))
    search = SearchOptions(
        metric="dice",
        reported=["folding", "similarity"],
        scopes=[["cohort"], ["label"], ["subject"]],
        min_paired_subjects=3,
    )
    searched = Searched(
        name="<b onclick=alert(6)>study</b>",
        identity="full",
        identity_half=None,
        identity_unregistered=None,
        labels=LABELS,
        spacing_mm=(1.0, 1.0),
        space=SPACE,
        loss={"similarity": "lncc", "regularization": "gradient"},
        loss_scale=2.5,
        search=search,
    )
    StudyFolder(folder).write_search(searched, pairs)
    generator = np.random.default_rng(0)
    blocks = []
    for index in SPACE.coarse(5):
        value = float(SPACE.setting(index)["regularization"])
        noise = 0.02 * generator.standard_normal((len(pairs), len(LABELS)))
        values = {
            "dice": 0.7 - 0.2 * (value - 0.5) ** 2 + noise,
            "folding": np.full(len(pairs), 0.001),
            "similarity": 0.5 + 0.1 * generator.random(len(pairs)),
        }
        blocks.append(Block(index=index, pairs=tuple(pairs["pair"]), labels=LABELS, values=values))
    Ledger(folder / "ledger").write("full", SPACE, blocks)
    hmopt.report(folder, results=True)
    return folder


@pytest.fixture(scope="module")
def elements(folder: Path) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed((folder / "report" / "index.html").read_text(encoding="utf-8"))
    return parser.found


def test_no_name_becomes_an_element_or_an_attribute(
    elements: list[tuple[str, dict[str, str | None]]],
) -> None:
    tags = [tag for tag, _ in elements]
    assert "img" not in tags
    assert tags.count("script") <= ALLOWED_SCRIPTS
    for _, attributes in elements:
        assert not [name for name in attributes if EVENTS.fullmatch(name)]
        target = attributes.get("href") or ""
        assert not target.startswith("javascript:")


def test_the_names_are_shown_as_they_are(folder: Path) -> None:
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img src=x" not in page
    assert "alert(2)</script>" not in page


def test_figures_hold_no_scripts(folder: Path) -> None:
    figures = sorted(folder.rglob("*.svg"))
    assert figures
    for path in figures:
        parser = Elements()
        parser.feed(path.read_text(encoding="utf-8"))
        tags = [tag for tag, _ in parser.found]
        assert not {"script", "img", "foreignobject"} & set(tags)
        for _, attributes in parser.found:
            assert not [name for name in attributes if EVENTS.fullmatch(name)]


def cells(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                yield from row


def test_no_cell_of_a_table_is_a_formula(folder: Path) -> None:
    found = list(cells(folder))
    assert any("cmd|" in cell for cell in found)
    formulas = [cell for cell in found if cell[:1] in ("=", "@", "\t", "\r")]
    assert formulas == []
    signed = [cell for cell in found if cell[:1] in ("+", "-") and len(cell) > 1]
    for cell in signed:
        float(cell)


def test_no_file_lies_outside_the_study(folder: Path, parent: Path) -> None:
    assert [path.name for path in parent.iterdir()] == ["study"]
    names = [path.name for path in folder.rglob("*")]
    assert not [name for name in names if re.search(r"[<>'\";=|@]", name)]


def test_the_summary_has_the_names(folder: Path) -> None:
    summary = json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))
    assert LABELS[0] in json.dumps(summary, ensure_ascii=False)


def test_names_are_values_in_a_database(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.db"
    written = hmopt.export(folder, f"sqlite:///{path}", {"label": "*"}, {"subject": "*"})
    assert len(written.studies) == len(LABELS) + len(SUBJECTS)
    with sqlite3.connect(path) as connection:
        kept = {name for (name,) in connection.execute("SELECT study_name FROM studies")}
        trials = connection.execute("SELECT COUNT(*) FROM trials").fetchone()
    connection.close()
    assert kept == set(written.studies)
    assert trials == (5 * len(kept),)


def test_a_study_of_a_hostile_label_opens(folder: Path) -> None:
    for label in LABELS:
        study = hmopt.open_study(folder, scope={"label": label})
        assert len(study.trials) == 5
