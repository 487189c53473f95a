"""Peak memory of a sweep, which should not depend on the size of the cohort.

The row measures the largest anonymous memory (`RssAnon` in `/proc/PID/status`) of a process of its
own that sweeps 500 pairs at one setting into a ledger: pages of the memory-mapped arrays of the
cohort are no part of it. With 10 subjects of 8 images each the pairs meet 80 images, with 1,000
subjects of one image all of them.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Measured, row

PAIRS = 500
COHORTS = {"10 subjects": (10, 8), "1,000 subjects": (1000, 1)}
POLL_SECONDS = 0.01


def peak_anonymous(command: list[str]) -> tuple[int, str]:
    """Run a command; return the largest `RssAnon` seen, in bytes, and its standard output.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = re.search(r"RssAnon:\s+(\d+) kB", status.read_text(encoding="utf-8"))
            peak = max(peak, 1024 * int(found[1]) if found else 0)
            time.sleep(POLL_SECONDS)
        printed = process.stdout.read() if process.stdout else ""
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}")
    return peak, printed


def sweep_cohort(folder: Path, subjects: int, images_each: int) -> None:
    """Sweep pairs of a cohort that `make_cohort` wrote, as a command does."""
    from benchmarks.cohorts import SHAPE, make_hypermorph, make_pairs, open_cohort
    from hmopt.declaration import NetworkOptions
    from hmopt.ledger import Ledger, Recorded
    from hmopt.oracle import AmortizedOracle
    from hmopt.workflow import keep_freed_memory

    keep_freed_memory()
    cohort = open_cohort(folder, subjects, images_each=images_each)
    oracle = AmortizedOracle(make_hypermorph(NetworkOptions(), SHAPE), cohort)
    recorded = Recorded(oracle, Ledger(folder / "ledger"))
    recorded.fill([(100,)], make_pairs(cohort, PAIRS), ("dice", "folding"))


@row(
    "memory-1000-subjects",
    goal=1.1,
    better="lower",
    unit="×",
    against="a sweep of as many pairs of 10 subjects",
    network="hmopt's default, 48×64×48",
)
def memory_of_many_subjects() -> Measured:
    """Peak anonymous memory of a sweep with 1,000 subjects against 10."""
    from benchmarks.cohorts import make_cohort

    peaks: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, (subjects, images_each) in COHORTS.items():
            folder = Path(place) / str(subjects)
            make_cohort(folder, subjects, images_each=images_each)
            command = [
                sys.executable,
                "-m",
                "benchmarks.memory",
                str(folder),
                str(subjects),
                str(images_each),
            ]
            peaks[name], _ = peak_anonymous(command)
    note = ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in peaks.items())
    return Measured(peaks["1,000 subjects"] / peaks["10 subjects"], note)


if __name__ == "__main__":
    sweep_cohort(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
