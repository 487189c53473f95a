"""Paths on the command line are as the user means them, or refused in one line before any work."""

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


def test_a_tilde_is_the_home_folder_in_arguments_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    taken: dict[str, Path] = {}

    def publish(folder: Path, to: Path, **_: object) -> None:
        taken.update(folder=folder, to=to)
        raise hmopt.errors.HmoptError("x", expected="y", got="z", advice="Stop.")

    monkeypatch.setattr(hmopt, "publish", publish)
    refused("publish", "~/study", "--to=~/out")
    assert taken == {"folder": tmp_path / "study", "to": tmp_path / "out"}
    refused("publish", "study", "--to", "out/~")
    assert taken == {"folder": Path("study"), "to": Path("out/~")}


def test_each_of_several_paths_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    taken: dict[str, object] = {}

    def register(*_: object, **options: object) -> None:
        taken.update(options)
        raise hmopt.errors.HmoptError("x", expected="y", got="z", advice="Stop.")

    monkeypatch.setattr(hmopt, "register", register)
    refused("register", "F", "a", "b", "--moved=c", "--start=~/one", "--start", "two")
    assert taken["starts"] == [tmp_path / "one", Path("two")]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["check", "{}"], "FOLDER"),
        (["register", "F", "{}", "b.nii", "--moved", "c.nii"], "MOVING"),
        (["register", "F", "a.nii", "b.nii", "--moved={}"], "--moved"),
        (["register", "F", "a.nii", "b.nii", "--moved=c.nii", "--start", "d", "--start={}"], "--start"),
        (["bake", "F", "--format", "onnx", "--output={}"], "--output"),
        (["apply", "a.h5", "b.nii", "--to={}", "--output", "c.nii"], "--to"),
        (["apply", "{}", "b.nii", "--to", "c.nii", "--output", "d.nii"], "FILE"),
        (["apply", "[{},1]", "b.nii", "--to", "c.nii", "--output", "d.nii"], "FILE"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("path", "rule"),
    [
        (os.fsdecode(b"caf\xe9.nii"), r"a path whose name is in UTF-8, got '...caf\udce9.nii'"),
        ("~no such user/x.nii", "the home folder of a user of this machine, got '~no such user"),
    ],
)
def test_a_path_that_no_program_takes_is_refused_before_any_work(
    arguments: list[str], field: str, path: str, rule: str
) -> None:
    line = refused(*[argument.format(path) for argument in arguments])
    expected, _, got = rule.partition("...")
    assert line.startswith(f"{field}: expected {expected}")
    assert got in line


def test_code_of_a_user_that_ends_the_process_is_no_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(*_: object, **__: object) -> None:
        sys.exit(0)

    monkeypatch.setattr(hmopt, "check", check)
    line = refused("check", "study")
    assert line == (
        "study.toml: expected plugins, engines and networks that return, got one that calls sys.exit(0). "
        "Remove the call from the Python file."
    )


@pytest.mark.parametrize(
    "output",
    ["moved", "displacement", "inverse", "inverse-moved", "uncertainty", "bids-derivatives"],
)
def test_a_registration_needs_one_output_of_any_kind(
    monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    def register(*_: object, **__: object) -> None:
        raise hmopt.errors.HmoptError("x", expected="y", got="z", advice="Stop.")

    monkeypatch.setattr(hmopt, "register", register)
    arguments = ("register", "F", "a", "b")
    assert refused(*arguments, f"--{output}", "out").startswith("x: expected y, got z.")
    none = (
        "hmopt register: expected an output, such as --moved, --displacement or --bids-derivatives"
    )
    assert refused(*arguments).startswith(f"{none}, got none. Name one.")
