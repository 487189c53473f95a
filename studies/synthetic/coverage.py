"""How often intervals hold the truth: `python studies/synthetic/coverage.py`.

Made-up cohorts whose best settings are known, through the code that a study's report is made with.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from hmopt.analysis import ModelAnalysis, simulation
from hmopt.declaration import SearchOptions
from hmopt.files import replacing
from hmopt.search import Scope

RESULTS = Path(__file__).parent / "results"
DESIGNS = ((8, 56), (12, 132), (20, 200), (40, 200), (40, 800))
"""Subjects and ordered pairs: some of all possible ones where subjects are many."""
CURVATURES = {"sharp": 0.3, "curved": 0.1, "flat": 0.02}
SECTION = SearchOptions(metric="dice")
COHORTS = 500


def cover(subjects: int, pairs: int, curvature: float, cohorts: int) -> dict[str, float]:
    """Return how often the interval of the best setting, and of its score, hold those of the population."""
    held, widths = [], []
    for seed in range(cohorts):
        best = np.random.default_rng([seed, subjects, pairs]).uniform(0.2, 0.7)
        curve = simulation.response(best, curvature)
        view = ModelAnalysis(
            simulation.sweep(simulation.simulate(curve[None], subjects, pairs, seed)), SECTION
        ).of(Scope(criteria=()))
        assert view is not None
        optimum = view.optimum
        (interval,) = optimum.intervals.values()
        score, truth = optimum.score, curve[optimum.index[0]]
        held.append(
            [simulation.LATTICE[curve.argmax()] in interval, score.low <= truth <= score.high]
        )
        widths.append(interval.high - interval.low)
    coverage, of_score = np.mean(held, axis=0)
    return {"coverage": coverage, "coverage_of_score": of_score, "width": float(np.median(widths))}


def main() -> None:
    """Write the table."""
    began = time.monotonic()
    covered = [
        {"subjects": subjects, "pairs": pairs, "response": name, "cohorts": COHORTS}
        | cover(subjects, pairs, curvature, COHORTS)
        for subjects, pairs in DESIGNS
        for name, curvature in CURVATURES.items()
    ]
    _write(pd.DataFrame(covered), "coverage.csv")
    print(f"{time.monotonic() - began:.0f} s")


def _write(table: pd.DataFrame, name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    with replacing(RESULTS / name) as path:
        table.round(4).to_csv(path, index=False)
    print(table.to_string(), flush=True)


if __name__ == "__main__":
    main()
