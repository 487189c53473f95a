import pandas as pd

from hmopt.data.pair_table import OF_PAIRS, subject_columns


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
