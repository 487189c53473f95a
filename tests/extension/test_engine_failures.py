"""Engines that raise, crash, hang or write nothing: the pair fails, the sweep goes on, the ledger says why."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import hmopt
from hmopt.catalogue.metrics import WALL_TIME
from hmopt.cli.app import app
from hmopt.errors import FailedPairsError

ENGINE = '''
"""Shifts every image; at one pair and setting something else happens. Writes down every call."""

import ctypes
import os
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def register(moving, fixed, setting):
    with (HERE / "calls.txt").open("a") as calls:
        calls.write(f"{os.getpid()} {setting['shift']} {moving.max():.2f}\\n")
    is_third_pair = (fixed > 0.2).any(axis=0).sum() == 10  # by the width of its box
    if is_third_pair and setting["shift"] == 3.9 and not (HERE / "mended").exists():
        WHAT
    displacement = np.zeros((moving.ndim, *moving.shape), np.float32)
    displacement[0] = setting["shift"]
    return displacement
'''
FAILED_PAIR = "sub-2_ses-1->sub-2_ses-2"


def hmopt_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def said(*arguments: object) -> str:
    result = hmopt_command(*arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def with_engine(folder: Path, what: str, model: str = "", search: str = "") -> Path:
    (folder / "shifting.py").write_text(ENGINE.replace("WHAT", what), encoding="utf-8")
    declared = (folder / "study.toml").read_text(encoding="utf-8")
    declared = declared.replace("[hyperparameters", f"{model}\n[hyperparameters", 1)
    declared = declared.replace("[search]", f"[search]\n{search}")
    (folder / "study.toml").write_text(declared, encoding="utf-8")
    return folder


def calls(folder: Path) -> list[tuple[int, float]]:
    path = folder / "calls.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [(int(line.split()[0]), float(line.split()[1])) for line in lines]


@pytest.mark.parametrize(
    ("what", "reason", "model"),
    [
        ("raise ValueError('no gradient')", "ValueError: no gradient", ""),
        ("os._exit(3)", "exit status 3", ""),
        ("ctypes.string_at(0)", "a crash (SIGSEGV)", ""),
        ("os.kill(os.getpid(), 9)", "killed (SIGKILL), as the system does", ""),
        ("time.sleep(600)", "none after 8 s, the time limit", "time_limit_s = 8.0"),
        (
            "return None",
            "expected a displacement of shape (2, 32, 32), got () (None was returned)",
            "",
        ),
        ("return np.full((2, 32, 32), np.nan)", "expected finite numbers", ""),
        ("print('noise ' * 500_000); raise KeyError('x')", "KeyError: 'x'", ""),
    ],
)
def test_a_pair_that_fails_leaves_the_rest_of_the_sweep(
    what: str, reason: str, model: str, boxes_copy: Path
) -> None:
    folder = with_engine(boxes_copy, what, model)
    assert "1 of them failed" in said("search", folder)
    assert f"Failed: 1 of full: {reason}" in said("ledger", folder)
    measurements = hmopt.read_folder(folder)
    assert int(measurements.failed.sum()) == 1
    setting, pair = np.argwhere(measurements.failed)[0]
    assert measurements.space.setting(measurements.settings[setting]) == {"shift": 3.9}
    assert measurements.pairs["pair"].iloc[pair] == FAILED_PAIR
    said("report", folder)
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "registrations failed (1 pair at 1 setting)" in page


@pytest.fixture
def failing(boxes_copy: Path) -> Path:
    """A study whose engine failed on one pair at one setting."""
    folder = with_engine(boxes_copy, "raise ValueError('no gradient')")
    said("search", folder)
    return folder


def test_a_failure_is_retried_only_when_asked(failing: Path) -> None:
    before = calls(failing)
    said("search", failing)
    assert calls(failing) == before
    (failing / "mended").touch()
    said("search", failing)
    assert calls(failing) == before
    assert "failed" not in said("search", failing, "--retry-failed")
    assert len(calls(failing)) == len(before) + 1
    assert not hmopt.read_folder(failing).failed.any()
    assert "Failed" not in said("ledger", failing)
    assert "Failed" not in said("ledger", failing, "--compact")


def test_a_failure_survives_compaction_and_is_not_measured_for_another_metric(
    failing: Path,
) -> None:
    assert "Failed: 1 of full: ValueError: no gradient" in said("ledger", failing, "--compact")
    (failing / "calls.txt").unlink()
    declared = (failing / "study.toml").read_text()
    declared = declared.replace('["folding"]', '["folding", "similarity"]')
    (failing / "study.toml").write_text(declared)
    said("search", failing)
    is_failed_setting = [shift == 3.9 for _pid, shift in calls(failing)]
    assert sum(is_failed_setting) == 5  # of 6 pairs: the failed one is not tried again
    measurements = hmopt.read_folder(failing)
    assert np.isnan(measurements.values["similarity"][measurements.failed]).all()
    assert np.isfinite(measurements.values["similarity"][~measurements.failed]).all()


def test_wall_time_is_kept_of_every_registration_and_never_measured_anew(failing: Path) -> None:
    before = calls(failing)
    declared = (failing / "study.toml").read_text()
    declared = declared.replace('["folding"]', f'["folding", "{WALL_TIME}"]')
    (failing / "study.toml").write_text(declared)
    said("search", failing)
    assert calls(failing) == before
    measurements = hmopt.read_folder(failing)
    seconds = measurements.array(WALL_TIME)
    assert ((seconds > 0) == ~measurements.failed).all()
    assert np.nanmax(seconds) < 60


def test_processes_in_parallel_and_none_give_the_same_values(boxes_copy: Path) -> None:
    values = {}
    for jobs in (0, 2):
        folder = boxes_copy.with_name(f"jobs-{jobs}")
        boxes_copy.rename(folder)
        with_engine(folder, "pass", search=f"jobs = {jobs}")
        said("search", folder)
        values[jobs] = hmopt.read_folder(folder)
        processes = {pid for pid, _shift in calls(folder)}
        assert len(processes) == max(1, jobs)
        assert (os.getpid() in processes) == (jobs == 0)
        folder.rename(boxes_copy)
        for path in ("ledger", "studies.db", "search.json", "calls.txt"):
            subprocess.run(["rm", "-r", boxes_copy / path], check=True)
        declared = (boxes_copy / "study.toml").read_text()
        (boxes_copy / "study.toml").write_text(declared.replace(f"jobs = {jobs}\n", ""))
    assert values[0].settings == values[2].settings
    np.testing.assert_array_equal(values[0].array("dice"), values[2].array("dice"))


def test_where_nothing_succeeds_the_search_stops_in_one_line_and_keeps_nothing(
    boxes_copy: Path,
) -> None:
    folder = with_engine(boxes_copy, "pass")
    (folder / "shifting.py").write_text(
        "from pathlib import Path\n\n\ndef register(moving, fixed, setting):\n"
        "    with Path(__file__).with_name('calls.txt').open('a') as calls:\n"
        "        calls.write(f\"0 {setting['shift']} 0\\n\")\n"
        "    raise OSError('no licence')\n"
    )
    result = hmopt_command("search", folder)
    assert result.exit_code == 2
    text = " ".join(result.output.split())
    assert re.search("the engine on pair .* expected a displacement, got OSError: no licence", text)
    assert "Nothing has succeeded yet" in text
    assert len(calls(folder)) < 15  # of 30
    assert "--retry" not in text
    assert hmopt_command("ledger", folder).exit_code == 2


def test_an_executor_keeps_what_one_process_keeps(boxes_copy: Path) -> None:
    folder = with_engine(boxes_copy, "raise ValueError('no gradient')")
    with ThreadPoolExecutor(1) as executor:
        hmopt.search(folder, device="cpu", executor=executor)
    assert "Failed: 1 of full: ValueError: no gradient" in said("ledger", folder)
    measurements = hmopt.read_folder(folder)
    ((setting, pair),) = np.argwhere(measurements.failed)
    assert measurements.space.setting(measurements.settings[setting]) == {"shift": 3.9}
    assert measurements.pairs["pair"].iloc[pair] == FAILED_PAIR
    measured = len(calls(folder))
    said("search", folder)  # by this process, which finds nothing left to do
    assert len(calls(folder)) == measured


def test_an_executor_stops_where_nothing_succeeds(boxes_copy: Path) -> None:
    folder = with_engine(boxes_copy, "pass")
    (folder / "shifting.py").write_text(
        "def register(moving, fixed, setting):\n    raise OSError('no licence')\n"
    )
    expected = "the engine on pair .* got OSError: no licence. Nothing has succeeded yet"
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(FailedPairsError, match=expected),
    ):
        hmopt.search(folder, device="cpu", executor=executor)
    assert hmopt_command("ledger", folder).exit_code == 2


def test_a_setting_that_always_fails_is_no_candidate(boxes_copy: Path) -> None:
    folder = with_engine(boxes_copy, "pass")
    text = (folder / "shifting.py").read_text()
    text = text.replace(
        "    displacement =", "    assert setting['shift'] > 0\n    displacement =", 1
    )
    (folder / "shifting.py").write_text(text)
    assert "6 of them failed" in said("search", folder)
    said("report", folder)
    optima = pd.read_csv(folder / "report" / "optima.csv")
    np.testing.assert_allclose(optima["shift"], 3.0, atol=0.3)


def test_ctrl_c_leaves_nothing_running_and_loses_nothing(boxes_copy: Path) -> None:
    folder = with_engine(boxes_copy, "pass", search="jobs = 2")
    text = (folder / "shifting.py").read_text()
    text = text.replace("    displacement =", "    time.sleep(0.3)\n    displacement =", 1)
    text = text.replace(
        "    return displacement",
        "    open(HERE / 'done.txt', 'a').write('x')\n    return displacement",
    )
    (folder / "shifting.py").write_text(text)
    command = [sys.executable, "-m", "hmopt.cli.app", "search", str(folder), "--device", "cpu"]
    program = f"import sys; sys.argv = {command[2:]!r}; from hmopt.cli.app import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    done = folder / "done.txt"
    deadline = time.monotonic() + 240
    while not done.is_file() or len(done.read_text()) < 6:
        assert time.monotonic() < deadline, "nothing was registered"
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=240)
    finished = len(done.read_text())
    assert running.returncode != 0, output
    for pid in {pid for pid, _shift in calls(folder)}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    manifest = json.loads((folder / "ledger" / "manifest.json").read_text())
    assert manifest["shards"]
    (kept,) = [
        one
        for one in hmopt.inspect_ledger(folder).holdings[0].metrics
        if one.metric.startswith("folding")
    ]
    assert kept.rows >= finished - 2  # at most those whose answer was on its way
    before = len(calls(folder))
    said("search", folder)
    whole = hmopt.read_folder(folder)
    made_anew = [shift for _pid, shift in calls(folder)][before:]
    assert len(made_anew) == whole.array("folding").size - kept.rows
