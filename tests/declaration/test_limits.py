"""Limits of metrics and fronts, as `[search]` declares them."""

from typing import Any

import pytest

from hmopt.declaration import SearchOptions, parse_study
from hmopt.errors import DeclarationError

VALUES: dict[str, Any] = {
    "name": "x",
    "cohort": {"manifest": "cohort.csv"},
    "preprocessing": {"shape": [16, 16]},
    "split": {"train": 1, "tune": 1, "search": 1},
}


def search(**options: Any) -> SearchOptions:
    return parse_study({**VALUES, "search": options}).search


def test_metrics_with_a_limit_or_on_a_front_are_measured_and_decide() -> None:
    found = search(reported=[], limits={"hd95_mm": 2}, fronts=[["dice:a", "log_jacobian_sd"]])
    assert found.all_limits == {"folding": 0.001, "hd95_mm": 2.0}
    assert found.deciding == ("dice", "folding", "hd95_mm")
    assert found.measured == ("dice", "folding", "hd95_mm", "log_jacobian_sd")
    assert found.all_fronts == [["dice:a", "log_jacobian_sd"]]
    assert search().all_fronts == [["dice", "folding"]]
    assert search(metric="folding").all_fronts == []


def test_the_limit_of_folding_may_stand_in_either_place() -> None:
    assert search(limits={"folding": 0.005}) == search(folding_limit=0.005)
    both = search(limits={"folding": 0.005, "hd95_mm": 2.0}, folding_limit=0.005)
    assert both.all_limits == {"folding": 0.005, "hd95_mm": 2.0}
    assert SearchOptions(**both.model_dump()) == both
    with pytest.raises(DeclarationError, match=r"either folding_limit or limits\.folding"):
        search(limits={"folding": 0.005}, folding_limit=0.001)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": {"hd95": 2.0}}, r"hd95_mm\?"),
        ({"limits": {"dice": 1.5}}, r"expected a limit of dice in \[0, 1\]"),
        ({"limits": {"folding": -0.1}}, "folding_limit"),
        ({"limits": {"hd95_mm": float("nan")}}, "limits"),
        ({"limits": 3}, "limits"),
        ({"fronts": [["dice"]]}, "fronts"),
        ({"fronts": [["dice", "dice"]]}, "expected each metric once"),
        ({"fronts": [["dice", "smoothness"]]}, "expected one of dice"),
    ],
)
def test_what_is_no_limit_or_front_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        search(**options)
