import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmopt.declaration import SearchOptions
from hmopt.errors import SearchError
from hmopt.search.scopes import Scope, expand_scope, find_scope, list_scopes

LABELS = ("thalamus", "cortex")


def names(scopes: list[list[str]], pairs: pd.DataFrame, minimum_partners: int = 2) -> list[str]:
    section = SearchOptions(scopes=scopes, min_paired_subjects=minimum_partners)
    return [scope.name for scope in list_scopes(section, pairs, LABELS)]


def test_names_tell_what_is_selected(pair_table: pd.DataFrame) -> None:
    assert names([["cohort"], ["task"], ["label"], ["modality"]], pair_table) == [
        "cohort",
        "task=cross",
        "task=within",
        "label=thalamus",
        "label=cortex",
        "modality=T1",
        "modality=T1→T2",
    ]


def test_products_without_pairs_are_left_out(pair_table: pd.DataFrame) -> None:
    found = names([["age", "task"], ["cohort", "label"], ["label"]], pair_table)
    assert found[:3] == ["age=60–75, task=cross", "age=75–90, task=cross", "age=75–90, task=within"]
    assert found[3:] == ["label=thalamus", "label=cortex"]


def test_a_subject_counts_in_either_role_and_is_no_partner_of_itself(
    pair_table: pd.DataFrame,
) -> None:
    mask = Scope(criteria=(("subject", "017"),)).mask(pair_table)
    assert pair_table.loc[mask, "pair"].tolist() == [
        "007-1->017-1",
        "017-1->007-1",
        "017-1->027-1",
        "027-1->017-1",
        "017-1->017-2",
    ]
    assert names([["subject"]], pair_table) == ["subject=007", "subject=017", "subject=027"]
    assert names([["subject"]], pair_table, minimum_partners=3) == []
    assert names([["subject", "task"]], pair_table) == [
        f"subject={s}, task=cross" for s in ("007", "017", "027")
    ]


def test_a_scope_that_is_declared_twice_is_there_once(pair_table: pd.DataFrame) -> None:
    assert names([["cohort"], ["cohort"], []], pair_table) == ["cohort"]


def test_an_unknown_kind_of_scope_is_refused_with_the_near_ones(pair_table: pd.DataFrame) -> None:
    with pytest.raises(
        SearchError,
        match=r"scopes: expected a kind of scope, got 'modallity'. Choose one of: modality",
    ):
        names([["modallity"]], pair_table)
    with pytest.raises(SearchError, match="got 'moving'"):
        names([["moving"]], pair_table)


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=30))
def test_values_of_a_column_share_its_pairs_out(values: list[str]) -> None:
    rows = [(str(place), "m", "f", "m", "f", "cross", value) for place, value in enumerate(values)]
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task", "site"]
    pairs = pd.DataFrame(rows, columns=columns)
    masks = [
        scope.mask(pairs) for scope in list_scopes(SearchOptions(scopes=[["site"]]), pairs, LABELS)
    ]
    assert np.sum([np.zeros(len(values)), *masks], axis=0).tolist() == [
        int(value != "") for value in values
    ]


def test_any_scope_can_be_asked_for(pair_table: pd.DataFrame) -> None:
    scope = find_scope({"subject": "017", "label": "cortex", "age": "60–75"}, pair_table, LABELS, 1)
    assert scope.name == "subject=017, label=cortex, age=60–75"
    assert scope.label == "cortex"
    assert pair_table.loc[scope.mask(pair_table), "pair"].tolist() == [
        "007-1->017-1",
        "017-1->007-1",
        "017-1->027-1",
    ]
    assert find_scope({}, pair_table, LABELS, 10).name == "cohort"


def test_a_pair_of_groups_may_be_typed_without_its_arrow(pair_table: pd.DataFrame) -> None:
    typed = find_scope({"modality": "T1->T2", "label": "cortex"}, pair_table, LABELS, 1)
    assert typed == Scope(criteria=(("modality", "T1→T2"), ("label", "cortex")))
    assert typed.mask(pair_table).sum() == 4
    (expanded,) = expand_scope(
        {"modality": "T1->T2", "task": "*"}, pair_table.iloc[4:6], LABELS, min_paired_subjects=1
    )
    assert expanded.criteria == (("modality", "T1→T2"), ("task", "cross"))
    with pytest.raises(
        SearchError, match="modality: expected a value that was searched, got 'T2->T1'"
    ):
        find_scope({"modality": "T2->T1"}, pair_table, LABELS, 1)


def test_a_value_that_has_such_an_arrow_itself_is_found_as_it_is(pair_table: pd.DataFrame) -> None:
    pairs = pair_table.assign(phase=["a->b"] * 5 + ["a→b"] * 4)
    scope = find_scope({"phase": "a->b"}, pairs, LABELS, 1)
    assert scope.name == "phase=a->b"
    assert scope.mask(pairs).sum() == 5


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        (
            {"label": "thalamos"},
            r"label: expected a value that was searched, got 'thalamos'. Choose one of: thalamus",
        ),
        ({"subject": "17"}, r"got '17'. Choose one of: 017"),
        ({"color": "red"}, "scopes: expected a kind of scope, got 'color'"),
        ({"age": "60–75", "task": "within"}, "expected pairs in it, got age=60–75, task=within"),
        ({"subject": "017", "task": "within"}, "expected a subject with at least 2 partners"),
    ],
)
def test_a_scope_that_is_not_there_is_refused(
    criteria: dict[str, str], message: str, pair_table: pd.DataFrame
) -> None:
    with pytest.raises(SearchError, match=message):
        find_scope(criteria, pair_table, LABELS, 2)
