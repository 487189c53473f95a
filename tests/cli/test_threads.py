"""Idle threads of OpenMP soon leave their cores to other processes."""

import os

import pytest

from hmopt.cli import app as command

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "app", lambda: None)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what `main` sets is taken back
        monkeypatch.delenv(name)


def test_they_sleep_soon() -> None:
    command.main()
    assert os.environ["GOMP_SPINCOUNT"] == command.SPIN_COUNT


@pytest.mark.parametrize(
    ("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "active")]
)
def test_what_a_user_sets_stays(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    command.main()
    assert {key: os.environ.get(key) for key in VARIABLES} == dict.fromkeys(VARIABLES) | {
        name: value
    }
