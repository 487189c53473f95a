import re

import pytest
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app

COMMANDS = (
    "new",
    "train",
    "search",
    "tune-by-gradient",
    "compare",
    "report",
    "run",
    "register",
    "apply",
    "tune",
    "publish",
    "bake",
    "check",
    "ledger",
    "export",
    "demo",
)


def test_these_are_the_commands() -> None:
    assert tuple(get_command(app).commands) == COMMANDS  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_shows_an_example_of_it(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert re.search(rf"Example: hmopt {command}\b", text)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_can_be_silent_and_can_show_tracebacks(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert "--quiet" in text
    assert "--debug" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_no_word_of_a_help_is_taken_for_markup(command: str) -> None:
    """A table of study.toml in square brackets is a style to rich, which drops it, unless it is escaped."""
    found = get_command(app).commands[command]  # type: ignore[attr-defined]
    helps = [found.help, found.epilog, *(getattr(one, "help", None) for one in found.params)]
    for text in helps:
        if text is not None:
            assert Text.from_markup(text).plain == text.replace("\\[", "[")


def test_a_table_of_the_declaration_is_shown_in_a_help() -> None:
    text = CliRunner().invoke(app, ["search", "--help"], env={"COLUMNS": "300"}).output
    assert "Default: that of [refine], or 25." in re.sub(r"\s+", " ", text)


def test_it_tells_its_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).output.strip() == hmopt.__version__
