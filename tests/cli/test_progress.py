import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from hmopt.cli import progress
from hmopt.cli.progress import Bars, Lines, RecentRate, tracker


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def slowly(clock: Clock, count: int, seconds: float) -> Iterator[int]:
    for item in range(count):
        yield item
        clock.now += seconds


def written(clock: Clock, count: int, seconds: float, start: int = 0) -> list[str]:
    out = io.StringIO()
    track = Lines(Console(file=out))
    assert list(track(slowly(clock, count, seconds), "Training", start + count, start)) == list(
        range(count)
    )
    return out.getvalue().splitlines()


def test_short_work_leaves_no_line(clock: Clock) -> None:
    assert written(clock, count=4, seconds=0.1) == []


def test_long_work_tells_the_time_left_at_the_rate_so_far(clock: Clock) -> None:
    first, *_, last = written(clock, count=10, seconds=3.0)
    assert first == "Training: 1 of 10, 27 s left"
    assert last == "Training: done in 30 s"


def test_lines_are_a_quarter_of_a_minute_apart(clock: Clock) -> None:
    assert len(written(clock, count=60, seconds=1.0)) == 1 + 3 + 1


def test_continued_work_counts_what_was_done_but_not_its_speed(clock: Clock) -> None:
    assert written(clock, count=10, seconds=3.0, start=90)[0] == "Training: 91 of 100, 27 s left"


def test_a_pause_stops_counting_a_minute_after_the_work_went_on(clock: Clock) -> None:
    def paused() -> Iterator[int]:
        for item in range(1000):
            yield item
            clock.now += 3 * 3600 if item == 100 else 1.0

    out = io.StringIO()
    assert len(list(Lines(Console(file=out))(paused(), "Training", 1000))) == 1000
    lines = {int(line.split()[1]): line for line in out.getvalue().splitlines()[:-1]}
    later = next(line for done, line in lines.items() if done > 165)
    done = int(later.split()[1])
    minutes_left = (1000 - done) / 60
    assert later.endswith(f"{minutes_left:.0f} min left")


def test_the_time_left_follows_a_rate_that_changes(clock: Clock) -> None:
    rate = RecentRate()
    for done in range(1, 121):
        clock.now += 1.0 if done <= 30 else 4.0
        rate.update(done)
    assert rate.time_left(10) == "40 s"


def test_long_items_tell_the_time_left_too(clock: Clock) -> None:
    rate = RecentRate()
    clock.now += 600.0
    rate.update(1)
    assert rate.time_left(2) == "20 min"


def test_a_terminal_gets_bars_that_can_lie_within_each_other() -> None:
    out = io.StringIO()
    bars = tracker(Console(file=out, force_terminal=True), quiet=False)
    assert isinstance(bars, Bars)
    assert [(a, b) for a in bars([1, 2], "Outer", 2) for b in bars([3], "Inner", 1)] == [
        (1, 3),
        (2, 3),
    ]
    assert "Outer" in out.getvalue()
    assert "Inner" in out.getvalue()
