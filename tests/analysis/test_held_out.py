from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from hmopt.analysis.held_out import deal, judge
from hmopt.analysis.resampling import Samples, draw
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curve, Curves
from hmopt.search.scopes import Scope

DEFAULT = (2,)


def cohort_curve(measurements: Measurements, metric: str = "dice", **criteria: str) -> Curve:
    curve = Curves(measurements, metric).of(Scope(criteria=tuple(criteria.items())))
    assert curve is not None
    return curve


def sides_of(measurements: Measurements) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    pairs = measurements.pairs
    return pairs["moving_subject"].to_numpy(dtype=object), pairs["fixed_subject"].to_numpy(dtype=object)


def test_every_subject_is_dealt_once_in_each_repeat_and_folds_are_even() -> None:
    fold = deal([str(i) for i in range(11)], folds=3, repeats=20, seed=0).fold
    counts = np.array([np.bincount(row, minlength=3) for row in fold])
    assert fold.shape == (20, 11)
    assert set(counts.ravel()) == {3, 4}
    assert len({tuple(row) for row in fold}) > 10


def test_pairs_that_straddle_folds_neither_choose_nor_judge_and_pairs_within_a_subject_never_straddle() -> None:
    moving, fixed = np.array(["a", "a", "b"], dtype=object), np.array(["b", "a", "b"], dtype=object)
    dealing = deal(["a", "b"], folds=2, repeats=1, seed=0)
    parts = dealing.parts(moving, fixed)
    assert not parts.choose[:, 0].any()
    assert not parts.judge[:, 0].any()
    assert parts.judge[:, 1:].sum() == 2
    np.testing.assert_array_equal(parts.choose[:, 1:], ~parts.judge[:, 1:])


@pytest.mark.parametrize("metric", ["dice", "hd95_mm"])
def test_held_out_scores_are_those_of_a_loop_over_rounds(
    make: Callable[..., Measurements], all_cross: list[tuple[str, str]], random_dice: NDArray[np.float64], metric: str
) -> None:
    measurements = make(all_cross, random_dice)
    moving, fixed = sides_of(measurements)
    dealing = deal(sorted(set(moving)), folds=2, repeats=6, seed=3)
    scores, everything = measurements.score(metric, "thalamus"), measurements.score(metric)
    better = np.argmax if metric == "dice" else np.argmin
    own, common, plain, commons = [{} for _ in moving], [{} for _ in moving], [{} for _ in moving], []
    for repeat, folds in enumerate(dealing.fold):
        fold_of = dict(zip(dealing.subjects, folds, strict=True))
        for fold in range(2):
            choose = [p for p in range(len(moving)) if fold_of[moving[p]] != fold and fold_of[fixed[p]] != fold]
            best, best_of_all = better(scores[:, choose].mean(axis=1)), better(everything[:, choose].mean(axis=1))
            commons.append((int(best_of_all),))
            for p in range(len(moving)):
                if fold_of[moving[p]] == fold == fold_of[fixed[p]]:
                    own[p][repeat], common[p][repeat] = scores[best, p], scores[best_of_all, p]
                    plain[p][repeat] = scores[2, p]
    mean = [np.mean([np.mean(list(one.values())) for one in them if one]) for them in (own, common, plain)]
    response = cohort_curve(measurements, metric, label="thalamus")
    samples = draw(moving, fixed, draws=50, seed=0)
    found = judge(response, dealing.parts(moving, fixed), commons, DEFAULT, samples)
    assert [found.score.value, found.at_common.value, found.at_default.value] == pytest.approx(mean)
    sign = 1 if metric == "dice" else -1
    assert found.over_common.value == pytest.approx(sign * (mean[0] - mean[1]))
    assert found.over_default.value == pytest.approx(sign * (mean[0] - mean[2]))
    assert found.over_common.low <= found.over_common.value <= found.over_common.high


def test_choosing_among_equals_gains_nothing_held_out_though_the_seen_score_rises(
    make: Callable[..., Measurements], all_cross: list[tuple[str, str]]
) -> None:
    noise = np.random.default_rng(5).normal(0.6, 0.05, (5, len(all_cross), 2))
    measurements = make(all_cross, noise)
    moving, fixed = sides_of(measurements)
    parts = deal(sorted(set(moving)), folds=2, repeats=20, seed=0).parts(moving, fixed)
    response = cohort_curve(measurements)
    found = judge(response, parts, [DEFAULT] * 40, DEFAULT, draw(moving, fixed, draws=200, seed=0))
    assert response.means.max() > 0.605
    assert found.score.value < response.means.max()
    assert found.over_default.low < 0 < found.over_default.high


def test_a_default_that_was_not_measured_is_not_judged(
    make: Callable[..., Measurements], all_cross: list[tuple[str, str]], random_dice: NDArray[np.float64]
) -> None:
    random_dice[2] = np.nan
    measurements = make(all_cross, random_dice)
    moving, fixed = sides_of(measurements)
    parts = deal(sorted(set(moving)), folds=2, repeats=2, seed=0).parts(moving, fixed)
    response = cohort_curve(measurements)
    found = judge(response, parts, [(0,)] * 4, DEFAULT, draw(moving, fixed, draws=20, seed=0))
    assert np.isnan(found.at_default.value)
    assert np.isfinite(found.score.value)


def test_without_pairs_inside_a_fold_nothing_is_judged(make: Callable[..., Measurements]) -> None:
    measurements = make([("a1", "b1")], np.full((5, 1, 2), 0.5))
    moving, fixed = sides_of(measurements)
    response = cohort_curve(measurements)
    parts = deal(["a", "b"], folds=2, repeats=3, seed=0).parts(moving, fixed)
    assert judge(response, parts, [(0,)] * 6, DEFAULT, Samples(weights=np.ones((5, 1)), subjects=2)) is None
