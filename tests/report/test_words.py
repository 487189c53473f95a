"""Numbers as a report writes them."""

import math

from hypothesis import given
from hypothesis import strategies as st

from hmopt.analysis.resampling import Estimate
from hmopt.report.words import estimate_text, gain_text, interval_text, signed_value

NUMBERS = st.floats(-1, 1).map(lambda value: value**3)


def numbers_of(text: str) -> tuple[float, float, float]:
    value, ends = text.replace("−", "-").rstrip(")").split(" (")
    low, high = ends.split(" to ")
    return float(value), float(low), float(high)


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS).map(sorted), st.sampled_from([2, 3, 4]))
def test_an_estimate_lies_in_its_interval_as_both_are_written(
    ends: list[float], digits: int
) -> None:
    low, value, high = ends
    found = Estimate(value, low, high)
    for text in (estimate_text(found, digits), gain_text(found, digits)):
        of_value, of_low, of_high = numbers_of(text)
        assert of_low <= of_value <= of_high


def test_narrow_intervals_give_their_estimates_more_digits() -> None:
    assert estimate_text(Estimate(0.00018, 0.0001, 0.0002)) == "0.0002 (0.0001 to 0.0002)"
    found = Estimate(-0.00002, -0.00004, -0.00001)
    assert gain_text(found, 4) == "−0.00002 (−0.00004 to −0.00001)"
    assert signed_value(found) == "−0.00002"
    assert interval_text(found) == "95 % interval −0.00004 to −0.00001"


def test_without_an_interval_an_estimate_has_the_digits_that_were_asked_for() -> None:
    found = Estimate(0.00018, math.nan, math.nan)
    assert (estimate_text(found), gain_text(found, 4)) == ("0.000", "+0.0002")
