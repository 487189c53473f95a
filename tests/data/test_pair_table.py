import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmopt.data.pair_table import OF_PAIRS, pair_table, subject_columns
from hmopt.data.prepared import PreparedCohort
from hmopt.errors import DeclarationError
from hmopt.records import Pair


def make_cohort(subjects: int) -> PreparedCohort:
    """Two sessions, a and b, of each subject; ages 20, 30, 40, …"""
    rows = [
        {
            "name": f"{number}{letter}",
            "subject": f"s{number}",
            "scan": f"{number}{letter}",
            "slice": -1,
            "split": "search",
            "session": session,
            "age": 20.0 + 10 * number,
        }
        for number in range(subjects)
        for letter, session in (("a", "ses-1"), ("b", "ses-2"))
    ]
    return PreparedCohort(
        folder=Path(),
        images=pd.DataFrame(rows).set_index("name"),
        labels=("a",),
        shape=(4, 4),
        spacing_mm=None,
        identity="x",
    )


def table(columns: dict[str, list[str]]) -> pd.DataFrame:
    """Pairs a→b, b→c and c→c, the last of two scans."""
    sides = [
        ("a1", "b1", "a", "b", "cross"),
        ("b1", "c1", "b", "c", "cross"),
        ("c1", "c2", "c", "c", "within"),
    ]
    rows = [(f"{moving}->{fixed}", moving, fixed, *rest) for moving, fixed, *rest in sides]
    return pd.DataFrame(rows, columns=OF_PAIRS).assign(**columns)


def test_numbers_come_back_as_numbers() -> None:
    ages = subject_columns(table({"age": ["20→31.5", "31.5→40", "40"]}))["age"]
    assert pd.api.types.is_numeric_dtype(ages)
    assert ages.to_dict() == {"a": 20.0, "b": 31.5, "c": 40.0}


def test_a_value_that_differs_between_scans_is_none_of_the_subject() -> None:
    sessions = subject_columns(table({"session": ["1", "1", "1→2"]}))["session"]
    assert sessions.dropna().to_dict() == {"a": 1.0, "b": 1.0}


def test_what_is_not_known_is_missing_and_one_word_keeps_a_column_text() -> None:
    columns = subject_columns(
        table({"age": ["unknown→31", "31→40", "40"], "site": ["1→north", "north→3", "3"]})
    )
    assert columns["age"].dropna().to_dict() == {"b": 31.0, "c": 40.0}
    assert columns["site"].to_dict() == {"a": "1", "b": "north", "c": "3"}


def test_a_table_without_columns_tells_nothing() -> None:
    assert subject_columns(table({})).empty


def test_the_table_groups_pairs_by_value_by_two_values_and_by_bin() -> None:
    cohort = make_cohort(6)
    pair = Pair(moving="0a", fixed="4b", moving_subject="s0", fixed_subject="s4")
    within = Pair(moving="2b", fixed="2a", moving_subject="s2", fixed_subject="s2")
    table = pair_table([pair, within], cohort, {"age": [40, 60]})
    assert table.iloc[0].to_dict() == {
        "pair": "0a->4b",
        "moving": "0a",
        "fixed": "4b",
        "moving_subject": "s0",
        "fixed_subject": "s4",
        "task": "cross",
        "session": "ses-1→ses-2",
        "age": "<40→≥60",
    }
    assert table[["task", "session", "age"]].iloc[1].tolist() == ["within", "ses-2→ses-1", "40–60"]
    assert pair_table([pair], cohort, {})["age"].tolist() == ["20→60"]


def test_long_numbers_that_differ_are_groups_of_their_own() -> None:
    cohort = make_cohort(6)
    images = cohort.images.assign(age=[1660121.0 + row for row in range(len(cohort.images))])
    pair = Pair(moving="0a", fixed="4b", moving_subject="s0", fixed_subject="s4")
    (group,) = pair_table([pair], replace(cohort, images=images), {})["age"]
    moving, fixed = group.split("→")
    assert moving == "1660121"
    assert fixed.isdigit()
    assert fixed != moving


def test_a_missing_value_is_a_group_of_its_own() -> None:
    cohort = make_cohort(4)
    cohort.images.loc["0a", "session"] = ""
    cohort.images.loc["0a", "age"] = np.nan
    pair = Pair(moving="0a", fixed="1a", moving_subject="s0", fixed_subject="s1")
    table = pair_table([pair], cohort, {"age": [40]})
    assert table[["session", "age"]].iloc[0].tolist() == ["unknown→ses-1", "unknown→<40"]


@pytest.mark.parametrize(
    "bins", [{"age": [60, 40]}, {"age": []}, {"session": [1]}, {"height": [1]}]
)
def test_bins_that_cannot_be_are_refused(bins: dict[str, list[float]]) -> None:
    with pytest.raises(DeclarationError, match=r"search.bins"):
        pair_table([], make_cohort(4), bins)


def test_the_edge_of_a_bin_belongs_to_the_bin_above_it() -> None:
    pairs = [
        Pair(
            moving=f"{number}a",
            fixed=f"{number}b",
            moving_subject=f"s{number}",
            fixed_subject=f"s{number}",
        )
        for number in range(5)
    ]
    table = pair_table(pairs, make_cohort(5), {"age": [30, 50]})
    assert table["age"].tolist() == ["<30", "30–50", "30–50", "≥50", "≥50"]


def test_many_columns_are_not_added_one_by_one() -> None:
    cohort = make_cohort(2)
    further = {f"column {number}": [number] * 4 for number in range(150)}
    images = pd.concat([cohort.images, pd.DataFrame(further, index=cohort.images.index)], axis=1)
    pair = Pair(moving="0a", fixed="1a", moving_subject="s0", fixed_subject="s1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pair_table([pair], replace(cohort, images=images), {})
    assert found["column 149"].tolist() == ["149"]
    assert list(found.columns)[-2:] == ["column 148", "column 149"]
