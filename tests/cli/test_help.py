import re

import pytest
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


def test_it_tells_its_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).output.strip() == hmopt.__version__
