"""What a report says of methods side by side."""

from dataclasses import replace

import numpy as np

from hmopt.analysis.beside import entry_of_scores, set_beside
from hmopt.analysis.resampling import Floats
from hmopt.report.parts.beside import beside_section, refined_numbers

SUBJECTS = 8


def found_of(differences: dict[str, Floats]) -> str:
    """The sentences on methods whose scores of single subjects differ from those of the first."""
    names = np.array([f"s{number}" for number in range(SUBJECTS)], dtype=object)
    first = np.full(SUBJECTS, 0.7)
    entries = []
    for title, difference in {"first": np.zeros(SUBJECTS), **differences}.items():
        scores = (first + difference)[:, None]
        entry = entry_of_scores(title, list(names), (names, names), ["thalamus"], scores)
        entries.append(entry)
    return beside_section(set_beside(entries, "dice", margin=0.002)).found


def spread_around(mean: float, deviation: float) -> Floats:
    values = np.linspace(-1, 1, SUBJECTS)
    scores: Floats = mean + deviation * values / values.std(ddof=1)
    return scores


def test_an_interval_without_zero_and_no_evidence_have_the_p_value_that_explains_them() -> None:
    # t = 0.019 / (0.02 / √8) = 2.69 of 7 degrees of freedom: p = 0.031, twice that after Holm
    likely = spread_around(-0.019, 0.02)
    unlikely = spread_around(0.001, 0.02)
    text = found_of({"second": likely, "third": unlikely})
    assert (
        "second (−0.019, 95 % interval −0.036 to −0.002, p = 0.062 after Holm) and "
        "third (+0.001, 95 % interval −0.016 to 0.018)." in text
    )
    alone = found_of({"second": likely})
    assert "Worse is second (−0.019, 95 % interval −0.036 to −0.002)." in alone


def test_a_tuning_time_that_is_not_complete_is_a_lower_bound() -> None:
    names = np.array([f"s{number}" for number in range(SUBJECTS)], dtype=object)
    entries = []
    for title, is_complete in (("first", True), ("second", False)):
        scores = np.full((SUBJECTS, 1), 0.7)
        entry = entry_of_scores(title, list(names), (names, names), ["thalamus"], scores)
        entries.append(replace(entry, tuning_minutes=5.0, tuning_is_complete=is_complete))
    found = set_beside(entries, "dice", margin=0.002)
    section = beside_section(found)
    (times,) = [table.content for table in section.further if table.title == "Time"]
    assert times["tuning time"].tolist() == ["5 minutes", "at least 5 minutes"]
    assert any(note.startswith("Tuning time: at least") for note in section.notes)
    table = found.table()
    assert table[table["label"] == ""]["tuning_is_complete"].tolist() == [True, False]
    complete = beside_section(set_beside(entries[:1] * 2, "dice", margin=0.002))
    assert not any(note.startswith("Tuning time") for note in complete.notes)


def test_the_score_of_refined_registrations_is_that_of_the_study_with_the_same_model() -> None:
    names = np.array([f"s{number}" for number in range(SUBJECTS)], dtype=object)
    entries = []
    for title, score, model in (("plain", 0.7, "a"), ("refined", 0.75, "a"), ("SyN", 0.72, None)):
        scores = np.full((SUBJECTS, 1), score)
        entry = entry_of_scores(title, list(names), (names, names), ["thalamus"], scores)
        is_refined = title == "refined"
        entries.append(replace(entry, model=model, is_refined=is_refined, seconds=3.0))
    found = refined_numbers(set_beside(entries, "dice", margin=0.002))
    np.testing.assert_allclose(found["dice_held_out_refined"], 0.75)
    assert found["seconds_per_pair_refined"] == 3.0
    assert refined_numbers(set_beside([entries[0], entries[2]], "dice", margin=0.002)) == {}
    # a refined study with that of its model alone beside it has its own score
    turned = set_beside([entries[1], entries[0]], "dice", margin=0.002)
    assert turned.own.source == "refined"
    assert refined_numbers(turned) == {}
    # of two refined ones, the one named last
    further = replace(entries[1], source="full resolution")
    both = set_beside([*entries, further], "dice", margin=0.002)
    assert both.own.source == "full resolution"
    assert both.others[0].source == "SyN"
