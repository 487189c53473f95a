"""How often verdicts about gains are false alarms, and how often they find true gains.

`python studies/synthetic/calibration.py` simulates cohorts whose pairs share subjects and whose labels share one
deformation, and takes each through the code that a report is made with, up to its headline. In one set of them no
setting is better than another, so that every claim is a false alarm; in the other there is a gain to find.
"""

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.analysis import analyse_scopes, simulation
from hmopt.declaration import SearchOptions
from hmopt.files import replacing
from hmopt.ledger import Measurements, Searched
from hmopt.report import Material, improvements
from hmopt.search import Scope
from hmopt.study_folder import StudyFolder

RESULTS = Path(__file__).parent / "results"
DESIGNS = {5: 20, 8: 56, 12: 132, 20: 200, 40: 200, 60: 240}
"""Ordered pairs by subjects: all possible ones where subjects are few."""
LABELS = 4
SHARED_BY_LABELS = 0.6
CURVATURE = 0.2
COHORTS, COHORTS_WITH_GAIN = 1000, 200
QUESTIONS = ("cohort", "worse", "label", "headline")
SCOPES = (
    Scope(criteria=()),
    *(Scope(criteria=(("label", f"label {number}"),)) for number in range(LABELS)),
)
SECTION = SearchOptions(scopes=[["cohort"], ["label"]], reported=[])

NO_GAIN = simulation.flat(LABELS)
GAIN = simulation.shifted(np.linspace(0.0, 0.4, LABELS).tolist(), CURVATURE)
"""Best settings of labels lie between 0 and 0.4: the best single one, 0.2, gains 0.018 over the default 0.5, and a
label at either end gains 0.008 over the best single one."""


def material(measurements: Measurements) -> Material:
    """Analyse measurements as a report does."""
    searched = Searched(
        name="simulated",
        identity="simulated",
        identity_half=None,
        labels=measurements.labels,
        spacing_mm=None,
        space=measurements.space,
        loss={},
        loss_scale=1.0,
        search=SECTION,
    )
    return Material(
        files=StudyFolder(Path()),
        study=None,
        searched=searched,
        facts={},
        measurements=measurements,
        half=None,
        before=None,
        training=None,
        findings=tuple(analyse_scopes(measurements, None, SCOPES, SECTION)),
    )


def claims(curves: NDArray[np.float64], subjects: int, seed: int) -> dict[str, bool]:
    """Return which claims are made of one simulated cohort.

    `cohort`: the best single setting improves on the default, a question by itself; `worse`: it is worse; `label`: some
    label improves on the best single setting, corrected for the number of labels; `headline`: any improvement that the
    report's first sentence may claim.
    """
    simulated = simulation.simulate(curves, subjects, DESIGNS[subjects], seed, SHARED_BY_LABELS)
    found = material(simulation.sweep(simulated))
    held_out = found.cohort.held_out
    assert held_out is not None
    over_default = held_out.over_default
    differs = over_default.p_value <= 0.05
    return {
        "cohort": differs and over_default.value > 0,
        "worse": differs and over_default.value < 0,
        "label": any(gain.improves for gain in found.gains.values()),
        "headline": bool(improvements(found)),
    }


def rates(
    curves: NDArray[np.float64], subjects: int, cohorts: int, processes: int = 1
) -> dict[str, float]:
    """Return the share of simulated cohorts in which each question is answered by an improvement."""
    run = partial(claims, curves, subjects)
    if processes == 1:
        answers = [run(seed) for seed in range(cohorts)]
    else:
        with multiprocessing.Pool(processes) as pool:
            answers = pool.map(run, range(cohorts), chunksize=10)
    return {
        question: float(np.mean([answer[question] for answer in answers])) for question in QUESTIONS
    }


def calibrate(
    subjects: int, cohorts: int, with_gain: int, processes: int = 1
) -> list[dict[str, object]]:
    """Return the rows of the table for one number of subjects."""
    alarms = rates(NO_GAIN, subjects, cohorts, processes)
    power = rates(GAIN, subjects, with_gain, processes)
    return [
        {
            "subjects": subjects,
            "question": question,
            "cohorts": cohorts,
            "false_alarm_rate": round(alarms[question], 4),
            "power": round(power[question], 4),
        }
        for question in QUESTIONS
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `results/calibration.csv`, one number of subjects after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--cohorts", type=int, default=COHORTS)
    chosen = parser.parse_args(arguments)
    began, rows = time.monotonic(), []
    for subjects in DESIGNS:
        rows += calibrate(
            subjects, chosen.cohorts, min(COHORTS_WITH_GAIN, chosen.cohorts), chosen.processes
        )
        with replacing(RESULTS / "calibration.csv") as path:
            pd.DataFrame(rows).to_csv(path, index=False)
        print(
            pd.DataFrame(rows[-len(QUESTIONS) :]).to_string(index=False),
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
