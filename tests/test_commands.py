import csv
from pathlib import Path

import pytest

from hmopt.commands import Command, read_commands, timed
from hmopt.errors import DataError

COMMANDS = "commands.csv"
HEADER = "command,started,minutes,version\n"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / COMMANDS).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_command_adds_a_row(tmp_path: Path) -> None:
    for command in ("hmopt train", "hmopt search", "hmopt train"):
        with timed(tmp_path / COMMANDS, command):
            pass
    assert [row["command"] for row in rows(tmp_path)] == [
        "hmopt train",
        "hmopt search",
        "hmopt train",
    ]
    assert all(
        float(row["minutes"]) >= 0 and row["started"].endswith("+00:00") for row in rows(tmp_path)
    )


@pytest.mark.parametrize("separator", ["\r", "\n", "\r\n", "\x1c", "\u2028"])
def test_a_folder_whose_name_has_a_line_break_is_written_down(
    separator: str, tmp_path: Path
) -> None:
    command = f"hmopt train 'a{separator}b'"
    for _ in range(2):
        with timed(tmp_path / COMMANDS, command):
            pass
    (read,) = read_commands(tmp_path / COMMANDS)
    assert read.command == command


def test_a_command_that_failed_is_not_written_down(tmp_path: Path) -> None:
    with pytest.raises(DataError), timed(tmp_path / COMMANDS, "hmopt train"):
        raise DataError("images", expected="some", got="none", advice="Add them.")
    assert not (tmp_path / COMMANDS).exists()


def test_work_that_was_interrupted_counts(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), timed(tmp_path / COMMANDS, "hmopt train"):
        raise KeyboardInterrupt
    assert [row["command"] for row in rows(tmp_path)] == ["hmopt train"]


def test_the_times_of_a_command_given_again_add_up(tmp_path: Path) -> None:
    path = tmp_path / COMMANDS
    path.write_text(
        f"{HEADER}hmopt train,,30,0.1.0\nhmopt search,,2.5,0.1.0\nhmopt train,,12,0.1.0\n"
    )
    assert read_commands(path) == [
        Command(command="hmopt train", minutes=42.0),
        Command(command="hmopt search", minutes=2.5),
    ]


def test_without_the_file_no_command_is_known(tmp_path: Path) -> None:
    assert read_commands(tmp_path / COMMANDS) == []
