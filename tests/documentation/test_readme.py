"""What the README says is so."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from hmopt.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "studies").glob("*/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[list[str]]:
    """Return the words of every line in a document's shell blocks, comments left out and broken lines joined."""
    text = "\n".join(blocks(document.read_text(encoding="utf-8"), "sh")).replace("\\\n", " ")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def shown(program: str) -> list[Any]:
    """Return the commands of a program that a document shows, as parameters."""
    return [
        pytest.param(words, id=f"{document.relative_to(ROOT)}: {' '.join(words)}")
        for document in DOCUMENTS
        for words in commands(document)
        if words[0] == program
    ]


def test_it_is_short_and_shows_a_result_early() -> None:
    lines = README.splitlines()
    assert len(lines) < 120
    early = [target for line in lines[:40] for target in PICTURE.findall(line)]
    assert early
    assert [target for target in early if not (ROOT / target).is_file()] == []


@pytest.mark.parametrize("words", shown("hmopt"))
def test_its_commands_are_those_of_the_command_line(words: list[str]) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    name, command, rest = group.resolve_command(
        group.make_context("hmopt", ["--version"], resilient_parsing=True), words[1:]
    )
    assert command is not None
    assert command.make_context(name, list(rest)).params


@pytest.mark.parametrize("words", shown("make"))
def test_its_make_targets_are_there(words: list[str]) -> None:
    targets = re.findall(
        r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(words[1:]) <= set(targets)


def test_its_two_commands_do_everything() -> None:
    first = commands(ROOT / "README.md")[:2]
    assert first == [["make", "demo"], ["make", "test"]]


def test_its_python_runs(tiny_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_study.folder, tmp_path / "studies/mine")
    monkeypatch.chdir(tmp_path)
    (script,) = blocks(README, "python")
    found: dict[str, Any] = {}
    exec(compile(script, "README.md", "exec"), found)
    assert 0 <= found["study"].best_params["regularization"] <= 1
    assert len(found["study"].trials) == 20
