"""Leases: work is one worker's at a time, and is taken over from one that is gone."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hmopt.ledger import leases as leases_module
from hmopt.ledger.leases import FILE_NAME, Leases, Work
from hmopt.locks import Worker, this_worker

WORKS = [Work(of=name) for name in ("cohort", "label=thalamus", "label=cortex")]
ELSEWHERE = Worker(host="beta", machine="00000000", process=1, name="beta")


def as_worker(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    monkeypatch.setattr(leases_module, "this_worker", lambda: worker)


def names(works: tuple[Work, ...]) -> list[str]:
    return [work.of for work in works]


def test_what_one_worker_holds_no_other_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = Leases(tmp_path), Leases(tmp_path)
    me = this_worker()
    with here.holding(WORKS, most=1) as mine:
        as_worker(monkeypatch, ELSEWHERE)
        with there.holding(WORKS, most=9) as others:
            assert names(mine.works) == ["cohort"]
            # two are free for two workers: half of an equal share of them is one
            assert names(others.works) == ["label=thalamus"]
            assert others.others == (me,)
        with there.holding(WORKS[:1], most=9) as nothing:
            assert nothing.works == ()
        as_worker(monkeypatch, me)
    with here.holding(WORKS[:1], most=1) as again:
        assert names(again.works) == ["cohort"]


def test_a_worker_is_told_when_another_has_worked_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that hides it where only the last to end a lease is kept: theirs first, then one's own."""
    here, there = Leases(tmp_path), Leases(tmp_path)
    me = this_worker()
    with here.holding(WORKS, most=1) as held:
        assert not held.is_news
    with here.holding(WORKS, most=1) as held:
        assert not held.is_news  # nobody but this one
        as_worker(monkeypatch, ELSEWHERE)
        with there.holding(WORKS[1:], most=1):
            pass
        as_worker(monkeypatch, me)
    with here.holding(WORKS, most=1) as held:
        assert held.is_news


def test_work_of_an_ended_process_is_taken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    me = this_worker()
    gone = me.model_copy(update={"process": ended.pid, "name": "gone"})
    as_worker(monkeypatch, gone)
    taken = Leases(tmp_path)._take(WORKS, 3)
    assert len(taken.works) == 3
    as_worker(monkeypatch, me)
    with Leases(tmp_path).holding(WORKS, most=3) as held:
        assert held.works == taken.works
        assert held.is_news


class Clock:
    """A clock that the test sets."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def wait_for_beats(path: Path, of: str) -> None:
    """Wait until a worker's beats have changed."""

    def beats() -> list[int]:
        return [lease.beats for lease in leases_module._read(path).leases if lease.of == of]

    before = beats()
    until = time.monotonic() + 240
    while beats() in ([], before):  # none while the file is written
        assert time.monotonic() < until
        time.sleep(0.01)


def test_work_is_taken_over_only_from_a_worker_whose_beats_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_s = 0.4
    clock = Clock()
    monkeypatch.setattr(leases_module, "LEASE_S", lease_s)
    monkeypatch.setattr(leases_module, "time", clock)  # beats are at other times than looks
    me = this_worker()
    as_worker(monkeypatch, ELSEWHERE)
    silent = Leases(tmp_path)._take(WORKS[:1], 1)  # without a thread that beats
    beating = Leases(tmp_path)
    with beating.holding(WORKS[1:2], most=1) as alive:
        # from here on in the eyes of this process; the thread's beats are those of the other
        observer = Leases(tmp_path)

        def is_over(of_other: Work) -> bool:
            as_worker(monkeypatch, me)
            free = observer._is_free([of_other])
            as_worker(monkeypatch, ELSEWHERE)
            return free

        assert not is_over(WORKS[0])
        for _ in range(2):
            assert not is_over(WORKS[0])
            wait_for_beats(tmp_path / FILE_NAME, of=WORKS[1].of)
            clock.now_s += 0.6 * lease_s
            assert not is_over(WORKS[1])
        assert is_over(WORKS[0])
        assert not beating.holds(silent)
        assert beating.holds(alive)


def test_a_damaged_list_is_as_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"ended": 3, "leases": [{"key"')
    with Leases(tmp_path).holding(WORKS, most=3) as held:
        assert len(held.works) == 3


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        with pytest.raises(OSError, match=FILE_NAME), leases.holding(WORKS, most=3):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_blocks_conflict_where_they_share_a_pair_at_a_setting() -> None:
    block = Work(of="0f", settings=frozenset([(0,), (1,)]), pairs=frozenset(["a->b", "b->a"]))
    other_pairs = Work(of="0f", settings=frozenset([(1,)]), pairs=frozenset(["a->c"]))
    other_settings = Work(of="0f", settings=frozenset([(2,)]), pairs=frozenset(["a->b"]))
    shared = Work(of="0f", settings=frozenset([(1,), (2,)]), pairs=frozenset(["b->a"]))
    unregistered = Work(of="0f", settings=frozenset([()]), pairs=frozenset(["a->b"]))
    assert not block.overlaps(other_pairs)
    assert not block.overlaps(other_settings)
    assert block.overlaps(shared)
    assert unregistered.overlaps(unregistered)
