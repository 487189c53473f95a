"""The amortization gap on curves whose minima and best settings are known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.gap import (
    CONVERGED,
    FEWEST_REFINED_SETTINGS,
    MODEL,
    MOST_REFINED_SETTINGS,
    REFINED,
    GapResult,
    gap_settings,
    judge_gap,
    relative_excess,
)
from hmopt.analysis.held_out import split_subjects
from hmopt.analysis.transfer import Answer
from hmopt.declaration.search import SearchOptions
from hmopt.errors import LedgerError
from hmopt.ledger.measurements import Measurements
from hmopt.search.lattice import coarse_lattice
from hmopt.search.scopes import Scope
from hmopt.space import Hyperparameter, Space
from tests.analysis.made_up_stages import EXCESS, ITERATIONS, SECONDS, make_stages

SPACE = Space(hyperparameters=(Hyperparameter(name="regularization", step=0.125),))
LABELS = ("thalamus", "cortex", "ventricle")
VALUES = np.linspace(0, 1, 9)
STEEP = 0.3
OPTIONS = SearchOptions(scopes=[["cohort"], ["label"], ["subject"]], splits=20)

Judge = Callable[..., GapResult]


def make_dice(best: float, pairs: int, seed: int, noise: float = 0.002) -> np.ndarray:
    """Dice that falls with the squared distance from a best value, which varies by pair: (9, pairs, 3)."""
    generator = np.random.default_rng(seed)
    own = best + 0.02 * generator.standard_normal((pairs, len(LABELS)))
    level = 0.7 + noise * generator.standard_normal((pairs, len(LABELS)))
    dice: np.ndarray = level - STEEP * (VALUES[:, None, None] - own) ** 2
    return dice


def make_measurements(best: float = 0.25, subjects: int = 12, noise: float = 0.002) -> Measurements:
    names = [f"s{number:02d}" for number in range(subjects)]
    rows = [(f"{a}->{b}", a, b, a, b, "cross") for a in names for b in names if a < b]
    columns = ["pair", "moving", "fixed", "moving_subject", "fixed_subject", "task"]
    dice = make_dice(best, len(rows), seed=0, noise=noise)
    return Measurements(
        identity="0f",
        space=SPACE,
        settings=tuple((place,) for place in range(9)),
        pairs=pd.DataFrame(rows, columns=columns),
        labels=LABELS,
        values={"dice": dice, "folding": np.zeros(dice.shape[:2])},
    )


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Judge stages with given best values; those of the model are at 0.25."""

    def build(
        refined: float, converged: float, subjects: int = 12, noise: float = 0.002
    ) -> GapResult:
        measurements = make_measurements(subjects=subjects, noise=noise)
        count = len(measurements.pairs)
        dice = [
            measurements.values["dice"],
            make_dice(refined, count, seed=1, noise=noise) + 0.01,
            make_dice(converged, count, seed=2, noise=noise) + 0.015,
        ]
        record, stages = make_stages(measurements, dice, OPTIONS)
        gap = judge_gap(measurements, record, stages, OPTIONS)
        assert gap is not None
        return gap

    return build


def test_losses_and_scores_at_each_setting_are_those_of_the_stages(judge: Judge) -> None:
    gap = judge(refined=0.25, converged=0.25)
    assert gap.iterations == ITERATIONS
    for one in gap.settings:
        # every pair is above its minimum by the same share, so that there is no error
        np.testing.assert_allclose([excess.value for excess in one.excess], EXCESS, atol=1e-12)
        assert [excess.error for excess in one.excess] == [0, 0, 0]
        assert one.seconds == SECONDS
        assert one.folding == pytest.approx((0, 0.001, 0.002))
        assert one.converged[REFINED] == pytest.approx(0.25)
        lost = one.score[CONVERGED] - one.score[MODEL]
        assert one.shortfall[MODEL].value == pytest.approx(lost)
        assert one.shortfall[CONVERGED].value == 0
    assert gap.at_recommended.setting == {"regularization": 0.25}
    assert gap.at_recommended.shortfall[MODEL].interval[0] > 0
    assert gap.subjects == 12
    assert str(gap).endswith("carry over to 25 iterations? yes")


def test_the_best_setting_is_found_in_each_stage(judge: Judge) -> None:
    gap = judge(refined=0.5, converged=0.75)
    found = [view.optimum.setting["regularization"] for view in gap.cohort.views]
    assert found == [0.25, 0.5, 0.75]
    assert 0.75 in gap.cohort.views[CONVERGED].optimum.intervals["regularization"]


def test_the_same_best_setting_carries_over(judge: Judge) -> None:
    gap = judge(refined=0.25, converged=0.25)
    assert [scope.scope.label for scope in gap.scopes] == [None, *LABELS]
    for scope in gap.scopes:
        assert scope.answers == (Answer.CARRIES_OVER, Answer.CARRIES_OVER)
        assert scope.transfers[MODEL] is None


def test_a_setting_far_from_the_best_loses_what_the_parabola_says(judge: Judge) -> None:
    gap = judge(refined=0.25, converged=0.75)
    for scope in gap.scopes:
        assert scope.answers == (Answer.CARRIES_OVER, Answer.DOES_NOT)
        transfer = scope.transfers[CONVERGED]
        assert transfer is not None
        assert transfer.setting == {"regularization": 0.25}
        assert transfer.loss.value == pytest.approx(STEEP * 0.5**2, abs=0.005)
        low, high = transfer.loss.interval
        assert low < STEEP * 0.5**2 < high
        # as good as before: of each stage its own choice
        held_out = scope.held_out[CONVERGED]
        assert held_out is not None
        assert held_out.value == pytest.approx(0.715, abs=0.003)


def test_few_subjects_give_no_answer(judge: Judge) -> None:
    gap = judge(refined=0.75, converged=0.75, subjects=4)
    assert gap.cohort.answers == (Answer.TOO_FEW, Answer.TOO_FEW)


def test_what_noise_hides_is_open() -> None:
    measurements = make_measurements(subjects=8)
    generator = np.random.default_rng(0)
    dice = [make_dice(best, len(measurements.pairs), seed=1) for best in (0.25, 0.375, 0.375)]
    dice = [one + 0.1 * generator.standard_normal(one.shape) for one in dice]
    gap = judge_gap(measurements, *make_stages(measurements, dice, OPTIONS), OPTIONS)
    assert gap is not None
    assert gap.cohort.answers[0] is Answer.OPEN


def test_the_transfer_is_that_of_a_loop_over_pairs_and_splits() -> None:
    measurements = make_measurements(noise=0.05)
    generator = np.random.default_rng(3)
    dice = [make_dice(best, len(measurements.pairs), seed=4) for best in (0.3, 0.4, 0.45)]
    # noise that lets the choice depend on the split, and a label that some pairs lack
    dice = [one + 0.02 * generator.standard_normal(one.shape) for one in dice]
    for one in dice:
        one[:, ::7, 1] = np.nan
    record, stages = make_stages(measurements, dice, OPTIONS)
    gap = judge_gap(measurements, record, stages, OPTIONS)
    assert gap is not None

    pairs = measurements.pairs
    subjects = sorted({*pairs["moving_subject"], *pairs["fixed_subject"]})
    splits = split_subjects(subjects, OPTIONS.splits, OPTIONS.seed)
    scores = [np.nanmean(one, axis=2) for one in dice]
    losses: dict[str, list[float]] = {}
    for selection in splits.selection:
        choosing = splits.subjects[selection]
        moving = pairs["moving_subject"].isin(choosing).to_numpy()
        fixed = pairs["fixed_subject"].isin(choosing).to_numpy()
        of_model, of_refined = (
            int(scores[stage][:, moving & fixed].mean(axis=1).argmax())
            for stage in (MODEL, REFINED)
        )
        for row in np.flatnonzero(~moving & ~fixed):
            loss = scores[REFINED][of_refined, row] - scores[REFINED][of_model, row]
            losses.setdefault(pairs["pair"][row], []).append(float(loss))
    expected = float(np.mean([np.mean(of_pair) for of_pair in losses.values()]))
    transfer = gap.cohort.transfers[REFINED]
    assert transfer is not None
    assert expected != 0
    assert transfer.loss.value == pytest.approx(expected, abs=1e-12)


def test_answers_do_not_depend_on_the_order_of_pairs_or_structures(judge: Judge) -> None:
    measurements = make_measurements()
    dice = [make_dice(best, len(measurements.pairs), seed=5) for best in (0.25, 0.3, 0.6)]
    record, stages = make_stages(measurements, dice, OPTIONS)
    first = judge_gap(measurements, record, stages, OPTIONS)
    order = np.random.default_rng(1).permutation(len(measurements.pairs))

    def turned(one: Measurements) -> Measurements:
        values = {}
        for name, array in one.values.items():
            values[name] = array[:, order, ::-1] if array.ndim == 3 else array[:, order]
        pairs = one.pairs.iloc[order].reset_index(drop=True)
        return replace(one, pairs=pairs, labels=one.labels[::-1], values=values)

    second = judge_gap(turned(measurements), record, [turned(one) for one in stages], OPTIONS)
    assert first is not None
    assert second is not None
    answers = {scope.scope: scope.answers for scope in first.scopes}
    assert {scope.scope: scope.answers for scope in second.scopes} == answers
    for one, other in zip(first.settings, second.settings, strict=True):
        np.testing.assert_allclose(one.shortfall[MODEL].estimate, other.shortfall[MODEL].estimate)


def test_scores_of_another_search_are_refused() -> None:
    measurements = make_measurements()
    dice = [measurements.values["dice"]] * 3
    record, stages = make_stages(
        measurements.at([(0,), (8,)]), [one[[0, 8]] for one in dice], OPTIONS
    )
    with pytest.raises(LedgerError, match="the best setting of the present search"):
        judge_gap(measurements, record, stages, OPTIONS)
    record, stages = make_stages(measurements, dice, OPTIONS)
    without = replace(record, metrics=("folding", "loss"))
    with pytest.raises(LedgerError, match="expected dice, folding, loss"):
        judge_gap(measurements, without, stages, OPTIONS)


def test_an_excess_has_the_error_of_a_ratio_without_each_subject() -> None:
    generator = np.random.default_rng(0)
    names = [f"s{number:02d}" for number in range(40)]
    moving = np.array([a for a in names for b in names if a != b], dtype=object)
    fixed = np.array([b for a in names for b in names if a != b], dtype=object)
    own = dict(zip(names, 0.2 * generator.standard_normal(len(names)), strict=True))
    references = np.array([1 + own[a] + own[b] for a, b in zip(moving, fixed, strict=True)])
    values = references * (1.1 + 0.05 * generator.standard_normal(len(references))) + 0.1
    found = relative_excess(values, references, moving, fixed)
    assert found.value == pytest.approx(values.mean() / references.mean() - 1)
    replicates = []
    for name in names:
        left = (moving != name) & (fixed != name)
        replicates.append(values[left].mean() / references[left].mean())
    spread = np.var(replicates) * len(names)
    expected = ((len(names) - 1) / len(names) * spread) ** 0.5
    assert found.error == pytest.approx(expected, rel=0.03)


def test_there_is_no_excess_over_a_minimum_of_nothing() -> None:
    names = np.array(list("abcdef"), dtype=object)
    for minimum in (0.0, -1.0, 1e-9):
        found = relative_excess(np.ones(6), np.full(6, minimum), names, names, least=1e-3)
        assert np.isnan([found.value, found.error]).all()


def test_settings_are_spread_over_the_range_and_hold_the_best_ones() -> None:
    space = Space(hyperparameters=(Hyperparameter(name="regularization"),))
    values = np.linspace(0, 1, 201)
    measurements = make_measurements()
    best = np.array([0.1, 0.4, 0.635])
    dice = np.repeat(-((values[:, None, None] - best) ** 2), len(measurements.pairs), axis=1)
    measured = replace(
        measurements,
        space=space,
        settings=tuple((place,) for place in range(201)),
        values={"dice": dice, "folding": np.zeros(dice.shape[:2])},
    )
    found = gap_settings(measured, OPTIONS)
    assert found == sorted(set(found))
    assert FEWEST_REFINED_SETTINGS <= len(found) <= MOST_REFINED_SETTINGS
    assert set(coarse_lattice(space, OPTIONS.coarse)[::2]) <= set(found)
    for value in best:
        assert (round(200 * value),) in found
    cohort = round(200 * float(best.mean()))
    assert (cohort,) in found


def test_a_surface_of_two_hyperparameters_is_spread_over_no_more_settings() -> None:
    space = Space(
        hyperparameters=(
            Hyperparameter(name="regularization", step=0.125),
            Hyperparameter(name="label_weight", step=0.125),
        )
    )
    settings = tuple((one, other) for one in range(9) for other in range(9))
    measurements = make_measurements()
    places = np.array(settings) / 8
    distance = ((places - [0.25, 0.5]) ** 2).sum(axis=1)
    dice = np.tile(-distance[:, None, None], (1, len(measurements.pairs), len(LABELS)))
    measured = replace(
        measurements,
        space=space,
        settings=settings,
        values={"dice": dice, "folding": np.zeros(dice.shape[:2])},
    )
    found = gap_settings(measured, OPTIONS)
    assert (2, 4) in found
    assert FEWEST_REFINED_SETTINGS <= len(found) <= MOST_REFINED_SETTINGS


def test_evidence_of_families_is_corrected_together(judge: Judge) -> None:
    gap = judge(refined=0.25, converged=0.75)
    labels = [scope for scope in gap.scopes if scope.scope != Scope(criteria=())]
    for scope in labels:
        transfer = scope.transfers[CONVERGED]
        assert transfer is not None
        assert transfer.p_adjusted >= transfer.loss.p_value
        assert transfer.evidence is Evidence.FOUND
