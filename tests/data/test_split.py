import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmopt.data.split import split_subjects
from hmopt.declaration import SplitOptions
from hmopt.errors import DataError

SUBJECTS = [f"s{i}" for i in range(10)]


@settings(max_examples=30, deadline=None)
@given(
    train=st.integers(0, 5),
    tune=st.integers(0, 2),
    search=st.integers(0, 3),
    seed=st.integers(0, 100),
)
def test_sides_have_the_declared_counts_and_share_nobody(
    train: int, tune: int, search: int, seed: int
) -> None:
    # every subject has two scans
    sides = split_subjects(
        SUBJECTS * 2, SplitOptions(train=train, tune=tune, search=search, seed=seed)
    )
    assert {side: len(subjects) for side, subjects in sides.items()} == {
        "train": train,
        "tune": tune,
        "search": search,
    }
    dealt = [subject for subjects in sides.values() for subject in subjects]
    assert len(set(dealt)) == len(dealt)
    assert set(dealt) <= set(SUBJECTS)


def test_named_subjects_serve_where_they_are_named() -> None:
    sides = split_subjects(
        SUBJECTS, SplitOptions(train=6, tune=["s3"], search=["s1", "s7"], seed=4)
    )
    assert sides["tune"] == ["s3"]
    assert sides["search"] == ["s1", "s7"]
    assert not {"s1", "s3", "s7"} & set(sides["train"])


def test_the_seed_alone_decides_and_the_order_of_the_images_does_not() -> None:
    section = SplitOptions(train=4, tune=2, search=4, seed=5)
    assert split_subjects(SUBJECTS, section) == split_subjects(SUBJECTS[::-1], section)
    assert split_subjects(SUBJECTS, section) != split_subjects(
        SUBJECTS, section.model_copy(update={"seed": 6})
    )


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        (
            {"train": 8, "tune": 2, "search": 1},
            r"at most 10 subjects.*got 11 \(8 train \+ 2 tune \+ 1 search\)",
        ),
        ({"train": 8, "tune": 1, "search": ["s1", "s2"]}, "at most 8 subjects.*got 9"),
        ({"train": ["s1"], "tune": ["s1"], "search": 1}, "s1 twice"),
        ({"train": ["nobody"], "tune": 1, "search": 1}, "subjects of the cohort, got nobody"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(section: dict[str, object], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        split_subjects(SUBJECTS, SplitOptions.model_validate(section))
