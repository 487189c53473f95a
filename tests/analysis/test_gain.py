from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.evidence import LEVEL, Evidence, holm
from hmopt.analysis.gain import Gain, Over, adjusted, family_gain, gains_of_scopes, granularities
from hmopt.analysis.jackknife import Mean, jackknife
from hmopt.analysis.scope_result import ScopeResult, analyse_scopes
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope, list_scopes

SECTION = SearchOptions(
    metric="dice", min_paired_subjects=5, scopes=[["cohort"], ["label"], ["age"], ["subject"]]
)
MARGIN = 0.002
Make = Callable[..., Measurements]


def find(measurements: Measurements, section: SearchOptions = SECTION) -> list[ScopeResult]:
    return analyse_scopes(
        measurements, None, list_scopes(section, measurements.pairs, measurements.labels), section
    )


def of_kind(findings: list[ScopeResult], kind: str) -> list[ScopeResult]:
    return [finding for finding in findings if [k for k, _ in finding.scope.criteria] == [kind]]


@pytest.fixture
def measured(
    make: Make, all_cross: list[tuple[str, str]], random_dice: NDArray[np.float64]
) -> Measurements:
    return make(all_cross, random_dice)


@pytest.fixture
def found(measured: Measurements) -> list[ScopeResult]:
    return find(measured)


def variance_over_splits(
    members: list[ScopeResult], pairs: list[int], of_pair: dict[int, list[float]], pooled: bool
) -> float:
    """(n - d) / d times the variance of a family's mean gain over the splits, by loops."""
    gains = []
    for finding in members:
        held = finding.held_out if pooled else finding.held_out_unpooled
        assert held is not None
        ratio = held.ratio
        of_splits = held.default_gains_of_splits
        gains.append(np.where(np.isnan(of_splits), np.nanmean(of_splits), of_splits))
    families = []
    for split in range(len(gains[0])):
        total = 0.0
        for finding, of_splits in zip(members, gains, strict=True):
            held = finding.held_out if pooled else finding.held_out_unpooled
            assert held is not None
            total += sum(of_splits[split] / len(of_pair[int(pair)]) for pair in held.pairs)
        families.append(total / len(pairs))
    return float(ratio * np.var(families))


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("over", ["common", "default"])
@pytest.mark.parametrize("kind", ["label", "age", "subject"])
def test_a_familys_gain_is_the_jackknife_of_each_pairs_mean_over_the_members_that_it_belongs_to(
    measured: Measurements, found: list[ScopeResult], kind: str, over: Over, pooled: bool
) -> None:
    of_pair: dict[int, list[float]] = {}
    members = of_kind(found, kind)
    for finding in members:
        held = finding.held_out if pooled else finding.held_out_unpooled
        assert held is not None
        gains = held.gains if over == "common" else held.default_gains
        for pair, gained in zip(held.pairs, gains, strict=True):
            of_pair.setdefault(int(pair), []).append(float(gained))
    pairs = sorted(of_pair)
    values = np.array([np.mean(of_pair[pair]) for pair in pairs])
    moving, fixed = (
        measured.pairs[f"{side}_subject"].to_numpy(dtype=object)[pairs]
        for side in ("moving", "fixed")
    )
    expected = jackknife(values, moving, fixed)
    given = family_gain(members, measured.pairs, over, pooled)
    variance = 0.0
    if over == "default":
        variance = variance_over_splits(members, pairs, of_pair, pooled)
    error = np.sqrt(expected.error**2 + variance)
    assert (given.value, given.error) == pytest.approx((expected.value, error), abs=1e-15)
    assert given.freedom == 7
    assert given.subjects == expected.subjects == 8
    if kind == "subject":
        assert max(len(them) for them in of_pair.values()) == 2


def test_every_granularity_is_compared_with_the_default_and_with_the_single_best(
    measured: Measurements, found: list[ScopeResult]
) -> None:
    gains = granularities(found, measured.pairs, MARGIN)
    expected = [("cohort", "default")]
    expected += [
        (name, over) for name in ("label", "age", "subject") for over in ("common", "default")
    ]
    assert [(gain.name, gain.over) for gain in gains] == expected
    assert {gain.choosing for gain in gains} == {6}
    for gain in gains[1:]:
        members = of_kind(found, gain.name)
        assert gain.mean == family_gain(members, measured.pairs, gain.over)
        assert gain.unpooled == family_gain(members, measured.pairs, gain.over, pooled=False)


def test_labels_with_different_optima_are_evidence_and_groups_without_difference_are_not(
    measured: Measurements, found: list[ScopeResult]
) -> None:
    gains = {(gain.name, gain.over): gain for gain in granularities(found, measured.pairs, MARGIN)}
    for over in ("common", "default"):
        assert gains["label", over].evidence is Evidence.FOUND
        assert gains["label", over].improves
        assert not gains["label", over].harms
    assert gains["age", "common"].evidence is not Evidence.FOUND


def test_p_values_are_two_sided_t_tests_and_are_raised_together(found: list[ScopeResult]) -> None:
    labels = of_kind(found, "label")
    gains = gains_of_scopes(labels, MARGIN)
    raw = []
    for finding in labels:
        held = finding.held_out
        assert held is not None
        raw.append(2 * stats.t.sf(abs(held.over_common.value) / held.over_common.error, 7))
    assert [gain.p_value for gain in gains] == pytest.approx(raw)
    assert [gain.p_adjusted for gain in gains] == pytest.approx(holm(raw).tolist())
    assert min(gain.p_adjusted for gain in gains) == pytest.approx(2 * min(raw))
    assert [gain.gain.value for gain in gains] == [
        f.held_out.over_common.value for f in labels if f.held_out
    ]


def asked(value: float, error: float, subjects: int = 9) -> Gain:
    mean = Mean(value=value, error=error, freedom=subjects - 1, subjects=subjects)
    return Gain(
        name="label",
        over="common",
        mean=mean,
        unpooled=mean,
        p_adjusted=mean.p_value,
        choosing=7,
        evidence=Evidence.NONE,
    )


def test_a_gain_that_is_evidence_alone_may_be_none_among_many_questions() -> None:
    one = asked(0.01, 0.004)
    nothing = [asked(0.001, 0.005) for _ in range(9)]
    assert one.p_value < LEVEL < 10 * one.p_value
    assert adjusted([one], MARGIN)[0].evidence is Evidence.FOUND
    assert {gain.evidence for gain in adjusted([one, *nothing], MARGIN)} == {Evidence.NONE}


def test_a_loss_is_evidence_of_a_loss_and_no_improvement() -> None:
    (lost,) = adjusted([asked(-0.01, 0.002)], MARGIN)
    assert lost.evidence is Evidence.FOUND
    assert lost.harms
    assert not lost.improves


def test_a_sure_gain_below_the_margin_is_negligible_and_neither_improves_nor_harms() -> None:
    for small in adjusted([asked(0.001, 0.0001), asked(-0.001, 0.0001)], MARGIN):
        assert small.p_adjusted < LEVEL
        assert small.evidence is Evidence.NEGLIGIBLE
        assert not small.improves
        assert not small.harms


def test_too_few_subjects_cost_the_others_nothing() -> None:
    few, enough = adjusted([asked(0.01, 0.001, subjects=4), asked(0.01, 0.004)], MARGIN)
    assert few.evidence is Evidence.TOO_FEW
    assert np.isnan(few.p_adjusted)
    assert enough.p_adjusted == enough.p_value


def test_noise_alone_is_seldom_taken_for_a_gain(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    section = SECTION.model_copy(update={"scopes": [["label"]]})
    alarms = []
    for seed in range(40):
        measurements = make(
            all_cross, np.random.default_rng(seed).normal(0.6, 0.02, (5, len(all_cross), 2))
        )
        gains = gains_of_scopes(find(measurements, section), MARGIN)
        alarms.append(any(gain.improves for gain in gains))
    assert np.mean(alarms) <= stats.binom.ppf(0.999, 40, LEVEL) / 40


@pytest.mark.parametrize(
    ("everyone", "expected"), [("abcd", Evidence.TOO_FEW), ("abcde", Evidence.FOUND)]
)
def test_five_subjects_are_the_fewest_for_a_verdict(
    make: Make, all_cross: list[tuple[str, str]], everyone: str, expected: Evidence
) -> None:
    few = [(a, b) for a, b in all_cross if a[0] in everyone and b[0] in everyone]
    values = np.linspace(0, 1, 5)[:, None, None]
    of_pair = np.random.default_rng(0).normal(0, 0.01, (len(few), 2))
    dice = 0.7 - 0.2 * (values - np.array([0.0, 1.0])) ** 2 + of_pair * (1 + values)
    measurements = make(few, dice)
    gains = gains_of_scopes(of_kind(find(measurements), "label"), MARGIN)
    assert {gain.evidence for gain in gains} == {expected}
    assert {gain.subjects for gain in gains} == {len(everyone)}


def test_a_scope_that_nobody_could_judge_is_left_out(make: Make) -> None:
    measurements = make([("a1", "b1"), ("b1", "c1")], np.full((5, 2, 2), 0.5))
    findings = analyse_scopes(
        measurements, None, [Scope(criteria=()), Scope(criteria=(("label", "cortex"),))], SECTION
    )
    assert [finding.held_out for finding in findings] == [None, None]
    assert granularities(findings, measurements.pairs, MARGIN) == []
    assert gains_of_scopes(findings[1:], MARGIN) == []
