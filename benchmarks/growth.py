"""Growth of time and memory with subjects, labels, voxels and studies, drawn as curves.

Run `python -m benchmarks.growth`. Every point is measured in a process of its own, its memory as
the largest `RssAnon` (`benchmarks.memory`). Time is a multiple of the first point's, since seconds
of a shared machine mean little. Subjects and labels change the size of the cohort but not the
number of pairs: both curves should be flat. With voxels time and memory should grow in proportion;
with studies, the time to find λ* of every scope in a full ledger.
"""

import csv
import itertools
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.memory import peak_anonymous
from benchmarks.timing import timed
from hmopt.files import replacing

FOLDER = Path(__file__).parent
POINTS: dict[str, tuple[int, ...]] = {
    "subjects": (20, 60, 200, 1000),
    "labels": (2, 9, 35, 139),
    "voxels": (16**3, 32**3, 64**3, 96**3),
    "studies": (10, 100, 1000, 3000),
}
TIMED = {
    "subjects": "time of a pair",
    "labels": "time of a pair",
    "voxels": "time of a pair",
    "studies": "time for λ* of all",
}
FLAT = ("subjects", "labels")
PAIRS, REPETITIONS = 16, 3


def time_sweep(
    folder: Path, subjects: int, shape: tuple[int, ...], labels: int, pairs: int = PAIRS
) -> float:
    """Return the seconds of a pair in a sweep with hmopt's default network."""
    from benchmarks.cohorts import make_cohort, make_hypermorph, make_pairs
    from hmopt.declaration import NetworkOptions
    from hmopt.oracle import AmortizedOracle

    cohort = make_cohort(folder / "cohort", subjects, shape, labels)
    oracle = AmortizedOracle(make_hypermorph(NetworkOptions(), shape), cohort)
    chosen, settings = make_pairs(cohort, pairs), itertools.count(1)

    def measured() -> object:
        setting = (next(settings),)
        return list(oracle.measure([setting], chosen, ("dice", "folding")))

    measured()
    return min(timed(measured) for _ in range(REPETITIONS)) / pairs


def time_studies(folder: Path, studies: int) -> float:
    """Return the seconds to find λ* of a number of scopes, subjects times labels, from a full ledger."""
    import numpy as np

    from benchmarks.cohorts import SPACE, make_pairs, open_cohort
    from hmopt.data import pair_table
    from hmopt.declaration import SearchOptions
    from hmopt.ledger import Ledger
    from hmopt.records import Block
    from hmopt.search import find_curves, list_scopes

    section = SearchOptions(scopes=[["subject", "label"]], reported=[], min_paired_subjects=1)
    cohort = open_cohort(folder, subjects=100, labels=30)
    pairs, random, ledger = (
        make_pairs(cohort, 400),
        np.random.default_rng(0),
        Ledger(folder / "ledger"),
    )
    ids = tuple(pair.id for pair in pairs)
    for index in SPACE.coarse(section.coarse):
        values = {"dice": random.random((len(pairs), 30)), "folding": random.random(len(pairs))}
        ledger.write(
            "full", SPACE, [Block(index=index, pairs=ids, labels=cohort.labels, values=values)]
        )
    table = pair_table(pairs, cohort, {})

    def optima() -> list[int]:
        measurements = ledger.measurements("full", SPACE, table, section.measured, cohort.labels)
        scopes = list_scopes(section, table, cohort.labels)[:studies]
        return [curve.best() for curve in find_curves(measurements, scopes, section.metric)]

    optima()
    return min(timed(optima) for _ in range(REPETITIONS))


MEASURED: dict[str, Callable[[Path, int], float]] = {
    "subjects": lambda folder, count: time_sweep(folder, count, (32, 32, 32), 9, pairs=200),
    "labels": lambda folder, count: time_sweep(folder, 8, (48, 64, 48), count),
    "voxels": lambda folder, count: time_sweep(
        folder, 4, (round(count ** (1 / 3)),) * 3, 9, pairs=4
    ),
    "studies": time_studies,
}


def measure_point(quantity: str, count: int) -> tuple[float, float]:
    """Return seconds and megabytes at a point, measured in a process of its own."""
    peak, printed = peak_anonymous(
        [sys.executable, "-m", "benchmarks.growth", quantity, str(count)]
    )
    return float(printed.split()[-1]), peak / 1e6


def draw(points: Mapping[str, Sequence[tuple[int, float, float]]], path: Path) -> None:
    """Draw time and memory against each quantity; dashed, growth in proportion."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2, len(points), figsize=(3.2 * len(points), 5.6), layout="constrained"
    )
    for column, (quantity, rows) in enumerate(points.items()):
        counts, seconds, megabytes = zip(*rows, strict=True)
        time, memory = axes[:, column]
        time.loglog(counts, [value / seconds[0] for value in seconds], "k-o", label="measured")
        time.loglog(
            counts,
            [count / counts[0] for count in counts],
            "k--",
            linewidth=0.8,
            label="in proportion",
        )
        time.set(title=quantity, ylabel=f"{TIMED[quantity]}, × the first")
        memory.semilogx(counts, megabytes, "k-s")
        memory.set(
            xlabel=quantity, ylabel="peak anonymous memory, MB", ylim=(0, 1.2 * max(megabytes))
        )
        if quantity in FLAT:
            time.set_ylim(0.3, None)
    axes[0, 0].legend(frameon=False)
    for suffix in (".png", ".svg"):
        with replacing(path.with_suffix(suffix)) as beside:
            figure.savefig(
                beside,
                format=suffix[1:],
                dpi=150,
                metadata={"Date": None} if suffix == ".svg" else None,
            )
    plt.close(figure)


def draw_growth() -> None:
    """Measure every point, and write `growth.csv`, `growth.png` and `growth.svg`."""
    points = {
        quantity: [(count, *measure_point(quantity, count)) for count in counts]
        for quantity, counts in POINTS.items()
    }
    with (
        replacing(FOLDER / "growth.csv") as beside,
        beside.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["quantity", "count", "seconds", "peak_anonymous_mb"])
        writer.writerows(
            [q, count, f"{s:.4g}", f"{mb:.0f}"]
            for q, rows in points.items()
            for count, s, mb in rows
        )
    draw(points, FOLDER / "growth.png")


def print_point(quantity: str, count: int) -> None:
    """Measure a point in this process, as hmopt's commands run, and print its seconds."""
    import torch

    from hmopt.workflow import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        print(MEASURED[quantity](Path(folder), count))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print_point(sys.argv[1], int(sys.argv[2]))
    else:
        draw_growth()
