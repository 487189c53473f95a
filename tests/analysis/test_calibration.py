"""How often verdicts are false alarms where no setting is better than another, through the whole pipeline."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hmopt.ledger.measurements import Measurements
from hmopt.report.material import Material

STUDY = Path(__file__).parents[2] / "studies" / "synthetic" / "calibration.py"
SUBJECTS, COHORTS, LEVEL = 8, 100, 0.05
MOST = float(stats.binom.ppf(0.999, COHORTS, LEVEL)) / COHORTS
"""A test at 5 % has more false alarms than this in one of a thousand runs."""

Alarms = dict[str, list[bool]]


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    spec = importlib.util.spec_from_file_location("calibration", STUDY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def judged(calibration: ModuleType) -> tuple[Alarms, Alarms]:
    """What is claimed of cohorts in which nothing is better: by the report, and by tests that break its rule."""
    analyse = calibration.material
    analysed: list[Material] = []

    def kept(measurements: Measurements) -> Material:
        analysed.append(analyse(measurements))
        return analysed[-1]

    ours: Alarms = {question: [] for question in calibration.QUESTIONS}
    theirs: Alarms = {name: [] for name in ("pairs", "means of subjects", "ranks of subjects")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "material", kept)
        for seed in range(COHORTS):
            for question, claimed in calibration.claims(
                calibration.NO_GAIN, SUBJECTS, seed
            ).items():
                ours[question].append(claimed)
            for name, claimed in taken_for_independent(analysed[-1]).items():
                theirs[name].append(claimed)
    return ours, theirs


def taken_for_independent(found: Material) -> dict[str, bool]:
    """Return whether the single best setting is claimed to improve on the default, pairs or subjects independent."""
    held = found.cohort.held_out
    assert held is not None
    gains, pairs = held.default_gains, found.measurements.pairs.iloc[held.pairs]
    moving, fixed = (pairs[f"{side}_subject"].to_numpy() for side in ("moving", "fixed"))
    means: NDArray[np.float64] = np.array(
        [gains[(moving == name) | (fixed == name)].mean() for name in sorted({*moving, *fixed})]
    )
    p_values = {
        "pairs": stats.ttest_1samp(gains, 0).pvalue,
        "means of subjects": stats.ttest_1samp(means, 0).pvalue,
        "ranks of subjects": stats.wilcoxon(means).pvalue,
    }
    return {name: bool(p_value <= LEVEL and gains.mean() > 0) for name, p_value in p_values.items()}


@pytest.mark.parametrize("question", ["cohort", "label", "headline"])
def test_false_alarms_are_no_more_frequent_than_the_level_allows(
    judged: tuple[Alarms, Alarms], question: str
) -> None:
    ours, _ = judged
    assert len(ours[question]) == COHORTS
    assert np.mean(ours[question]) <= MOST


@pytest.mark.parametrize("test", ["pairs", "means of subjects", "ranks of subjects"])
def test_tests_that_take_pairs_or_subjects_for_independent_break_the_same_bound(
    judged: tuple[Alarms, Alarms], test: str
) -> None:
    _, theirs = judged
    assert np.mean(theirs[test]) > MOST


def test_true_gains_are_found(calibration: ModuleType) -> None:
    found = calibration.rates(calibration.GAIN, SUBJECTS, cohorts=10)
    assert found["cohort"] >= 0.7
    assert found["headline"] >= found["cohort"]
