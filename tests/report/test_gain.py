import pytest

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gain import Gain
from hmopt.analysis.resampling import Estimate
from hmopt.report.gain import gain_cells, granularity_name, verdict


def gain(value: float, low: float, high: float, evidence: Evidence, name: str = "label") -> Gain:
    estimate = Estimate(value, low, high)
    return Gain(
        name=name, over="common", gain=estimate, subjects=8, p_value=0.0039, p_adjusted=0.016, evidence=evidence
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "evidence", "expected"),
    [
        (0.004, 0.001, 0.006, Evidence.FOUND, "yes"),
        (0.004, -0.001, 0.006, Evidence.FOUND, "probably"),
        (0.001, 0.0005, 0.002, Evidence.FOUND, "a little"),
        (-0.001, -0.005, 0.002, Evidence.FOUND, "no evidence"),
        (0.0001, -0.0005, 0.0002, Evidence.NONE, "no"),
        (0.003, -0.001, 0.007, Evidence.NONE, "no evidence"),
        (0.003, 0.001, 0.007, Evidence.NONE, "no evidence"),
        (-0.003, -0.007, -0.001, Evidence.NONE, "no, it harms"),
        (0.025, 0.022, 0.029, Evidence.TOO_FEW, "too few subjects"),
    ],
)
def test_the_verdict_follows_from_the_test(
    value: float, low: float, high: float, evidence: Evidence, expected: str
) -> None:
    assert verdict(gain(value, low, high, evidence), worth=0.002) == expected


def test_cells_hold_the_gain_with_its_interval_and_both_p_values() -> None:
    cells = gain_cells(gain(0.0086, 0.0039, 0.0137, Evidence.FOUND), worth=0.002)
    assert list(cells.values()) == ["+0.009 (0.004 to 0.014)", "8", "0.004", "0.016", "yes"]


def test_a_product_of_kinds_is_called_by_both() -> None:
    assert granularity_name(gain(0.0, 0.0, 0.0, Evidence.NONE, "label × task")) == "structure × task"
