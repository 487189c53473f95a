"""The committed table of many workers: what is on paper is made again, and a simulation keeps to it."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import many_workers
from benchmarks.many_workers import (
    AHEAD,
    COLUMNS,
    PAIRS_A_REQUEST,
    ROUNDS,
    SWEEPS,
    TABLE,
    WORKERS,
    Costs,
    Sweep,
    bound,
    on_paper,
    read_costs,
    row,
    simulate,
    simulated,
)
from hmopt.ledger import recorded
from hmopt.workflow import executor

FREE = Costs(
    write_s=0.0,
    read_s=0.0,
    plan_s=0.0,
    message_s=0.0,
    scheduler_s=0.0,
    request_bytes=0,
    result_bytes=0,
)
SMALL = Sweep(name="small", pairs=8 * 64, pair_s=1.0, values=3, image_bytes=0.0)


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers be equal, and none be killed."""
    monkeypatch.setattr(many_workers, "SPREAD", 0.0)
    monkeypatch.setattr(many_workers, "KILLS_AN_HOUR", 1e-12)


def lines() -> list[str]:
    return TABLE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_what_is_on_paper_is_made_again(sweep: Sweep, workers: int) -> None:
    begin = row(on_paper(sweep, read_costs(), workers)).removesuffix("|\n")
    assert sum(line.startswith(begin) for line in lines()) == 1


def test_a_simulated_row_is_made_again() -> None:
    sweep, workers = SWEEPS[-1], 1000
    costs = read_costs()
    made = row(on_paper(sweep, costs, workers) + simulated(sweep, costs, workers))
    assert made.strip() in lines()


def test_the_page_tells_what_the_table_says() -> None:
    page = (TABLE.parents[1] / "docs/concepts/many-workers.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in lines() if line.startswith("|")]
    told = {(cells[0], cells[2]): cells[-3:-1] for cells in rows if len(cells) == len(COLUMNS)}
    for sweep in SWEEPS:
        few, _ = told[sweep.name, "100"]
        many, efficiency = told[sweep.name, "1,000"]
        assert f" {_shown(few)} | {_shown(many)}, {efficiency.replace('%', ' %')}" in page


def _shown(text: str) -> str:
    return text.replace(".0 ", " ").replace(" d", " days")


def test_it_cuts_as_the_search_does() -> None:
    assert executor.AHEAD == AHEAD
    assert recorded.PAIRS_A_BLOCK == PAIRS_A_REQUEST
    assert SMALL.requests(12) == (64 * 12, 1)
    assert replace(SMALL, pairs=8 * recorded.DISPATCHED_BLOCKS).requests(12) == (1024, 12)


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("workers", [1, 8, 64])
def test_equal_workers_that_cost_nothing_else_take_their_share(workers: int) -> None:
    outcome = simulate(SMALL, FREE, workers)
    # 64 blocks of 8 pairs at each of 16 settings, 8 s each, which these numbers of workers divide evenly
    assert outcome.seconds == pytest.approx(64 * 16 * 8 / workers)
    assert outcome.efficiency(SMALL, workers) == pytest.approx(1.0)


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(("part", "name"), [("message_s", "caller"), ("scheduler_s", "scheduler")])
def test_what_is_slow_and_shared_limits_many_workers(part: str, name: str) -> None:
    slow: dict[str, Any] = {part: 2.0}
    costs = replace(FREE, **slow)
    outcome = simulate(SMALL, costs, 10_000)
    least = bound(SMALL, costs, 10_000)[name]
    assert least == 2.0 * 64 * 16
    # each round ends with what nobody else waits for: one request, there and back
    assert least <= outcome.seconds <= least + len(ROUNDS) * (8 + 2.0 + 2.0)


@pytest.mark.usefixtures("steady")
def test_more_workers_than_requests_do_not_help() -> None:
    # a round takes one request, however many workers there are
    assert simulate(SMALL, FREE, 10_000).seconds == pytest.approx(len(ROUNDS) * 8)


def test_a_simulation_takes_no_less_than_on_paper() -> None:
    costs = read_costs()
    for workers in (10, 100):
        parts = bound(SMALL, costs, workers)
        least = parts.pop("plan") + max(parts.values())
        assert least <= simulate(SMALL, costs, workers).seconds <= 1.5 * least


def test_workers_that_are_killed_cost_their_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_workers, "SPREAD", 0.0)
    undisturbed = simulate(SMALL, FREE, 1)
    monkeypatch.setattr(many_workers, "KILLS_AN_HOUR", 20.0)
    killed = simulate(SMALL, FREE, 1)
    assert undisturbed.seconds < killed.seconds
    restarts = (killed.seconds - undisturbed.seconds - killed.lost_s) / many_workers.RESTART_S
    assert restarts == pytest.approx(round(restarts))
