"""Curves that shrink towards their family's: the formula by loops, its limits, and what it gains."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.gain import family_gain
from hmopt.analysis.held_out import choose, split_subjects, sums_between
from hmopt.analysis.pooling import Member, pooled_places, shrink
from hmopt.analysis.scope_result import ScopeResult, analyse_scopes
from hmopt.analysis.simulation import shifted, simulate, sweep
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curves
from hmopt.search.scopes import Scope

SECTION = SearchOptions(metric="dice")


def shrunk_by_loops(
    means: NDArray[np.float64], without: NDArray[np.float64], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return pooled curves of K known scopes in one round by the formula, one number at a time, shape (K, s).

    `means` has shape (K, s), `without` (K, groups, s), `counted` (groups,).
    """
    scopes, settings = means.shape
    groups = [group for group in range(len(counted)) if counted[group]]
    family = [np.mean([means[k, s] for k in range(scopes)]) for s in range(settings)]
    best = int(np.argmax(family))
    pooled = np.zeros((scopes, settings))
    for s in range(settings):
        of_family = family[s] - family[best]
        differences, noises = [], []
        for k in range(scopes):
            differences.append(means[k, s] - means[k, best] - of_family)
            replicates = []
            for g in groups:
                gained = [without[other, g, s] - without[other, g, best] for other in range(scopes)]
                replicates.append(gained[k] - np.mean(gained))
            squares = sum((one - np.mean(replicates)) ** 2 for one in replicates)
            noises.append((len(groups) - 1) / len(groups) * squares)
        spread = max(
            sum(d**2 - v for d, v in zip(differences, noises, strict=True)) / (scopes - 1), 0
        )
        for k, (difference, noise) in enumerate(zip(differences, noises, strict=True)):
            weight = spread / (spread + noise) if spread + noise else 0.0
            if difference:
                weight = max(weight, 1 - noise / difference**2)
            pooled[k, s] = of_family + weight * difference
    return pooled


def family_of(
    scopes: int, groups: int, settings: int, noise: float, spread: float = 0.01
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return curves of scopes of shape (K, s), and those without each group of subjects, shape (K, groups, s)."""
    generator = np.random.default_rng(0)
    truth = (
        0.7
        - 0.1 * np.linspace(-0.5, 0.5, settings) ** 2
        + generator.normal(0, spread, (scopes, settings))
    )
    of_group = truth[:, None] + generator.normal(0, noise, (scopes, groups, settings))
    means = of_group.mean(axis=1)
    return means, (groups * means[:, None] - of_group) / (groups - 1)


def pool(
    means: NDArray[np.float64],
    without: NDArray[np.float64],
    known: NDArray[np.bool_],
    counted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Pool curves, shape (K, r, s), with the variance of replicates without each group of subjects.

    `without` has shape (K, r, groups, s), `known` (K, r), `counted` (r, groups).
    """
    share = known / np.maximum(known.sum(axis=0), 1)
    best = np.einsum("kr,krs->rs", share, means).argmax(axis=1)
    at_best = without[:, np.arange(len(best)), :, best].transpose(1, 0, 2)
    gained = without - at_best[:, :, :, None]
    varied = gained - np.einsum("kr,krgs->rgs", share, gained)
    inside = counted.astype(float)
    number = inside.sum(axis=1)[:, None]
    centre = np.einsum("krgs,rg->krs", varied, inside) / number
    squares = np.einsum("krgs,rg->krs", (varied - centre[:, :, None]) ** 2, inside)
    variance = (number - 1) / number * squares
    pooled = shrink(means.transpose(0, 2, 1), variance.transpose(0, 2, 1), known)
    return pooled.transpose(0, 2, 1)


def known(scopes: int) -> NDArray[np.bool_]:
    return np.ones((scopes, 1), dtype=bool)


@pytest.mark.parametrize("noise", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("scopes", [2, 5])
def test_pooled_curves_follow_the_formula_one_number_at_a_time(scopes: int, noise: float) -> None:
    means, without = family_of(scopes, groups=7, settings=6, noise=noise)
    counted = np.array([True, True, False, True, True, True, False])
    found = pool(means[:, None], without[:, None], known(scopes), counted[None])
    np.testing.assert_allclose(found[:, 0], shrunk_by_loops(means, without, counted), atol=1e-12)


def test_rounds_do_not_see_each_other_and_unknown_scopes_take_no_part() -> None:
    rounds = [family_of(4, groups=6, settings=5, noise=noise) for noise in (0.005, 0.05)]
    means, without = (np.stack([one[part] for one in rounds], axis=1) for part in (0, 1))
    takes_part = np.array([[True, True], [True, False], [True, True], [True, True]])
    counted = np.ones((2, 6), dtype=bool)
    found = pool(means, without, takes_part, counted)
    np.testing.assert_allclose(
        found[:, 0], shrunk_by_loops(means[:, 0], without[:, 0], counted[0]), atol=1e-12
    )
    others = [0, 2, 3]
    expected = shrunk_by_loops(means[others, 1], without[others, 1], counted[1])
    np.testing.assert_allclose(found[others, 1], expected, atol=1e-12)
    family = means[others, 1].mean(axis=0)
    np.testing.assert_allclose(found[1, 1], family - family.max(), atol=1e-12)


def test_without_noise_every_scope_keeps_its_curve() -> None:
    means, _ = family_of(5, groups=6, settings=7, noise=0.0)
    without = np.repeat(means[:, None, None], 6, axis=2)
    found = pool(means[:, None], without, known(5), np.ones((1, 6), bool))[:, 0]
    np.testing.assert_allclose(found - found[:, :1], means - means[:, :1], atol=1e-12)


def test_scopes_that_differ_by_no_more_than_their_noise_all_get_the_familys_curve() -> None:
    generator = np.random.default_rng(1)
    means = np.array([0.60, 0.66, 0.7, 0.65]) + generator.normal(0, 0.001, (6, 4))
    without = means[:, None] + generator.normal(0, 0.01, (6, 8, 4))
    found = pool(means[:, None], without[:, None], known(6), np.ones((1, 8), bool))[:, 0]
    family = means.mean(axis=0)
    np.testing.assert_allclose(found, np.tile(family - family.max(), (6, 1)), atol=1e-12)


@pytest.mark.parametrize(("noise_of_last", "expected"), [(0.0005, 4), (0.3, 1)])
def test_a_scope_far_from_its_family_keeps_its_own_best_setting_only_where_it_is_sure(
    noise_of_last: float, expected: int
) -> None:
    settings = np.linspace(0, 1, 5)
    bests = np.array([0.25] * 9 + [1.0])
    means = 0.7 - 0.1 * (settings - bests[:, None]) ** 2
    # eight groups whose differences from the mean curve add up to 0
    of_groups = np.random.default_rng(2).normal(size=(10, 8, 5))
    of_groups -= of_groups.mean(axis=1, keepdims=True)
    noise = np.full(10, 0.002)
    noise[-1] = noise_of_last
    without = means[:, None] - noise[:, None, None] * of_groups / 7
    found = pool(means[:, None], without[:, None], known(10), np.ones((1, 8), bool))[:, 0]
    assert means[-1].argmax() == 4
    assert found[-1].argmax() == expected
    assert set(found[:-1].argmax(axis=1)) == {1}


def test_a_family_of_one_scope_has_its_own_curve() -> None:
    means, without = family_of(1, groups=6, settings=5, noise=0.05)
    found = pool(means[:, None], without[:, None], known(1), np.ones((1, 6), bool))[0, 0]
    np.testing.assert_allclose(found, means[0] - means[0].max(), atol=1e-12)


def cohort(seed: int, bests: list[float], subjects: int = 8, pairs: int = 24) -> Measurements:
    return sweep(simulate(shifted(bests, 0.1), subjects, pairs, seed))


def labels_of(measurements: Measurements) -> list[Scope]:
    return [Scope(criteria=(("label", label),)) for label in measurements.labels]


def find(measurements: Measurements, section: SearchOptions = SECTION) -> list[ScopeResult]:
    return analyse_scopes(measurements, None, labels_of(measurements), section)


def test_what_is_chosen_in_a_round_is_the_best_of_curves_pooled_over_those_who_choose() -> None:
    measurements = cohort(0, [0.1, 0.3, 0.5], subjects=9, pairs=60)
    curves = Curves(measurements, "dice")
    responses = [curves.of(scope) for scope in labels_of(measurements)]
    moving, fixed = (
        measurements.pairs[f"{side}_subject"].to_numpy(dtype=object) for side in ("moving", "fixed")
    )
    everyone = sorted({*moving, *fixed})
    splits = split_subjects(everyone, splits=500, seed=0)
    sums = [
        sums_between(response, splits, moving, fixed)
        for response in responses
        if response is not None
    ]
    found = pooled_places([Member(sums=one, group=None) for one in sums], splits.selection)
    own = np.array([choose(one, splits.selection) for one in sums])
    assert (found != own).any()
    for round_, row in enumerate(splits.selection):
        who = [name for name, chooses in zip(everyone, row, strict=True) if chooses]
        inside = np.isin(moving, who) & np.isin(fixed, who)
        leaving = [inside & (moving != name) & (fixed != name) for name in who]
        scores = [response.scores for response in responses if response is not None]
        means = np.array([one[:, inside].mean(axis=1) for one in scores])
        without = np.array([[one[:, left].mean(axis=1) for left in leaving] for one in scores])
        expected = shrunk_by_loops(means, without, np.ones(len(who), dtype=bool))
        np.testing.assert_array_equal(found[:, round_], expected.argmax(axis=1))


def gained_by_pooling(bests: list[float], subjects: int, pairs: int) -> NDArray[np.float64]:
    """Return how much more pooled than unpooled settings gain on held-out subjects, in each of many cohorts."""
    gains = []
    for seed in range(16):
        measurements = cohort(seed, bests, subjects, pairs)
        found = find(measurements)
        pooled, unpooled = (
            family_gain(found, measurements.pairs, "default", one).value for one in (True, False)
        )
        gains.append(pooled - unpooled)
    return np.array(gains)


@pytest.mark.parametrize(("subjects", "pairs"), [(6, 30), (8, 24)])
def test_scopes_with_one_curve_and_few_subjects_gain_by_pooling(subjects: int, pairs: int) -> None:
    found = gained_by_pooling([0.2] * 6, subjects, pairs)
    assert stats.ttest_1samp(found, 0, alternative="greater").pvalue < 0.01


def test_scopes_that_truly_differ_lose_nothing_by_pooling() -> None:
    found = gained_by_pooling([0.0, 0.0, 0.6, 0.6], subjects=10, pairs=90)
    assert found.mean() > -0.0003


def test_a_metric_to_be_minimized_is_pooled_to_the_same_settings_and_gains() -> None:
    dice = cohort(3, [0.1, 0.2, 0.5])
    distance = replace(dice, values={"hd95_mm": 1 - dice.values["dice"]})
    section = SearchOptions(metric="hd95_mm")
    for one, other in zip(find(dice), find(distance, section), strict=True):
        assert one.recommended == other.recommended
        assert one.held_out is not None
        assert other.held_out is not None
        assert one.held_out.over_common.value == pytest.approx(
            other.held_out.over_common.value, abs=1e-12
        )
        assert one.held_out.score.value == pytest.approx(1 - other.held_out.score.value)
