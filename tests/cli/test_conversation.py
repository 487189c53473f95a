import signal
from pathlib import Path

import pytest
import typer

from hmopt.cli.conversation import conversation


def test_after_an_interruption_it_says_which_command_resumes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (
        pytest.raises(typer.Exit) as exit_,
        conversation("hmopt train brains", quiet=False, debug=False),
    ):
        raise KeyboardInterrupt
    assert exit_.value.exit_code == 130
    assert "Rerun to resume: hmopt train brains" in capsys.readouterr().err


def test_sigterm_is_treated_as_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(typer.Exit) as exit_,
        conversation("hmopt train brains", quiet=False, debug=False),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert exit_.value.exit_code == 143
    said = capsys.readouterr().err.strip()
    assert said == "Terminated. Finished work is kept. Rerun to resume: hmopt train brains"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_error_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(typer.Exit) as exit_,
        conversation("hmopt train brains", quiet=False, debug=False),
    ):
        raise OSError("no space\n  left")
    assert exit_.value.exit_code == 2
    assert capsys.readouterr().err == (
        "operating system: expected a file or folder that can be read and written, got no space left. "
        "Rerun with --debug.\n"
    )


def test_an_error_of_the_operating_system_names_file_and_advice(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = tmp_path / ("x" * 300)
    with (
        pytest.raises(typer.Exit) as exit_,
        conversation("hmopt train brains", quiet=False, debug=False),
    ):
        name.read_text(encoding="utf-8")
    assert exit_.value.exit_code == 2
    expected = f"{name}: expected a shorter name, got File name too long. Choose another name.\n"
    assert capsys.readouterr().err == expected


def test_a_mistake_of_hmopt_shows_its_traceback() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        conversation("hmopt train brains", quiet=False, debug=False),
    ):
        _ = 1 / 0


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with conversation("hmopt train brains", quiet=True, debug=False) as talk:
        talk.say("Trained.")
        assert list(talk.track([1, 2], "Counting", 2)) == [1, 2]
    assert capsys.readouterr() == ("", "")
