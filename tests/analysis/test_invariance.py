"""What must not matter to an analysis: the order of pairs and labels, and what they are called."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmopt.analysis.gain import gains_of_scopes, granularities
from hmopt.analysis.scope_result import ScopeResult, analyse_scopes
from hmopt.analysis.simulation import shifted, simulate, sweep
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import list_scopes

OPTIONS = SearchOptions(
    scopes=[["cohort"], ["label"], ["subject"]], reported=[], min_paired_subjects=4
)
SUBJECTS, PAIRS, LABELS = 7, 30, 3
MARGIN = 0.002


@cache
def simulated(seed: int) -> Measurements:
    return sweep(simulate(shifted([0.2, 0.3, 0.5], 0.1), SUBJECTS, PAIRS, seed))


cohorts = st.sampled_from(range(3)).map(simulated)
pair_orders = st.permutations(range(PAIRS))
label_orders = st.permutations(range(LABELS))
names = st.lists(
    st.text("abcxyz019-_ é", min_size=1, max_size=8),
    min_size=SUBJECTS,
    max_size=SUBJECTS,
    unique=True,
)
few_examples = settings(max_examples=8, deadline=None)


def analyse(measurements: Measurements) -> list[ScopeResult]:
    scopes = list_scopes(OPTIONS, measurements.pairs, measurements.labels)
    return analyse_scopes(measurements, None, scopes, OPTIONS)


def reordered(measurements: Measurements, order: list[int]) -> Measurements:
    pairs = measurements.pairs.iloc[order].reset_index(drop=True)
    values = {name: array[:, order] for name, array in measurements.values.items()}
    return replace(measurements, pairs=pairs, values=values)


def relabelled(measurements: Measurements, order: list[int], named: list[str]) -> Measurements:
    """Return the same measurements with labels in another order, under other names."""
    values = {name: array[:, :, order] for name, array in measurements.values.items()}
    return replace(measurements, labels=tuple(named[place] for place in order), values=values)


def renamed(measurements: Measurements, named: list[str]) -> Measurements:
    """Return the same measurements of subjects with other names, by the number of a subject."""
    pairs = measurements.pairs
    columns = {
        side: pairs[side].map({f"s{place}": name for place, name in enumerate(named)})
        for side in ("moving_subject", "fixed_subject")
    }
    return replace(measurements, pairs=pairs.assign(**columns))


def numbers_of(result: ScopeResult) -> list[float]:
    """Return λ*, the recommended λ, held-out scores and gains, and the intervals of gains."""
    held_out = result.held_out
    unpooled = result.held_out_unpooled
    assert held_out is not None
    assert unpooled is not None
    settings = [*result.full.optimum.setting.values(), *result.recommended.values()]
    found = [float(value) for value in settings]
    for mean in (held_out.score, held_out.over_common, held_out.over_default):
        found += [mean.value, mean.error, *mean.interval]
    return [*found, unpooled.over_common.value, unpooled.over_default.value]


def resampled_of(result: ScopeResult) -> list[float]:
    """Return the numbers that come from bootstrap samples."""
    optimum = result.full.optimum
    of_setting = [*optimum.intervals["regularization"], *optimum.equals["regularization"]]
    return [*of_setting, *optimum.score]


def assert_same(one: list[ScopeResult], other: list[ScopeResult]) -> None:
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert numbers_of(first) == pytest.approx(numbers_of(second), abs=1e-9, nan_ok=True)


def by_name(results: list[ScopeResult]) -> list[ScopeResult]:
    return sorted(results, key=lambda result: result.scope.name)


@few_examples
@given(measurements=cohorts, order=pair_orders)
def test_the_order_of_pairs_changes_no_optimum_and_no_gain(
    measurements: Measurements, order: list[int]
) -> None:
    shuffled = reordered(measurements, order)
    one, other = analyse(measurements), analyse(shuffled)
    assert_same(by_name(one), by_name(other))
    gains = granularities(one, measurements.pairs, MARGIN)
    again = granularities(other, shuffled.pairs, MARGIN)
    for gain, same in zip(gains, again, strict=True):
        assert (gain.name, gain.over, gain.evidence) == (same.name, same.over, same.evidence)
        assert gain.gain == pytest.approx(same.gain, abs=1e-9, nan_ok=True)
        assert gain.p_adjusted == pytest.approx(same.p_adjusted, abs=1e-9)
    for first, second in zip(by_name(one), by_name(other), strict=True):
        # other samples of the subjects are drawn: intervals differ by their Monte Carlo error
        width = first.full.optimum.score.high - first.full.optimum.score.low
        assert first.full.optimum.score == pytest.approx(
            second.full.optimum.score, abs=0.25 * width, nan_ok=True
        )


@few_examples
@given(measurements=cohorts, named=names)
def test_names_of_subjects_change_no_optimum_no_gain_and_no_interval(
    measurements: Measurements, named: list[str]
) -> None:
    one = analyse(measurements)
    other = analyse(renamed(measurements, named))
    number = {f"subject={name}": f"subject=s{place}" for place, name in enumerate(named)}
    other = sorted(other, key=lambda result: number.get(result.scope.name, result.scope.name))
    assert_same(by_name(one), other)
    for first, second in zip(by_name(one), other, strict=True):
        assert resampled_of(first) == pytest.approx(resampled_of(second), abs=1e-12, nan_ok=True)


@few_examples
@given(measurements=cohorts, order=label_orders, named=st.permutations(["a", "m", "z"]))
def test_order_and_names_of_labels_change_no_optimum_no_gain_and_no_interval(
    measurements: Measurements, order: list[int], named: list[str]
) -> None:
    one = analyse(measurements)
    other = analyse(relabelled(measurements, order, named))
    number = {f"label={name}": f"label=label {place}" for place, name in enumerate(named)}
    other = sorted(other, key=lambda result: number.get(result.scope.name, result.scope.name))
    assert_same(by_name(one), other)
    for first, second in zip(by_name(one), other, strict=True):
        assert resampled_of(first) == pytest.approx(resampled_of(second), abs=1e-12, nan_ok=True)
    of_labels = [result for result in one if result.scope.label]
    p_values = [gain.p_adjusted for gain in gains_of_scopes(of_labels, MARGIN)]
    again = gains_of_scopes([result for result in other if result.scope.label], MARGIN)
    assert sorted(p_values) == pytest.approx(sorted(gain.p_adjusted for gain in again), abs=1e-9)
