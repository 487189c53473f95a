"""`hmopt search` on an executor leaves what one process leaves."""

import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hmopt
from hmopt.errors import CheckpointError, DeclarationError
from hmopt.oracle import open_oracle
from hmopt.study_folder import StudyFolder
from hmopt.workflow.executor import OracleOrigin, _open, open_executor
from tests.workers import asked
from tests.workers.test_search import check_same


@pytest.fixture(scope="module")
def alone(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that one process has searched."""
    folder = tmp_path_factory.mktemp("alone") / "study"
    shutil.copytree(tiny_study.folder, folder)
    hmopt.search(folder, device="cpu")
    return folder


@pytest.fixture
def folder(tiny_study: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_study.folder, tmp_path / "study"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Yield a Dask cluster of two processes on this machine."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=50,  # of a worker that is killed
    ) as found:
        yield found


def trials(folder: Path) -> list[tuple[dict[str, float], float | None]]:
    study = hmopt.open_study(folder, scope="cohort")
    return [(trial.params, trial.value) for trial in study.trials]


def test_threads_leave_what_one_process_leaves(folder: Path, alone: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        swept = hmopt.search(folder, device="cpu", executor=executor)
    check_same(folder, alone)
    assert trials(folder) == trials(alone)
    assert len(swept.studies) == len(set(swept.studies))
    # the models during training and the pairs as they are were measured, too
    found, expected = (StudyFolder(one).ledger for one in (folder, alone))
    assert sorted(map(str, found.holdings())) == sorted(map(str, expected.holdings()))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_worker_of_dask_that_is_killed_costs_nothing_but_time(
    cluster: Any, folder: Path, alone: Path, tmp_path: Path
) -> None:
    from distributed import Client

    calls = tmp_path / "calls"
    with Client(cluster, set_as_default=False) as client:
        pids = client.run(asked.process)
        executor = client.get_executor()

        class Deadly:
            def submit(self, function: Callable[..., Any], /, task: Any) -> "Future[Any]":
                future: Future[Any] = executor.submit(asked.done_or_killed, calls, function, task)
                return future

        hmopt.search(folder, device="cpu", executor=Deadly())
    assert calls.stat().st_size > asked.DEADLY
    assert asked.killed(calls) in pids.values()
    check_same(folder, alone)
    assert trials(folder) == trials(alone)


def test_the_option_leads_to_a_cluster(cluster: Any) -> None:
    with open_executor("dask", cluster.scheduler_address) as executor:
        assert executor is not None
        assert executor.submit(math.gcd, 12, 18).result() == 6


def test_a_worker_that_finds_another_model_says_so(folder: Path) -> None:
    files = StudyFolder(folder)
    (cohort,) = files.prepared_folder.iterdir()
    origin = OracleOrigin(
        folder=folder, stage="full", cohort=cohort.name, identity="0f", device="cpu"
    )
    with pytest.raises(CheckpointError, match="expected the model 0f, which is searched, got "):
        _open(origin)
    with pytest.raises(DeclarationError, match=r"^executor: expected workers with hmopt 0\.0"):
        _open(replace(origin, version="0.0"))


def test_blocks_of_a_worker_are_small(folder: Path) -> None:
    oracle, pairs = open_oracle(folder)
    (block,) = oracle.measure([(100,)], pairs[:8], ("dice", "folding"))
    assert np.isfinite(block.values["dice"]).any()
    assert len(ForkingPickler.dumps(block)) < 4000
