import signal

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
    assert capsys.readouterr().err == "no space left\n"


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
