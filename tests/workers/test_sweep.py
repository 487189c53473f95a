"""Several processes fill one ledger: each pair is measured once at each setting, whatever becomes of a worker."""

import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmopt.ledger import Ledger
from hmopt.ledger.manifest import check_shard, read_manifest
from tests.workers import work
from tests.workers.conftest import Crew, wait_for

EVERYTHING = {(place, pair.id) for (place,) in work.SETTINGS for pair in work.PAIRS}
SHARE_OF_A_LEASE = 10


def check_like_one_worker(folder: Path, alone: Path) -> None:
    """Compare what a ledger gives with what one worker writes."""
    work.sweep(alone, work.Formula(None, seconds=0))
    expected = work.measurements(Ledger(alone / "ledger"))
    found = work.measurements(Ledger(folder / "ledger"))
    assert found.settings == expected.settings
    for metric in work.METRICS:
        np.testing.assert_array_equal(found.values[metric], expected.values[metric])


def rows(folder: Path) -> int:
    """Return how many values there are in all shards of a ledger, those written twice counted twice."""
    shards = read_manifest(folder)
    return sum(len(pd.read_parquet(check_shard(folder, shard))) for shard in shards)


@pytest.mark.parametrize("count", [2, 4])
def test_workers_divide_a_sweep(crew: Crew, tmp_path: Path, count: int) -> None:
    workers = crew.start(count, "sweep")
    crew.wait()
    measured = crew.measured()
    assert set(measured) == EVERYTHING
    assert measured.total() == len(EVERYTHING)
    # each has done its part, however large: nobody waited until the others were done
    parts = [len(crew.measured_by(worker)) for worker in workers]
    assert min(parts) > 0
    check_like_one_worker(tmp_path, tmp_path / "alone")


def test_what_a_killed_worker_was_at_is_taken_over(crew: Crew, tmp_path: Path) -> None:
    killed, other = crew.start(2, "sweep")
    wait_for(lambda: len(crew.measured_by(killed)) >= SHARE_OF_A_LEASE, "measurements")
    crew.kill(killed)
    crew.wait(other)
    measured = crew.measured()
    assert set(measured) == EVERYTHING
    check_like_one_worker(tmp_path, tmp_path / "alone")


def test_what_a_paused_worker_was_at_is_taken_over_and_kept_once(
    crew: Crew, tmp_path: Path
) -> None:
    paused, other = crew.start(2, "sweep", lease_s=work.SHORT_LEASE_S)
    wait_for(lambda: len(crew.measured_by(paused)) >= SHARE_OF_A_LEASE, "measurements")
    crew.pause(paused)
    crew.wait(other)
    folder = tmp_path / "ledger"
    check_like_one_worker(tmp_path, tmp_path / "alone")  # without the paused one
    paused.send_signal(signal.SIGCONT)
    crew.wait(paused)

    assert set(crew.measured()) == EVERYTHING
    check_like_one_worker(tmp_path, tmp_path / "other")
    values = len(EVERYTHING) * (len(work.BESTS) + 1)
    assert rows(folder) >= values
    Ledger(folder).compact()
    assert rows(folder) == values
