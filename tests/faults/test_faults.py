"""A sample of what `make faults` tries: killed, stopped or without room, a command loses nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts on Linux's processes")
def test_commands_that_are_disturbed_lose_nothing(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    command = [sys.executable, "-m", "tests.faults", "--sample", "--output", str(output)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    records = json.loads(output.read_text(encoding="utf-8"))
    assert all(record["tried"] >= 2 for record in records)
    assert {record["failed"] for record in records} == {0}


def test_what_is_committed_was_tried_and_did_not_fail() -> None:
    records = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert records
    for record in records:
        assert set(record) == {"name", "tried", "failed", "figure"}
        assert record["tried"] > 0, record["name"]
        assert record["failed"] == 0, record["name"]
