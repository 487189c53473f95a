from pathlib import Path

import pandas as pd
import pytest

from hmopt.analysis.power import POWER, describe_power
from hmopt.analysis.resampling import FEWEST_SUBJECTS

CALIBRATION = Path(__file__).parents[2] / "studies/synthetic/results/calibration.csv"


def test_the_power_is_what_the_calibration_found() -> None:
    table = pd.read_csv(CALIBRATION).pivot(index="subjects", columns="question", values="power")
    assert {number: (table["cohort"][number], table["label"][number]) for number in POWER} == POWER


def test_no_verdict_is_promised_where_there_is_no_interval() -> None:
    assert "no verdicts" in describe_power(FEWEST_SUBJECTS - 1)


@pytest.mark.parametrize(("subjects", "cohorts"), [(5, 5), (7, 5), (8, 8), (19, 12), (300, 20)])
def test_the_next_smaller_simulated_cohort_is_told(subjects: int, cohorts: int) -> None:
    assert f"simulated cohorts of {cohorts}," in describe_power(subjects)
