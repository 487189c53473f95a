"""Methods side by side: differences from closed forms, choices that judge nobody who chose, and false alarms."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hmopt.analysis import simulation
from hmopt.analysis.beside import (
    Entry,
    Roughness,
    Source,
    break_even,
    entry_of_scores,
    make_entries,
    set_beside,
    tuned_roughness,
)
from hmopt.analysis.held_out import split_subjects
from hmopt.analysis.resampling import Floats
from hmopt.errors import DataError
from hmopt.ledger.measurements import PAIR_COLUMNS, Measurements
from hmopt.space import Hyperparameter, Space
from tests.analysis.simulated_entries import entries, simulated

LABELS = ("thalamus", "cortex")


def independent(count: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return pairs of which each is of a subject of its own."""
    ids = [f"p{number:02d}" for number in range(count)]
    names = np.array([f"s{number:02d}" for number in range(count)], dtype=object)
    return ids, names, names


def scored(title: str, scores: Floats, seconds: float = math.nan) -> Entry:
    ids, moving, fixed = independent(len(scores))
    return entry_of_scores(title, ids, (moving, fixed), LABELS, scores, seconds)


@pytest.fixture
def scores() -> Floats:
    generator = np.random.default_rng(3)
    drawn: Floats = 0.7 + 0.05 * generator.standard_normal((12, 2))
    return drawn


def test_a_difference_of_independent_pairs_is_that_of_the_paired_t_test(scores: Floats) -> None:
    generator = np.random.default_rng(4)
    others = scores - 0.01 + 0.02 * generator.standard_normal(scores.shape)
    found = set_beside([scored("one", scores), scored("two", others)], "dice", margin=0.002)
    overall = found.difference("one", "two")
    assert overall is not None
    expected = stats.ttest_rel(scores.mean(axis=1), others.mean(axis=1))
    assert overall.mean.value == pytest.approx((scores - others).mean())
    assert overall.mean.p_value == pytest.approx(expected.pvalue)
    assert tuple(overall.mean.interval) == pytest.approx(tuple(expected.confidence_interval()))
    by_label = [stats.ttest_rel(scores[:, place], others[:, place]).pvalue for place in (0, 1)]
    smaller = min(by_label)
    asked = [found.difference("one", "two", label) for label in LABELS]
    p_adjusted = [one.p_adjusted for one in asked if one is not None]
    assert min(p_adjusted) == pytest.approx(min(1, max(2 * smaller, smaller)))


def test_turned_round_a_difference_changes_its_sign_and_its_verdict(scores: Floats) -> None:
    generator = np.random.default_rng(1)
    worse = scores - 0.1 + 0.005 * generator.standard_normal(scores.shape)
    found = set_beside([scored("one", scores), scored("two", worse)], "dice", margin=0.002)
    there = found.difference("one", "two")
    back = found.difference("two", "one")
    assert there is not None
    assert back is not None
    assert (there.verdict, back.verdict) == ("better", "worse")
    assert back.mean.value == -there.mean.value


def test_for_a_metric_that_falls_less_is_better(scores: Floats) -> None:
    generator = np.random.default_rng(1)
    longer = scores + 1 + 0.01 * generator.standard_normal(scores.shape)
    found = set_beside([scored("one", scores), scored("two", longer)], "hd95_mm", margin=0.02)
    asked = found.difference("two", "one")
    assert asked is not None
    assert asked.verdict == "worse"


def test_a_tiny_difference_is_negligible_and_four_subjects_are_too_few(scores: Floats) -> None:
    near = scores + np.resize([0.0005, -0.0004], scores.shape[::-1]).T
    found = set_beside([scored("one", scores), scored("two", near)], "dice", margin=0.002)
    few = set_beside([scored("one", scores[:4]), scored("two", near[:4])], "dice", margin=0.002)
    assert [one.verdict for one in found.differences] == ["negligible"] * 3
    assert {one.verdict for one in few.differences} == {"too few subjects"}


def test_a_pair_that_failed_is_left_out_of_the_whole_table(scores: Floats) -> None:
    failed = scores - 0.05
    failed[2] = np.nan
    failed[3, 0] = np.nan
    one, two = scored("one", scores), scored("two", failed)
    found = set_beside([one, two, scored("three", scores)], "dice", margin=0.002)
    with_failed = found.difference("one", "two")
    of_label = found.difference("one", "two", "thalamus")
    without = found.difference("one", "three")
    assert with_failed is not None
    assert of_label is not None
    assert without is not None
    assert (with_failed.pairs, of_label.pairs, without.pairs) == (11, 10, 11)
    assert with_failed.mean.value == pytest.approx(0.05)
    assert len(found.shared) == 11


def test_a_difference_is_that_of_two_rows_of_the_table(scores: Floats) -> None:
    all_pairs = np.random.default_rng(1).uniform(0.6, 0.9, scores.shape)
    some = scored("some", scores[:9])
    found = set_beside(
        [scored("one", all_pairs), scored("two", scores), some], "dice", margin=0.002
    )
    rows = found.table().set_index(["method", "label"])["dice"]
    difference = found.difference("one", "two")
    assert difference is not None
    assert difference.pairs == 9
    assert difference.mean.value == pytest.approx(rows["one", ""] - rows["two", ""])


def test_a_method_of_few_pairs_does_not_take_the_pairs_of_the_others() -> None:
    made = []
    for title, count in (("first", 330), ("second", 60), ("third", 60), ("fourth", 30)):
        values = np.full((count, 2), 0.7) + np.arange(count)[:, None] / 1e4
        made.append(scored(title, values))
    found = set_beside(made, "dice", margin=0.002)
    assert (len(found.shared), found.sparse) == (60, ("fourth",))
    assert [found.pairs_of(one) for one in made] == [60, 60, 60, 30]
    fifth = scored("fifth", np.full((30, 2), 0.7))
    two_of_few = set_beside([*made, fifth], "dice", margin=0.002)
    assert (len(two_of_few.shared), two_of_few.sparse) == (60, ("fourth", "fifth"))
    two = set_beside([made[0], made[3]], "dice", margin=0.002)
    assert (len(two.shared), two.sparse) == (30, ())


def test_methods_without_common_pairs_are_refused(scores: Floats) -> None:
    one = scored("one", scores)
    other = replace(one, source="two", pairs=tuple(f"q{place}" for place in range(12)))
    with pytest.raises(DataError, match=r"report.beside: expected methods with pairs in common"):
        set_beside([one, other], "dice", margin=0.002)


def test_the_first_takes_less_time_from_where_both_lines_cross(scores: Floats) -> None:
    trained = replace(scored("one", scores, seconds=0.5), training_minutes=30.0)
    engine = scored("two", scores, seconds=2.5)
    count = break_even(trained, engine)
    for pairs in (count - 1, count):
        of_first = 60 * 30 + 0.5 * pairs
        of_other = 2.5 * pairs
        assert (of_first < of_other) is (pairs == count)
    assert break_even(engine, trained) == math.inf  # it takes less for fewer pairs only
    assert break_even(replace(engine, seconds=0.1), trained) == 1
    assert math.isnan(break_even(scored("three", scores), engine))


def test_who_is_held_out_does_not_change_what_was_chosen() -> None:
    curves = np.stack([simulation.response(0.3, 0.1)])
    measurements = simulated(curves, seed=0, subjects=12)
    (before,) = entries("one", measurements, "tuned")
    name = measurements.pairs["moving_subject"].iloc[0]
    sides = [measurements.pairs[f"{side}_subject"] == name for side in ("moving", "fixed")]
    touched = (sides[0] | sides[1]).to_numpy()
    ruined = measurements.values["dice"].copy()
    ruined[::2, touched] = 0.01
    changed = replace(measurements, values={"dice": ruined})
    (after,) = entries("one", changed, "tuned")
    subjects = sorted({*measurements.pairs["moving_subject"]})
    splits = split_subjects(subjects, 50, seed=0)
    is_held_out = ~splits.selection[:, splits.groups_of(np.array([name], dtype=object))[0]]
    np.testing.assert_array_equal(before.chosen[is_held_out], after.chosen[is_held_out])
    assert (before.chosen[~is_held_out] != after.chosen[~is_held_out]).any()


def test_a_setting_where_a_pair_failed_is_not_chosen_and_a_default_shows_its_failures() -> None:
    curves = np.stack([simulation.response(0.5, 0.2)] * 2)
    measurements = simulated(curves, seed=0, subjects=12)
    place = measurements.settings.index(measurements.space.index({"regularization": 0.5}))
    failed = measurements.values["dice"].copy()
    failed[place, 5] = np.nan
    changed = replace(measurements, values={"dice": failed})
    tuned, default = entries("one", changed, "tuned", "default")
    assert not (tuned.chosen == place).any()
    assert tuned.failures == 0
    assert default.failures == 1
    assert np.isnan(default.scores[5]).all()
    assert np.isfinite(np.delete(default.scores, 5, axis=0)).all()


def test_costs_are_those_of_the_settings_in_use() -> None:
    pairs = pd.DataFrame(
        [
            (f"p{place}", f"a{place}", f"b{place}", f"a{place}", f"b{place}", "cross")
            for place in range(10)
        ],
        columns=PAIR_COLUMNS,
    )
    dice = np.zeros((2, 10, 2))
    dice[0, :, 0] = dice[1, :, 1] = 0.9
    dice[1, :, 0] = dice[0, :, 1] = 0.5
    values = {
        "dice": dice,
        "folding": np.array([[0.1] * 10, [0.3] * 10]),
        "wall_time_s": np.array([[1.0] * 9 + [50.0], [2.0] * 10]),
    }
    measurements = Measurements(
        identity="x",
        space=Space(hyperparameters=(Hyperparameter(name="regularization", default=0.0),)),
        settings=((0,), (200,)),
        pairs=pairs,
        labels=LABELS,
        values=values,
    )
    tuned, each, default = entries("one", measurements, "tuned", "per_structure", "default")
    assert default.seconds == 1.0
    assert each.seconds == 3.0  # a registration for each structure
    assert each.folding == pytest.approx(0.2)
    assert each.settings["cortex"] == {"regularization": 1.0}
    assert (tuned.evaluations, default.evaluations) == (20, 0)


def test_refined_registrations_of_the_same_model_stand_for_the_study(scores: Floats) -> None:
    alone = replace(scored("alone", scores), model="one model")
    refined = replace(scored("refined", scores + 0.02), model="one model", is_refined=True)
    another = replace(scored("another", scores), model="another model")
    engine = scored("engine", scores - 0.01)
    found = set_beside([alone, another, refined, engine], "dice", margin=0.002)
    assert found.own.title == "refined"
    assert [entry.title for entry in found.others] == ["another", "engine"]


def test_without_others_of_its_model_the_first_method_stands_for_the_study(scores: Floats) -> None:
    found = set_beside([scored("one", scores), scored("two", scores)], "dice", margin=0.002)
    assert found.own.title == "one"
    assert [entry.title for entry in found.others] == ["two"]


def test_splits_that_lack_a_structure_do_not_differ_for_it(scores: Floats) -> None:
    low_and_high = scores - [0.4, 0.0]
    entry = scored("one", low_and_high)
    in_half_of_splits = np.array([[0, 0], [0, -1], [0, 0], [-1, 0]])
    some = replace(entry, chosen=in_half_of_splits, held_out=np.ones((4, 12), dtype=bool))
    assert some.of_choices(None) == pytest.approx(low_and_high.mean())
    assert np.isnan(some.of_choices("cortex")[1])


def with_roughness(measurements: Measurements, levels: Floats) -> Measurements:
    """Add a standard deviation of the log Jacobian for each setting, the same for all pairs."""
    roughness = np.repeat(levels[:, None], len(measurements.pairs), axis=1)
    return replace(measurements, values={**measurements.values, "log_jacobian_sd": roughness})


def test_a_matched_setting_is_as_rough_as_that_of_the_study() -> None:
    best_first = simulated(np.stack([simulation.response(0.3, 0.4)]), seed=0, subjects=12)
    settings = len(best_first.settings)
    model = with_roughness(best_first, np.linspace(1.0, 0.0, settings))
    engine = with_roughness(best_first, np.linspace(0.5, 0.0, settings))
    subjects = sorted({*model.pairs["moving_subject"]})
    splits = split_subjects(subjects, 50, seed=0)
    pairs = list(model.pairs["pair"])
    source = Source(title="model", measurements=model, choices=("tuned",))
    (tuned,) = make_entries(source, "dice", model.labels, splits)
    roughness = tuned_roughness(source, "dice", model.labels, splits, pairs)
    assert roughness is not None
    other = Source(title="engine", measurements=engine, choices=("matched",))
    (matched,) = make_entries(other, "dice", engine.labels, splits, roughness)
    # of a setting k of the model the roughness is 1 - k / 10, of one of the engine half as much
    expected = np.clip(2 * tuned.chosen - settings + 1, 0, None)
    np.testing.assert_array_equal(matched.chosen, expected)
    assert matched.title == "engine, matched"


def test_a_roughness_that_is_not_known_matches_nothing() -> None:
    measurements = simulated(np.stack([simulation.response(0.3, 0.4)]), seed=0, subjects=12)
    splits = split_subjects(sorted({*measurements.pairs["moving_subject"]}), 50, seed=0)
    count = len(measurements.settings)
    known = Roughness(of_splits=np.full(len(splits.selection), 0.5), of_all=0.5)
    unknown = Roughness(of_splits=known.of_splits, of_all=np.nan)
    levels = np.linspace(1.0, 0.0, count)
    for roughness, of_settings in ((unknown, levels), (known, np.full(count, np.nan))):
        engine = with_roughness(measurements, of_settings)
        source = Source(title="engine", measurements=engine, choices=("matched",))
        assert make_entries(source, "dice", engine.labels, splits, roughness) == []
    # splits without a known roughness have no setting, the others theirs
    of_splits = np.where(np.arange(len(splits.selection)) % 2, 0.5, np.nan)
    source = replace(source, measurements=with_roughness(measurements, levels))
    some = Roughness(of_splits=of_splits, of_all=0.5)
    (matched,) = make_entries(source, "dice", measurements.labels, splits, some)
    places = np.where(np.isnan(of_splits), -1, int(np.abs(levels - 0.5).argmin()))
    np.testing.assert_array_equal(matched.chosen, places[:, None])


def test_without_a_measured_roughness_there_is_no_matched_setting() -> None:
    measurements = simulated(np.stack([simulation.response(0.3, 0.4)]), seed=0, subjects=12)
    subjects = sorted({*measurements.pairs["moving_subject"]})
    splits = split_subjects(subjects, 50, seed=0)
    source = Source(title="one", measurements=measurements, choices=("matched",))
    pairs = list(measurements.pairs["pair"])
    assert tuned_roughness(source, "dice", measurements.labels, splits, pairs) is None
    assert make_entries(source, "dice", measurements.labels, splits) == []


def test_the_refined_model_is_compared_with_other_methods_in_a_family_of_its_own(
    scores: Floats,
) -> None:
    generator = np.random.default_rng(5)
    noisy = [scores + 0.02 * generator.standard_normal(scores.shape) for _ in range(5)]
    alone = replace(scored("alone", noisy[0]), model="one model")
    refined = replace(scored("refined", noisy[1] + 0.012), model="one model", is_refined=True)
    methods = [scored(f"method {place}", values) for place, values in enumerate(noisy[2:])]
    found = set_beside([alone, refined, *methods], "dice", margin=0.002)
    three = [found.difference("refined", method.title) for method in methods]
    p_values = [one.mean.p_value for one in three if one is not None]
    adjusted = [one.p_adjusted for one in three if one is not None]
    # Holm: the smallest of three counts three times
    assert min(adjusted) == pytest.approx(min(1, 3 * min(p_values)))
