"""Alternating timings of several functions."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians(
    sides: Mapping[str, Callable[[], object]], repetitions: int, warm_up: int = 1
) -> dict[str, float]:
    """Return the median seconds of each function, run alternately in an order that rotates every round.

    Parameters
    ----------
    sides
        Functions to time, by name.
    repetitions
        Timed rounds.
    warm_up
        Untimed rounds before them.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(warm_up + repetitions):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds = timed(sides[name])
            if turn >= warm_up:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def milliseconds(seconds: Mapping[str, float]) -> str:
    """Format times as a note: `hmopt 12.1 ms, VoxelMorph 40.2 ms`."""
    return ", ".join(f"{name} {1000 * value:.3g} ms" for name, value in seconds.items())
