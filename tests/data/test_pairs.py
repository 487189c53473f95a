from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmopt.data.pairs import draw_evenly, draw_pairs, possible_pairs
from hmopt.data.prepared import PreparedCohort
from hmopt.declaration import PairsOptions
from hmopt.declaration.study import read_declaration
from hmopt.errors import DataError, DeclarationError
from hmopt.records import Pair

STUDIES = Path(__file__).parents[2] / "studies"


def make_cohort(
    subjects: int = 4,
    sessions: int = 1,
    slices: Sequence[int] = (-1,),
    search_slices: tuple[int, ...] = (),
) -> PreparedCohort:
    rows = []
    for number in range(subjects):
        for session in range(1, sessions + 1):
            for index in slices:
                scan = f"{number}{'abc'[session - 1]}"
                rows.append(
                    {
                        "name": scan if index < 0 else f"{scan}_slice-{index}",
                        "subject": f"s{number}",
                        "scan": scan,
                        "slice": index,
                        "split": "search" if number < subjects - 1 else "train",
                        "session": f"ses-{session}",
                        "age": 20.0 + 10 * number,
                    }
                )
    return PreparedCohort(
        folder=Path(),
        images=pd.DataFrame(rows).set_index("name"),
        labels=("a",),
        shape=(4, 4),
        spacing_mm=None,
        identity="x",
        search_slices=search_slices,
    )


def ids(pairs: Sequence[Pair]) -> set[str]:
    assert len({pair.id for pair in pairs}) == len(pairs)
    return {pair.id for pair in pairs}


def section(**values: object) -> PairsOptions:
    return PairsOptions.model_validate(values)


def test_cross_pairs_are_all_ordered_pairs_of_two_subjects_of_the_side() -> None:
    pairs = possible_pairs(make_cohort(4), section(), "search")
    assert ids(pairs) == {"0a->1a", "1a->0a", "0a->2a", "2a->0a", "1a->2a", "2a->1a"}
    assert pairs[0].moving_subject == "s0"


def test_within_pairs_are_of_one_subject_and_two_sessions() -> None:
    pairs = possible_pairs(make_cohort(3, sessions=2), section(tasks=["within"]), "search")
    assert ids(pairs) == {"0a->0b", "0b->0a", "1a->1b", "1b->1a"}


def test_atlas_pairs_have_the_atlas_as_their_fixed_image() -> None:
    pairs = possible_pairs(make_cohort(4), section(tasks=["atlas"], atlas="3a"), "search")
    assert ids(pairs) == {"0a->3a", "1a->3a", "2a->3a"}
    among = possible_pairs(make_cohort(4), section(tasks=["cross", "atlas"], atlas="0a"), "search")
    assert len(ids(among)) == 6


def test_images_are_paired_only_where_they_agree_in_the_declared_columns() -> None:
    pairs = possible_pairs(make_cohort(3, sessions=2), section(same=["session"]), "search")
    assert ids(pairs) == {"0a->1a", "1a->0a", "0b->1b", "1b->0b"}


@pytest.mark.parametrize("unknown", [np.nan, None, "", "n/a", "nan", "#N/A"])
def test_an_image_of_an_unknown_value_is_paired_with_none(unknown: object) -> None:
    """Images a and b of each of two subjects: where both a are unknown, b alone are of one session."""
    cohort = make_cohort(3, sessions=2)
    sessions = cohort.images["session"].replace({"ses-1": unknown})
    cohort = replace(cohort, images=cohort.images.assign(session=sessions))
    pairs = possible_pairs(cohort, section(same=["session"]), "search")
    assert ids(pairs) == {"0b->1b", "1b->0b"}


def test_slices_are_paired_with_the_same_slice_and_searched_on_the_declared_ones() -> None:
    cohort = make_cohort(3, slices=(2, 5), search_slices=(5,))
    assert ids(possible_pairs(cohort, section(), "search")) == {
        "0a_slice-5->1a_slice-5",
        "1a_slice-5->0a_slice-5",
    }
    everywhere = make_cohort(3, slices=(2, 5))
    assert len(ids(possible_pairs(everywhere, section(), "search"))) == 4


def test_drawing_takes_subjects_equally_often_in_either_role() -> None:
    cohort = make_cohort(12)
    drawn = draw_pairs(cohort, section(search=55), "search")
    assert len(ids(drawn)) == 55
    assert set(Counter(pair.moving_subject for pair in drawn).values()) == {5}
    assert set(Counter(pair.fixed_subject for pair in drawn).values()) == {5}


def test_subjects_with_more_scans_are_not_drawn_more_often() -> None:
    names = {"a": 6, "b": 1, "c": 1, "d": 1}
    scans = [(subject, f"{subject}{i}") for subject, count in names.items() for i in range(count)]
    sides = np.array(["abcd".index(a) for a, m in scans for b, f in scans if a != b])
    others = np.array(["abcd".index(b) for a, m in scans for b, f in scans if a != b])
    drawn = draw_evenly(sides, others, 8, np.random.default_rng(0))
    assert np.bincount(sides[drawn]).tolist() == [2, 2, 2, 2]
    assert np.bincount(others[drawn]).tolist() == [2, 2, 2, 2]


def draw_one_by_one(pairs: Sequence[Pair], count: int, rng: np.random.Generator) -> list[Pair]:
    """Draw as the committed studies' pairs were drawn: from a list of them all."""
    left = [pairs[place] for place in rng.permutation(len(pairs))]
    moved, fixed, drawn = Counter[str](), Counter[str](), []
    for _ in range(count):
        drawn.append(
            min(
                left,
                key=lambda pair: moved[pair.moving_subject] ** 2 + fixed[pair.fixed_subject] ** 2,
            )
        )
        left.remove(drawn[-1])
        moved[drawn[-1].moving_subject] += 1
        fixed[drawn[-1].fixed_subject] += 1
    return drawn


def test_pairs_are_those_that_a_list_of_all_of_them_gives() -> None:
    cohort = make_cohort(9, sessions=2)
    every = [
        Pair(moving=str(m), fixed=str(f), moving_subject=a, fixed_subject=b)
        for m, a in cohort.images.query("split == 'search'")["subject"].items()
        for f, b in cohort.images.query("split == 'search'")["subject"].items()
        if a != b
    ]
    drawn = draw_pairs(cohort, section(search=40, seed=7), "search")
    assert drawn == draw_one_by_one(every, 40, np.random.default_rng([7, 2, *b"cross"]))
    assert list(possible_pairs(cohort, section(), "search")) == every


@pytest.mark.parametrize(
    ("study", "images_of"),
    [("brains", dict.fromkeys), ("hippocampus", lambda some: sorted({*some}))],
)
def test_the_pairs_of_the_committed_studies_are_drawn_again(
    study: str, images_of: Callable[[Iterable[str]], Iterable[str]]
) -> None:
    committed = pd.read_csv(
        STUDIES / study / "results" / "pairs.csv", dtype=str, keep_default_na=False
    )
    subjects = {row.moving: row.moving_subject for row in committed.itertuples()}
    subjects |= {row.fixed: row.fixed_subject for row in committed.itertuples()}
    rows = [
        {"name": name, "subject": subjects[name], "scan": name, "slice": -1}
        for name in images_of(committed["moving"])
    ]
    cohort = replace(
        make_cohort(), images=pd.DataFrame(rows).set_index("name").assign(split="search")
    )
    declared = read_declaration(STUDIES / study).pairs
    assert [pair.id for pair in draw_pairs(cohort, declared, "search")] == committed[
        "pair"
    ].tolist()


def test_of_very_many_images_each_keeps_some_partners_and_nobody_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cohort, everyone = make_cohort(31, sessions=2), 60
    monkeypatch.setattr("hmopt.data.pairs.MOST_PAIRS", 5 * everyone)
    pairs = possible_pairs(cohort, section(tasks=["cross"]), "search")
    assert len(ids(pairs)) == 5 * everyone
    assert set(Counter(pair.moving for pair in pairs).values()) == {5}
    assert {pair.task for pair in pairs} == {"cross"}
    assert ids(pairs) == ids(possible_pairs(cohort, section(tasks=["cross"]), "search"))
    drawn = draw_pairs(cohort, section(search=60), "search")
    assert set(Counter(pair.moving_subject for pair in drawn).values()) == {2}
    assert len(ids(possible_pairs(cohort, section(tasks=["within"]), "search"))) == everyone


def test_the_seed_decides_which_pairs_are_drawn() -> None:
    cohort = make_cohort(12)
    one, again, other = (
        draw_pairs(cohort, section(search=20, seed=seed), "search") for seed in (1, 1, 2)
    )
    assert one == again
    assert ids(one) != ids(other)


def test_each_kind_has_its_own_number_and_all_are_taken_where_there_are_fewer() -> None:
    drawn = draw_pairs(
        make_cohort(6, sessions=2), section(tasks=["cross", "within"], search=12), "search"
    )
    assert Counter(pair.task for pair in drawn) == {"cross": 12, "within": 10}


def test_a_side_without_pairs_is_refused() -> None:
    with pytest.raises(DataError, match="pairs of kind within among the search subjects, got none"):
        draw_pairs(make_cohort(4), section(tasks=["within"]), "search")


def test_an_unknown_atlas_or_column_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"pairs\.atlas"):
        possible_pairs(make_cohort(4), section(tasks=["atlas"], atlas="9a"), "search")
    with pytest.raises(DeclarationError, match=r"pairs\.same"):
        possible_pairs(make_cohort(4), section(same=["modality"]), "search")


def test_a_csv_lists_the_pairs_to_search_in_place_of_drawing(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("moving,fixed\n1a,0a\n0a,2a\n1a,0a\n")
    assert [pair.id for pair in draw_pairs(make_cohort(4), section(csv=path), "search")] == [
        "1a->0a",
        "0a->2a",
    ]


def test_listed_images_stand_for_all_their_slices(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("moving,fixed\n1a,0a\n")
    drawn = draw_pairs(make_cohort(4, slices=(2, 5)), section(csv=path), "search")
    assert ids(drawn) == {"1a_slice-2->0a_slice-2", "1a_slice-5->0a_slice-5"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("moving,fixed\n0a,3a\n", "line 2: expected an image of a subject to search on, got '3a'"),
        ("moving,fixed\n0a,0a\n", "line 2: expected two images"),
        ("moving,fixed\n", "got no rows"),
        ("moving\n0a\n", "a CSV with columns moving and fixed"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=complaint):
        draw_pairs(make_cohort(4), section(csv=tmp_path / "pairs.csv"), "search")
