"""Weights of regions judged on held-out subjects, beside closed forms and a loop over splits and pairs."""

import itertools

import numpy as np
import pandas as pd
import pytest

from hmopt.analysis.composed import COMMON, ONE_FIELD, SEPARATE
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.held_out import split_subjects
from hmopt.analysis.regional import RegionalGain, judge_regions
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.space import Hyperparameter, Space

NAMES = ("regularization", "regularization_rough", "regularization_deep")
SPACE = Space(hyperparameters=tuple(Hyperparameter(name=name, step=0.25) for name in NAMES))
LABELS = ("ventricle", "cortex", "thalamus")
"""The first lies in no region, the second in `rough`, the third in `deep`."""
BEST = np.array([0.5, 0.25, 0.75])
LOSS = 0.1
"""Dice that a structure loses at a distance of 1 from its best weight, in square."""


def make_measurements(noise: float, best: np.ndarray = BEST) -> Measurements:
    """Return Dice of 12 subjects that falls with the distance of each region's weight from its best one."""
    generator = np.random.default_rng(0)
    names = [f"s{number:02d}" for number in range(12)]
    rows = [(f"{a}->{b}", a, b, a, b, "cross") for a in names for b in names if a < b]
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    pairs = pd.DataFrame(rows, columns=columns)
    settings = tuple(itertools.product(range(5), repeat=3))
    weights = np.array(settings) / 4  # (settings, regions), a structure in each
    own = best + noise * generator.standard_normal((len(pairs), 3))
    dice = 0.8 - LOSS * (weights[:, None, :] - own) ** 2
    folding = np.broadcast_to(0.01 * (1 - weights[:, :1]), (len(settings), len(pairs)))
    return Measurements(
        identity="0f",
        space=SPACE,
        settings=settings,
        pairs=pairs,
        labels=LABELS,
        values={"dice": dice, "folding": folding.copy()},
    )


def judge(measurements: Measurements, splits: int = 40) -> RegionalGain:
    found = judge_regions(measurements, SearchOptions(seed=3, splits=splits))
    assert found is not None
    return found


def test_without_noise_a_weight_for_each_region_gains_what_separate_fields_do() -> None:
    gain = judge(make_measurements(noise=0.0))
    # one weight for all is best at the middle of the three
    expected = LOSS * np.square(BEST - BEST.mean()).mean()
    assert gain.over_common.mean.value == pytest.approx(expected)
    assert gain.separate_over_common.mean.value == pytest.approx(expected)
    assert gain.share.value == pytest.approx(1)
    assert (gain.settings, gain.settings_of_one) == (125, 5)
    assert gain.weights == NAMES
    assert gain.folding[COMMON] == pytest.approx(0.005)


def test_a_gain_that_most_pairs_share_is_found_and_its_share_is_sure() -> None:
    gain = judge(make_measurements(noise=0.05))
    expected = LOSS * np.square(BEST - BEST.mean()).mean()
    low, high = gain.over_common.mean.interval
    assert low < expected < high
    assert gain.over_common.evidence is Evidence.FOUND
    assert gain.share.low <= 1 <= gain.share.high


def test_where_one_weight_is_best_for_all_regions_nothing_is_gained() -> None:
    gain = judge(make_measurements(noise=0.0, best=np.full(3, 0.5)))
    assert gain.over_common.mean.value == 0
    assert np.isnan(gain.share.value)
    assert gain.over_common.evidence is not Evidence.FOUND


def test_held_out_scores_are_those_of_a_loop_over_splits() -> None:
    measurements = make_measurements(noise=0.4)
    gain = judge(measurements)
    pairs = measurements.pairs
    subjects = sorted({*pairs["moving_subject"], *pairs["fixed_subject"]})
    splits = split_subjects(subjects, 40, 3)
    scores = measurements.values["dice"].mean(axis=2)
    of_one = [place for place, index in enumerate(measurements.settings) if len({*index}) == 1]
    found: dict[str, list[list[float]]] = {COMMON: [], ONE_FIELD: []}
    for ways in found.values():
        ways.extend([] for _ in range(len(pairs)))
    for selection in splits.selection:
        choosing = set(splits.subjects[selection])
        inside = pairs["moving_subject"].isin(choosing) & pairs["fixed_subject"].isin(choosing)
        outside = ~pairs["moving_subject"].isin(choosing) & ~pairs["fixed_subject"].isin(choosing)
        means = scores[:, inside.to_numpy()].mean(axis=1)
        best = {COMMON: max(of_one, key=means.__getitem__), ONE_FIELD: int(means.argmax())}
        for way, place in best.items():
            for pair in np.flatnonzero(outside):
                found[way][pair].append(float(scores[place, pair]))
    for way, scores_of_pairs in found.items():
        (entry,) = [one for one in gain.beside.entries if one.source == way]
        expected = [np.mean(one) if one else np.nan for one in scores_of_pairs]
        np.testing.assert_allclose(entry.of_label(None), np.array(expected, dtype=float))


def test_there_is_no_gain_to_judge_without_both_kinds_of_settings() -> None:
    measurements = make_measurements(noise=0.0)
    of_one = [index for index in measurements.settings if len({*index}) == 1]
    others = [index for index in measurements.settings if len({*index}) > 1]
    for settings in (of_one, others):
        assert judge_regions(measurements.at(settings), SearchOptions()) is None


def test_settings_of_one_weight_can_be_given() -> None:
    measurements = make_measurements(noise=0.0)
    given = [index for index in measurements.settings if index[0] == index[1] == index[2] == 2]
    found = judge_regions(measurements, SearchOptions(seed=3, splits=40), given)
    assert found is not None
    # the only one is the middle of the three: the best weights are 0, 0.25 and 0.25 away from it
    assert found.settings_of_one == 1
    assert found.over_common.mean.value == pytest.approx(LOSS * np.square(BEST - 0.5).mean())


def test_the_three_ways_stand_side_by_side() -> None:
    titles = [entry.title for entry in judge(make_measurements(noise=0.1)).beside.entries]
    assert titles == [COMMON, SEPARATE, ONE_FIELD]
