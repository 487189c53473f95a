"""What is wrong with a command line is told in one line, with exit code 2."""

import pytest
from typer.testing import CliRunner

from hmopt.cli.app import app


def refused(*arguments: str) -> str:
    """Run a command line that must be refused, and return its one line."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert result.stdout == ""
    return line


REGISTER = ("register", "study", "moving.nii.gz", "fixed.nii.gz")


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ((*REGISTER, "--regularization", "abc"), "--regularization: expected a valid number, got 'abc'."),
        ((*REGISTER, "--refine", "-1"), "--refine: expected a number greater than or equal to 0, got '-1'."),
        (("tune", "study", "--port", "99999"), "--port: expected a number less than or equal to 65535,"),
        (("search", "study", "--workers", "0"), "--workers: expected a number greater than or equal to 1,"),
        (("search", "study", "--map-width", "wide"), "--map-width: expected a valid number, got 'wide'."),
        (("export", "study"), "hmopt export: expected the option --storage, got none."),
        (("train",), "hmopt train: expected the argument FOLDER, got none."),
        (("train", "study", "--device"), "--device: expected a value, got none."),
        (("train", "study", "--quiet=1"), "--quiet: expected no value, got one."),
        (("train", "study", "other"), "hmopt train: expected no further argument, got other."),
        (("train", "study", "--dvice", "cpu"), "hmopt train: expected options of this command, got --dvice. Did"),
        (("trian",), "hmopt: expected one of its commands, got 'trian'."),
        (("--verbose",), "hmopt: expected options of this command, got --verbose."),
    ],
)  # fmt: skip
def test_what_cannot_be_parsed_is_told_in_one_line(arguments: tuple[str, ...], start: str) -> None:
    assert refused(*arguments).startswith(start)


@pytest.mark.parametrize("empty", ["", "  "])
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("train",), "FOLDER"),
        (("apply", "field.nii.gz"), "FILE"),
        ((*REGISTER, "--bids-derivatives"), "--bids-derivatives"),
        ((*REGISTER, "--moved"), "--moved"),
        ((*REGISTER, "--set"), "--set"),
        (("new", "study", "--model"), "--model"),
        (("new", "study", "--labels", "labels", "--images"), "--images"),
        (("export", "study", "--storage"), "--storage"),
        (("tune-by-gradient", "study", "--objective"), "--objective"),
    ],
)
def test_an_empty_value_is_refused(arguments: tuple[str, ...], name: str, empty: str) -> None:
    assert refused(*arguments, empty).startswith(f"{name}: expected a value, got {empty!r}.")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--set", "regularization=0.5", "--set", "regularization=0.6"), "--set"),
        (("--set", "regularization=0.5", "--regularization", "0.6"), "--regularization"),
        (("--regularization", "0.5", "--regularization", "0.6"), "--regularization"),
        (("--label", "thalamus", "--scope", "label=cortex"), "--label"),
        (("--subject", "sub-1", "--scope", "subject=sub-2"), "--subject"),
        (("--group", "task=within", "--group", "task=cross"), "--group"),
        (("--group", "task=within", "--scope", "task=cross"), "--group"),
        (("--scope", "label=thalamus,label=cortex"), "--scope"),
    ],
)
def test_of_two_values_none_is_preferred(options: tuple[str, ...], field: str) -> None:
    line = refused(*REGISTER, "--moved", "moved.nii.gz", *options)
    assert line.startswith(f"{field}: expected one value")


def test_an_entity_of_bids_is_given_once() -> None:
    selected = ("--select", "acq=mprage", "--select", "acq=tfl")
    line = refused("new", "study", "--bids", "data", *selected)
    assert line.startswith("--select: expected one value of acq, got 'mprage' and 'tfl'.")


def test_a_label_with_a_comma_is_told_its_option() -> None:
    line = refused(*REGISTER, "--moved", "moved.nii.gz", "--scope", "label=cortex, left")
    assert "values without a comma" in line
    assert "--label" in line


def test_help_is_no_error() -> None:
    result = CliRunner().invoke(app, ["register", "--help"])
    assert result.exit_code == 0
    assert "--moved" in result.stdout
