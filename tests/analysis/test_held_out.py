"""Splits of the subjects into selection sets and held-out sets, and held-out scores."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hmopt.analysis.gain import granularities
from hmopt.analysis.held_out import (
    HALF_FROM,
    MOST_GROUPS,
    Chosen,
    HeldOut,
    Splits,
    choose,
    evaluate,
    split_subjects,
    sums_between,
    with_choices,
)
from hmopt.analysis.jackknife import Mean, jackknife
from hmopt.analysis.scope_result import ScopeResult, analyse_scopes
from hmopt.analysis.simulation import shifted, simulate, sweep
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curve, Curves
from hmopt.search.scopes import Scope, list_scopes

DEFAULT = 2
COHORT = Scope(criteria=())
Make = Callable[..., Measurements]


def subjects(count: int) -> list[str]:
    return [f"s{number:03d}" for number in range(count)]


def curve_of(measurements: Measurements, metric: str = "dice", **criteria: str) -> Curve:
    curve = Curves(measurements, metric).of(Scope(criteria=tuple(criteria.items())))
    assert curve is not None
    return curve


def sides_of(measurements: Measurements) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    pairs = measurements.pairs
    return pairs["moving_subject"].to_numpy(dtype=object), pairs["fixed_subject"].to_numpy(
        dtype=object
    )


@pytest.mark.parametrize("count", range(3, HALF_FROM))
def test_of_few_subjects_every_two_judge_once_and_all_others_choose(count: int) -> None:
    found = split_subjects(subjects(count), splits=500, seed=0)
    assert found.exhaustive
    assert found.selection.shape == (math.comb(count, 2), count)
    assert len({tuple(row) for row in found.selection}) == math.comb(count, 2)
    assert set((~found.selection).sum(axis=1)) == {2}
    assert found.choosing == count - 2


@pytest.mark.parametrize("count", [10, 11, 12])
def test_of_some_subjects_all_halves_judge_once(count: int) -> None:
    found = split_subjects(subjects(count), splits=500, seed=0)
    assert found.exhaustive
    assert found.selection.shape == (math.comb(count, count // 2), count)
    assert len({tuple(row) for row in found.selection}) == math.comb(count, count // 2)
    assert set((~found.selection).sum(axis=1)) == {count // 2}


@pytest.mark.parametrize("count", [13, 40])
def test_of_many_subjects_random_halves_choose_and_then_judge(count: int) -> None:
    found = split_subjects(subjects(count), splits=500, seed=0)
    assert not found.exhaustive
    assert found.selection.shape == (1000, count)
    assert set(found.selection[:500].sum(axis=1)) == {count // 2}
    assert found.choosing in (count // 2, count - count // 2)
    np.testing.assert_array_equal(found.selection[500:], ~found.selection[:500])
    assert len({tuple(row) for row in found.selection}) > 800
    share = found.selection[:500].mean(axis=0)
    assert np.abs(share - count // 2 / count).max() < 4 * 0.5 / math.sqrt(500)


def test_random_halves_are_those_of_their_seed() -> None:
    first, again, other = (
        split_subjects(subjects(30), splits=500, seed=seed).selection for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("count", [5, 12, 30, 100])
def test_the_order_of_names_changes_nothing(count: int) -> None:
    names = subjects(count)
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    one, other = (
        split_subjects(names, splits=20, seed=0),
        split_subjects(shuffled, splits=20, seed=0),
    )
    asked = np.array(names, dtype=object)
    np.testing.assert_array_equal(one.groups_of(asked), other.groups_of(asked))
    np.testing.assert_array_equal(one.selection, other.selection)


@pytest.mark.parametrize("count", [61, 150])
def test_more_subjects_than_groups_are_held_out_in_even_groups(count: int) -> None:
    found = split_subjects(subjects(count), splits=50, seed=0)
    assert found.selection.shape == (100, MOST_GROUPS)
    sizes = np.bincount(found.group, minlength=MOST_GROUPS)
    assert sizes.sum() == count
    assert sizes.max() - sizes.min() <= 1
    assert found.choosing == pytest.approx(count / 2, abs=1)


@pytest.mark.parametrize("count", [6, 11, 25, 80])
def test_nobody_chooses_and_judges_in_one_round(count: int) -> None:
    names = np.array(subjects(count), dtype=object)
    moving, fixed = names[np.random.default_rng(1).integers(count, size=(2, 200))]
    found = split_subjects(names.tolist(), splits=40, seed=0)
    judges = found.held_out_pairs(moving, fixed)
    chooses = (
        found.selection[:, found.groups_of(moving)] & found.selection[:, found.groups_of(fixed)]
    )
    assert judges.any()
    for judging, choosing in zip(judges, chooses, strict=True):
        who_judges = {*moving[judging], *fixed[judging]}
        who_chooses = {*moving[choosing], *fixed[choosing]}
        assert not who_judges & who_chooses


def held_out(
    measurements: Measurements, metric: str, splits: Splits, **criteria: str
) -> HeldOut | None:
    """Judge the best setting of a scope's own curve, beside that of all pairs and labels."""
    sides = sides_of(measurements)
    response, everything = (
        curve_of(measurements, metric, **criteria),
        curve_of(measurements, metric),
    )
    own, common = (
        choose(sums_between(curve, splits, *sides), splits.selection)
        for curve in (response, everything)
    )
    default = np.full(len(own), response.place((DEFAULT,)))
    chosen = Chosen(own=own, common=common, default=default)
    return evaluate(response, splits.held_out_pairs(*sides), chosen, sides, splits)


@pytest.mark.parametrize("count", [7, 8, 13])
@pytest.mark.parametrize("metric", ["dice", "hd95_mm"])
def test_held_out_scores_are_those_of_a_loop_over_rounds_and_pairs(
    make: Make, metric: str, count: int
) -> None:
    generator = np.random.default_rng(4)
    everyone = "abcdefghijklm"[:count]
    pairs = [(f"{a}1", f"{b}1") for a in everyone for b in everyone if a != b]
    pairs += [(f"{a}1", f"{a}2") for a in everyone]
    measurements = make(pairs, generator.normal(0.6, 0.05, (5, len(pairs), 2)))
    moving, fixed = sides_of(measurements)
    splits = split_subjects(list(everyone), splits=15, seed=3)
    scores, everything = measurements.score(metric, "thalamus"), measurements.score(metric)
    sign = 1 if metric == "dice" else -1

    kept: list[list[list[float]]] = [[[] for _ in pairs] for _ in range(3)]
    over_splits = []
    sizes = []
    for row in splits.selection:
        chooses = {name for name in everyone if row[splits.group[splits.subjects.get_loc(name)]]}
        choosing = [p for p in range(len(pairs)) if moving[p] in chooses and fixed[p] in chooses]
        own = int((sign * scores[:, choosing].mean(axis=1)).argmax())
        common = int((sign * everything[:, choosing].mean(axis=1)).argmax())
        sizes.append(len(chooses))
        over_splits.append(sign * (scores[own].mean() - scores[DEFAULT].mean()))
        for p in range(len(pairs)):
            if moving[p] not in chooses and fixed[p] not in chooses:
                for place, setting in enumerate((own, common, DEFAULT)):
                    kept[place][p].append(float(scores[setting, p]))
    mine, theirs, plain = (np.array([np.mean(one) for one in them]) for them in kept)

    found = held_out(measurements, metric, splits, label="thalamus")
    assert found is not None
    assert found.score.value == pytest.approx(mine.mean())
    gained = [found.over_common.value, found.over_default.value]
    at_others = found.score.value - sign * np.array(gained)
    assert at_others == pytest.approx([theirs.mean(), plain.mean()])
    np.testing.assert_allclose(found.gains, sign * (mine - theirs), atol=1e-12)
    np.testing.assert_allclose(found.default_gains, sign * (mine - plain), atol=1e-12)
    expected = jackknife(sign * (mine - plain), moving, fixed)
    assert found.over_default.value == pytest.approx(expected.value)
    # delete-d jackknife: (n - d) / d times the variance over splits
    ratio = np.sum(sizes) / np.sum(count - np.array(sizes))
    error = np.sqrt(expected.error**2 + ratio * np.var(over_splits))
    assert found.over_default.error == pytest.approx(error)
    assert found.over_default.subjects == count
    np.testing.assert_array_equal(found.pairs, np.arange(len(pairs)))


def test_choosing_among_equals_gains_nothing_held_out_though_the_seen_score_rises(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    noise = np.random.default_rng(5).normal(0.6, 0.05, (5, len(all_cross), 2))
    measurements = make(all_cross, noise)
    found = held_out(measurements, "dice", split_subjects(list("abcdefgh"), splits=500, seed=0))
    assert found is not None
    seen = curve_of(measurements).means.max()
    assert seen > 0.605
    assert found.score.value < seen
    assert found.over_default.interval.low < 0 < found.over_default.interval.high


def test_the_variance_over_choices_raises_the_error_and_not_the_degrees_of_freedom() -> None:
    given = Mean(value=0.003, error=0.003, freedom=9, subjects=10)
    found = with_choices(given, np.array([-0.004, np.nan, 0.004]), ratio=1.0)
    assert found.error == pytest.approx(0.005)
    assert found.freedom == 9
    assert with_choices(given, np.full(3, 0.1), ratio=1.0) == given


def test_a_default_that_was_not_measured_is_not_judged(
    make: Make, all_cross: list[tuple[str, str]], random_dice: NDArray[np.float64]
) -> None:
    random_dice[DEFAULT] = np.nan
    found = held_out(
        make(all_cross, random_dice), "dice", split_subjects(list("abcdefgh"), splits=500, seed=0)
    )
    assert found is not None
    assert np.isnan(found.over_default.estimate).all()
    assert np.isnan(found.default_gains).all()
    assert np.isfinite(found.score.value)
    assert found.over_common.value == 0


@pytest.mark.parametrize("pairs", [[("a1", "b1")], [("a1", "b1"), ("b1", "c1"), ("c1", "a1")]])
def test_where_nobody_is_left_to_choose_nothing_is_judged(
    make: Make, pairs: list[tuple[str, str]]
) -> None:
    measurements = make(pairs, np.full((5, len(pairs), 2), 0.5))
    everyone = sorted({side[0] for pair in pairs for side in pair})
    assert held_out(measurements, "dice", split_subjects(everyone, splits=500, seed=0)) is None


def find(
    measurements: Measurements, scopes: Sequence[Scope], **changes: object
) -> list[ScopeResult]:
    section = SearchOptions(metric="dice", min_paired_subjects=3).model_copy(update=changes)
    return analyse_scopes(measurements, None, scopes, section)


@pytest.mark.parametrize("everyone", ["abcdefgh", "abcdefghijklmnop"])
def test_the_subject_that_a_scope_is_about_never_judges_itself(make: Make, everyone: str) -> None:
    """Partners choose and are judged; the subject serves all its pairs, and is never among those held out."""
    pairs = [(f"{a}1", f"{b}1") for a in everyone for b in everyone if a != b]
    dice = np.random.default_rng(6).normal(0.6, 0.05, (5, len(pairs), 2))
    measurements = make(pairs, dice)
    scores, splits = measurements.score("dice"), split_subjects(list(everyone), splits=500, seed=0)
    partner = {p: (b if a == "a1" else a)[0] for p, (a, b) in enumerate(pairs) if "a1" in (a, b)}

    kept: dict[int, list[float]] = {p: [] for p in partner}
    for row in splits.selection:
        chooses = {
            name for name, one in zip(splits.subjects, row[splits.group], strict=True) if one
        }
        if "a" not in chooses:
            continue
        choosing = [p for p, name in partner.items() if name in chooses]
        best = scores[:, choosing].mean(axis=1).argmax()
        for p, name in partner.items():
            if name not in chooses:
                kept[p].append(scores[best, p])
    expected = np.array([np.mean(them) for them in kept.values()])

    (finding,) = find(measurements, [Scope(criteria=(("subject", "a"),))])
    held = finding.held_out
    assert held is not None
    assert held.score.value == pytest.approx(expected.mean())
    assert held.score.subjects == len(everyone) - 1
    np.testing.assert_array_equal(held.pairs, list(partner))


def judged(finding: ScopeResult) -> list[Mean]:
    held, unpooled = finding.held_out, finding.held_out_unpooled
    assert held is not None
    assert unpooled is not None
    return [
        held.score,
        held.over_common,
        held.over_default,
        unpooled.over_common,
        unpooled.over_default,
    ]


@pytest.mark.parametrize("count", [8, 12])
def test_where_all_divisions_are_used_no_seed_changes_a_gain_or_a_verdict(count: int) -> None:
    measurements = sweep(
        simulate(shifted([0.2, 0.4, 0.4], 0.1), count, count * (count - 1), seed=0)
    )
    section = SearchOptions(scopes=[["cohort"], ["label"], ["subject"]], min_paired_subjects=3)
    scopes = list_scopes(section, measurements.pairs, measurements.labels)
    one, other = (find(measurements, scopes, seed=seed) for seed in (0, 17))
    assert len(one) > count
    for first, second in zip(one, other, strict=True):
        assert first.recommended == second.recommended
        assert judged(first) == judged(second)
    first_gains, second_gains = (
        granularities(found, measurements.pairs, 0.002) for found in (one, other)
    )
    assert first_gains == second_gains


def test_where_divisions_are_random_their_seed_changes_gains_by_little_of_their_error() -> None:
    measurements = sweep(simulate(shifted([0.2, 0.4], 0.1), 24, 200, seed=0))
    scopes = [COHORT, *(Scope(criteria=(("label", label),)) for label in measurements.labels)]
    one, other = (find(measurements, scopes, seed=seed) for seed in (0, 17))
    for first, second in zip(one, other, strict=True):
        for mean, again in zip(judged(first), judged(second), strict=True):
            assert mean.value == pytest.approx(again.value, abs=0.2 * mean.error)


def test_names_and_order_of_pairs_change_no_gain(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    dice = np.random.default_rng(7).normal([[[0.6, 0.62]]], 0.03, (5, len(all_cross), 2))
    measurements = make(all_cross, dice)
    order = np.random.default_rng(8).permutation(len(all_cross))
    renamed = {name: f"{9 - place}{name}" for place, name in enumerate("abcdefgh")}
    pairs = measurements.pairs.iloc[order].reset_index(drop=True)
    pairs = pairs.assign(
        **{f"{side}_subject": pairs[f"{side}_subject"].map(renamed) for side in ("moving", "fixed")}
    )
    values = {name: array[:, order] for name, array in measurements.values.items()}
    scopes = [COHORT, *(Scope(criteria=(("label", label),)) for label in measurements.labels)]
    first, second = (
        find(measurements, scopes),
        find(replace(measurements, pairs=pairs, values=values), scopes),
    )
    for one, other in zip(first, second, strict=True):
        assert one.recommended == other.recommended
        for mean, again in zip(judged(one), judged(other), strict=True):
            assert (mean.value, mean.error) == pytest.approx((again.value, again.error), abs=1e-12)
