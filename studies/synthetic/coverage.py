"""How often intervals hold the truth, and tests raise false alarms: `python studies/synthetic/coverage.py`.

Made-up cohorts whose best settings are known, through the code that a study's report is made with.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.analysis.evidence import LEVEL, Evidence
from hmopt.analysis.finding import find_all
from hmopt.analysis.gain import gains_of_scopes
from hmopt.analysis.simulation import LATTICE, response, shifted, simulate, sweep
from hmopt.analysis.source import Source
from hmopt.declaration import SearchSection
from hmopt.files import replacing
from hmopt.search.scopes import Scope

RESULTS = Path(__file__).parent / "results"
DESIGNS = ((8, 56), (12, 132), (20, 200), (40, 200), (40, 800))
"""Subjects and ordered pairs: some of all possible ones where subjects are many."""
CURVATURES = {"sharp": 0.3, "curved": 0.1, "flat": 0.02}
SECTION = SearchSection(metric="dice", repeats=5)
LABELS = 4
COHORTS = 500
GAIN_COHORTS = {0.0: 400, 0.3: 100}
"""Cohorts by how far apart the best settings of labels lie: 0 where nothing is to be gained, all alarms are false."""


def cover(subjects: int, pairs: int, curvature: float, cohorts: int) -> dict[str, float]:
    """Give how often the interval of the best setting, and of its score, hold those of the population."""
    held, widths = [], []
    for seed in range(cohorts):
        best = np.random.default_rng([seed, subjects, pairs]).uniform(0.2, 0.7)
        curve = response(best, curvature)
        view = Source(sweep(simulate(curve[None], subjects, pairs, seed)), SECTION).view(Scope(criteria=()))
        assert view is not None
        optimum = view.optimum
        (interval,) = optimum.intervals.values()
        score, truth = optimum.score, curve[optimum.index[0]]
        held.append([LATTICE[curve.argmax()] in interval, score.low <= truth <= score.high])
        widths.append(interval.high - interval.low)
    coverage, of_score = np.mean(held, axis=0)
    return {"coverage": coverage, "coverage_of_score": of_score, "width": float(np.median(widths))}


def alarm(subjects: int, pairs: int, shift: float, cohorts: int) -> dict[str, float]:
    """Give how often a gain of a label's own setting is found: for a label, and for any of them after Holm."""
    single, together = [], []
    scopes = [Scope(criteria=(("label", f"label {number}"),)) for number in range(LABELS)]
    curves = shifted(np.linspace(0.45 - shift / 2, 0.45 + shift / 2, LABELS).tolist(), CURVATURES["curved"])
    for seed in range(cohorts):
        measurements = sweep(simulate(curves, subjects, pairs, seed))
        gains = gains_of_scopes(find_all(measurements, None, scopes, SECTION), measurements.pairs)
        single.append([gain.p_value <= LEVEL for gain in gains])
        together.append(any(gain.evidence is Evidence.FOUND for gain in gains))
    return {"found": float(np.mean(single)), "found_any_by_holm": float(np.mean(together))}


def main() -> None:
    """Write both tables."""
    began = time.monotonic()
    covered = [
        {"subjects": subjects, "pairs": pairs, "response": name, "cohorts": COHORTS}
        | cover(subjects, pairs, curvature, COHORTS)
        for subjects, pairs in DESIGNS
        for name, curvature in CURVATURES.items()
    ]
    _write(pd.DataFrame(covered), "coverage.csv")
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    alarmed = [
        {"subjects": subjects, "pairs": pairs, "shift": shift, "cohorts": cohorts}
        | alarm(subjects, pairs, shift, cohorts)
        for subjects, pairs in DESIGNS[:-1]
        for shift, cohorts in GAIN_COHORTS.items()
    ]
    _write(pd.DataFrame(alarmed), "gain_test.csv")
    print(f"{time.monotonic() - began:.0f} s")


def _write(table: pd.DataFrame, name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    with replacing(RESULTS / name) as path:
        table.round(4).to_csv(path, index=False)
    print(table.to_string(), flush=True)


if __name__ == "__main__":
    main()
