"""What an executor measures is what one process measures, whatever becomes of its workers."""

import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage
from typer.testing import CliRunner

import hmopt
from hmopt.cli.app import app
from hmopt.errors import DeclarationError, FailedPairsError, SearchError
from hmopt.ledger import Ledger, Recorded
from hmopt.records import Block, Pair, Request
from hmopt.workflow import executor as executor_module
from hmopt.workflow.executor import TRIES, ExecutorDispatcher, OracleOrigin, dask_executor
from tests.workers import work

EVERYTHING = {(place, pair.id) for (place,) in work.SETTINGS for pair in work.PAIRS}
ORIGIN = OracleOrigin(
    folder=Path("nowhere"), stage="full", cohort="0c", identity=work.Formula.identity, device="cpu"
)


class Formula(work.Formula):
    """The formula as an oracle that tells whether it was tried."""

    def __init__(self, *, is_tried: bool = True) -> None:
        super().__init__(None, seconds=0)
        self.is_tried = is_tried


class Measures:
    """An executor that measures the formula when it is asked.

    Parameters
    ----------
    trouble
        Called with the number of a submission and what is asked; what it returns is the error of the future.
    """

    def __init__(self, trouble: Callable[[int, Request], Exception | None] | None = None) -> None:
        self._trouble = trouble or (lambda _number, _request: None)
        self.tasks: list[Any] = []
        self.measured: Counter[tuple[int, str]] = Counter()

    def submit(self, _function: Callable[..., Any], /, task: Any) -> "Future[Any]":
        self.tasks.append(task)
        future: Future[Any] = Future()
        error = self._trouble(len(self.tasks), task.request)
        if error is not None:
            future.set_exception(error)
            return future
        future.set_result(self.blocks(task))
        return future

    def blocks(self, task: Any) -> list[Block]:
        request = task.request
        found = list(Formula().measure(request.settings, request.pairs, request.metrics))
        if task.is_first:
            found = found[:1]  # leaves off when a pair has succeeded
        for block in found:
            self.measured.update((block.index[0], pair) for pair in block.pairs)
        return found


class MeasuresBackwards(Measures):
    """An executor that does nothing until all is submitted, and then the last first."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self._waiting: list[tuple[Future[Any], Any]] = []

    def submit(self, _function: Callable[..., Any], /, task: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self._waiting.append((future, task))
        if len(self._waiting) == self._count:
            for one, asked in reversed(self._waiting):
                one.set_result(self.blocks(asked))
        return future


def sweep(folder: Path, executor: Any, pairs: list[Pair] | None = None) -> None:
    oracle: Any = Formula()
    dispatcher = ExecutorDispatcher(executor, ORIGIN, oracle)
    recorded = Recorded(oracle, Ledger(folder / "ledger"), dispatcher)
    recorded.fill(work.SETTINGS, work.PAIRS if pairs is None else pairs, work.METRICS)


def check_like_one_process(folder: Path, alone: Path) -> None:
    work.sweep(alone, Formula())
    expected = work.measurements(Ledger(alone / "ledger"))
    found = work.measurements(Ledger(folder / "ledger"))
    assert found.settings == expected.settings
    for metric in work.METRICS:
        np.testing.assert_array_equal(found.values[metric], expected.values[metric])


def test_everything_is_measured_once_and_equals_the_sweep_of_one_process(tmp_path: Path) -> None:
    executor = Measures()
    sweep(tmp_path, executor)
    assert executor.measured == Counter(EVERYTHING)
    check_like_one_process(tmp_path, tmp_path / "alone")


def test_requests_are_of_one_setting_and_eight_pairs_where_there_is_little_to_do(
    tmp_path: Path,
) -> None:
    executor = Measures()
    sweep(tmp_path, executor)
    sizes = {(len(task.request.settings), len(task.request.pairs)) for task in executor.tasks}
    assert sizes == {(1, 8)}
    assert len(executor.tasks) == len(work.SETTINGS) * len(work.PAIRS) / 8


def test_requests_are_of_several_settings_where_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hmopt.ledger import recorded

    monkeypatch.setattr(recorded, "DISPATCHED_BLOCKS", 14)
    executor = Measures()
    sweep(tmp_path, executor)
    # 35 pieces of one setting; 14 of 2 settings at least: two of 2 and one of 1 for each 8 pairs
    assert [len(task.request.settings) for task in executor.tasks] == [2, 2, 1] * 7
    assert executor.measured == Counter(EVERYTHING)


def test_the_order_in_which_workers_are_done_changes_nothing(tmp_path: Path) -> None:
    executor = MeasuresBackwards(len(work.SETTINGS) * len(work.PAIRS) // 8)
    sweep(tmp_path, executor)
    check_like_one_process(tmp_path, tmp_path / "alone")


def test_a_request_whose_worker_is_gone_is_submitted_again(tmp_path: Path) -> None:
    lost: Counter[Request] = Counter()

    def every_fifth(number: int, request: Request) -> Exception | None:
        if number % 5:
            return None
        lost[request] += 1
        return RuntimeError("the worker is gone")

    executor = Measures(every_fifth)
    sweep(tmp_path, executor)
    assert lost
    assert executor.measured == Counter(EVERYTHING)
    check_like_one_process(tmp_path, tmp_path / "alone")


def test_a_request_that_always_fails_is_tried_three_times_and_named(tmp_path: Path) -> None:
    def always(_number: int, _request: Request) -> Exception:
        return OSError("no such folder.")

    executor = Measures(always)
    with pytest.raises(SearchError) as caught:
        sweep(tmp_path, executor)
    assert str(caught.value) == (
        "8 pairs (a->b … b->a) at 1 setting (regularization = 0): expected to be measured by a worker in 3 tries, got "
        "OSError: no such folder. What else was measured is kept: correct the cause, and rerun to resume."
    )
    tries = Counter(task.request for task in executor.tasks)
    assert max(tries.values()) == TRIES


def test_what_others_measured_is_kept_and_the_next_search_measures_the_rest(tmp_path: Path) -> None:
    bad = work.PAIRS[-1]

    def at_one(_number: int, request: Request) -> Exception | None:
        return MemoryError("too large") if bad in request.pairs else None

    executor = Measures(at_one)
    with pytest.raises(SearchError, match="MemoryError: too large"):
        sweep(tmp_path, executor)
    again = Measures()
    sweep(tmp_path, again)
    assert executor.measured + again.measured == Counter(EVERYTHING)
    assert executor.measured.total() > again.measured.total()
    check_like_one_process(tmp_path, tmp_path / "alone")


def test_an_executor_that_breaks_leaves_what_came_back(tmp_path: Path) -> None:
    class Breaks(Measures):
        def submit(self, function: Callable[..., Any], /, task: Any) -> "Future[Any]":
            if len(self.tasks) == 6:
                raise BrokenProcessPool("A process was terminated abruptly.")
            return super().submit(function, task)

    executor = Breaks()
    with pytest.raises(
        SearchError, match=r"^executor: expected one that takes requests, got BrokenProcessPool: A"
    ):
        sweep(tmp_path, executor)
    again = Measures()
    sweep(tmp_path, again)
    assert executor.measured.total() == 6 * 8
    assert executor.measured + again.measured == Counter(EVERYTHING)


def test_an_interruption_keeps_what_came_back(tmp_path: Path) -> None:
    def interrupted(number: int, _request: Request) -> None:
        if number == 9:
            signal.raise_signal(signal.SIGINT)

    executor = Measures(interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, executor)
    assert executor.measured.total() >= 9 * 8
    again = Measures()
    sweep(tmp_path, again)
    assert executor.measured + again.measured == Counter(EVERYTHING)
    check_like_one_process(tmp_path, tmp_path / "alone")


def test_what_has_yet_to_be_tried_is_tried_by_one_worker_first() -> None:
    oracle: Any = Formula(is_tried=False)
    executor = Measures()
    dispatcher = ExecutorDispatcher(executor, ORIGIN, oracle)
    pairs = tuple(work.PAIRS)
    requests = [
        Request(settings=(index,), pairs=some, metrics=work.METRICS)
        for some in (pairs[:8], pairs[8:])
        for index in work.SETTINGS
    ]
    blocks = list(dispatcher.measure(requests))
    first = executor.tasks[0]
    assert first.is_first
    assert first.request.settings == tuple(work.SETTINGS)
    assert first.request.pairs == pairs[:8]
    assert not any(task.is_first for task in executor.tasks[1:])
    assert executor.measured == Counter(EVERYTHING)
    assert sum(len(block.pairs) for block in blocks) == len(EVERYTHING)
    assert oracle.is_tried


def test_an_engine_that_fails_at_everything_is_not_tried_again() -> None:
    oracle: Any = Formula(is_tried=False)
    error = FailedPairsError("the engine", expected="x", got="y", advice="z.")
    executor = Measures(lambda _number, _request: error)
    dispatcher = ExecutorDispatcher(executor, ORIGIN, oracle)
    request = Request(settings=((0,),), pairs=tuple(work.PAIRS), metrics=work.METRICS)
    with pytest.raises(FailedPairsError, match=r"^the engine: expected x, got y. z.$"):
        list(dispatcher.measure([request]))
    assert len(executor.tasks) == 1


def test_a_closed_executor_takes_nothing(tmp_path: Path) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(SearchError, match="got RuntimeError: cannot schedule new futures after"):
        sweep(tmp_path, executor)


def test_an_executor_that_falls_silent_is_asked_whether_it_still_takes_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Futures of Dask never end where its scheduler is gone."""

    class Silent(Measures):
        def submit(self, function: Callable[..., Any], /, task: Any) -> "Future[Any]":
            if task is None:
                raise ConnectionError("the scheduler is gone")
            if len(self.tasks) == 6:
                return Future()
            return super().submit(function, task)

    monkeypatch.setattr(executor_module, "SILENCE_S", 0.0)
    executor = Silent()
    with pytest.raises(SearchError, match="got ConnectionError: the scheduler is gone"):
        sweep(tmp_path, executor)
    again = Measures()
    sweep(tmp_path, again)
    assert executor.measured.total() == 6 * 8
    assert executor.measured + again.measured == Counter(EVERYTHING)


def studies_of(url: str) -> dict[str, list[tuple[dict[str, Any], float | None]]]:
    storage = RDBStorage(url)
    try:
        found = {}
        for name in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=name, storage=storage)
            found[name] = [(trial.params, trial.value) for trial in study.trials]
        return found
    finally:
        storage.remove_session()
        storage.engine.dispose()


def test_a_sampler_makes_the_trials_that_it_makes_in_one_process(tmp_path: Path) -> None:
    found = {}
    for name in ("alone", "executor"):
        folder = tmp_path / name
        folder.mkdir()
        oracle: Any = Formula()
        dispatcher = ExecutorDispatcher(Measures(), ORIGIN, oracle)
        url = f"sqlite:///{folder}/studies.db"
        work.optimize(folder, oracle, url, dispatcher if name == "executor" else None)
        found[name] = studies_of(url)
    assert len(found["alone"]) == work.STUDIES
    assert found["executor"] == found["alone"]


def said(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    lines = result.output.strip().splitlines()
    assert len(lines) == 1
    return str(lines[0])


def test_two_requests_open_an_oracle_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread of a worker opens its own; neither waits for the other."""
    both_open = threading.Barrier(2, timeout=10)

    def opened(_origin: OracleOrigin) -> Formula:
        both_open.wait()
        return Formula()

    monkeypatch.setattr(executor_module, "_open", opened)
    oracles = executor_module._Opened()
    request = Request(settings=((0,),), pairs=tuple(work.PAIRS[:1]), metrics=tuple(work.METRICS))
    task = executor_module._Task(origin=ORIGIN, request=request)
    both_lent = threading.Barrier(2, timeout=10)

    def use() -> object:
        with oracles.lent(task) as oracle:
            both_lent.wait()
            return oracle

    with ThreadPoolExecutor(2) as pool:
        first, second = [future.result() for future in [pool.submit(use), pool.submit(use)]]
    assert first is not second
    with oracles.lent(task) as again:
        assert again in (first, second)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--executor", "slurm"], "--executor: expected dask, got 'slurm'."),
        (["--executor", "dask"], "--scheduler: expected an address with --executor dask, got none"),
        (["--scheduler", "tcp://a:1"], "--executor: expected dask with --scheduler, got none."),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], line: str, tmp_path: Path
) -> None:
    assert said("search", tmp_path, *options).startswith(line)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"gap": True}, "--executor: expected a search alone"),
        ({"per_structure": True}, "--executor: expected a search alone"),
        ({"uncertainty": True}, "--executor: expected a search alone"),
        ({"workers": 2}, "--workers: expected 1 with an executor"),
    ],
)
def test_what_an_executor_does_not_measure_is_refused_before_any_work(
    options: dict[str, Any], line: str, tmp_path: Path
) -> None:
    with pytest.raises(DeclarationError, match=f"^{line}"):
        hmopt.search(tmp_path, executor=Measures(), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(executor_module, "CONNECT_S", 0.5)
    address = "tcp://127.0.0.1:9"  # the port of `discard`, which nobody serves
    line = said("search", tmp_path, "--executor", "dask", "--scheduler", address)
    assert line.startswith(f"--scheduler: expected a Dask scheduler that answers at {address}, got")
    assert line.endswith("Start one (dask scheduler), or correct the address.")


def test_an_address_that_is_none_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    line = said("search", tmp_path, "--executor", "dask", "--scheduler", "nonsense://x:y")
    assert line.startswith("--scheduler: expected a Dask scheduler that answers at nonsense://x:y")


def test_without_dask_it_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    expected = (
        "--executor: expected the package distributed, for dask, got none. "
        "Install it: pip install 'hmopt[dask]'."
    )
    with pytest.raises(DeclarationError, match=re.escape(expected)), dask_executor("tcp://a:1"):
        pass
