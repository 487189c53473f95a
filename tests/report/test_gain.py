import math

import pytest

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain, adjusted
from hmopt.analysis.jackknife import Mean
from hmopt.report.summary import gain_numbers
from hmopt.report.words import gain_cells, granularity_name, verdict


def gain(value: float, error: float, subjects: int = 8, name: str = "label") -> Gain:
    mean = Mean(value=value, error=error, freedom=subjects - 1, subjects=subjects)
    unpooled = Mean(value=value - 0.002, error=error, freedom=subjects - 1, subjects=subjects)
    untested = Gain(
        name=name,
        over="common",
        mean=mean,
        unpooled=unpooled,
        p_adjusted=mean.p_value,
        choosing=6,
        evidence=Evidence.NONE,
    )
    (tested,) = adjusted([untested], margin=0.002)
    return tested


@pytest.mark.parametrize(
    ("value", "error", "subjects", "expected"),
    [
        (0.008, 0.002, 8, "yes"),
        (0.004, 0.002, 8, "no evidence"),
        (-0.001, 0.002, 8, "no evidence"),
        (0.0001, 0.0005, 8, "negligible"),
        (0.0012, 0.0003, 8, "negligible"),
        (-0.008, 0.002, 8, "no, worse"),
        (0.025, 0.001, 4, "too few subjects"),
        (0.025, math.nan, 8, "too few subjects"),
    ],
)
def test_the_verdict_follows_from_the_test_and_the_interval(
    value: float, error: float, subjects: int, expected: str
) -> None:
    assert verdict(gain(value, error, subjects)) == expected


def test_cells_hold_the_gain_with_its_interval_the_unpooled_one_and_both_p_values() -> None:
    found = gain(0.0086, 0.002)
    cells = gain_cells(found)
    # 0.0086 ± 2.3646 · 0.002, t = 4.3 with 7 degrees of freedom
    assert list(cells.values()) == [
        "+0.009 (0.004 to 0.013)",
        "+0.007",
        "8",
        "0.004",
        "0.004",
        "yes",
    ]


def test_of_few_subjects_a_cell_has_no_interval_and_no_p_value() -> None:
    cells = gain_cells(gain(0.0086, 0.002, subjects=4))
    assert list(cells.values()) == ["+0.009", "+0.007", "4", "–", "–", "too few subjects"]


def test_numbers_say_what_was_compared_and_on_how_many_subjects() -> None:
    numbers = gain_numbers(gain(0.0086, 0.002))
    assert (numbers["over"], numbers["subjects"], numbers["choosing"]) == ("common", 8, 6)
    assert numbers["gain"] == pytest.approx(0.0086)
    assert numbers["gain_unpooled"] == pytest.approx(0.0066)
    assert numbers["interval"] == pytest.approx(
        [0.0086 - 2.364624 * 0.002, 0.0086 + 2.364624 * 0.002]
    )
    assert numbers["evidence"] == "evidence"


def test_a_product_of_kinds_is_called_by_both() -> None:
    assert granularity_name(gain(0.0, 0.001, name="label × task")) == "structure × task"
