from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hmopt.analysis.gain import family_gain
from hmopt.analysis.held_out import HeldOut
from hmopt.analysis.scope_result import ScopeResult, analyse_scopes, optima_table
from hmopt.analysis.warnings import OptimumWarning
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope, list_scopes
from hmopt.space import Space

SECTION = SearchOptions(metric="dice", folding_limit=0.001, min_paired_subjects=5)
COHORT, CORTEX, THALAMUS = (
    Scope(criteria=()),
    Scope(criteria=(("label", "cortex"),)),
    Scope(criteria=(("label", "thalamus"),)),
)
LABELS = [CORTEX, THALAMUS]


def held_out(finding: ScopeResult) -> HeldOut:
    assert finding.held_out is not None
    return finding.held_out


def falling(pairs: int) -> np.ndarray:
    return np.repeat(np.array([0.01, 0.004, 0.001, 0.0, 0.0])[:, None], pairs, axis=1)


def test_labels_with_different_optima_gain_by_choosing_each(
    make: Callable[..., Measurements],
    all_cross: list[tuple[str, str]],
    random_dice: NDArray[np.float64],
) -> None:
    measurements = make(all_cross, random_dice, falling(len(all_cross)))
    findings = analyse_scopes(measurements, None, LABELS, SECTION)
    assert [finding.full.optimum.setting["regularization"] for finding in findings] == [0.0, 0.75]
    gains = [held_out(finding).over_common for finding in findings]
    assert all(gain.interval.low > 0 for gain in gains)
    gain = family_gain(findings, measurements.pairs)
    own = np.mean([gain.value for gain in gains])
    assert gain.value == pytest.approx(own)
    assert gain.interval.low > 0


@pytest.mark.parametrize(("dice_before", "flagged"), [(0.99, True), (0.01, False)])
def test_a_scope_that_registration_does_not_help_is_flagged(
    make: Callable[..., Measurements],
    all_cross: list[tuple[str, str]],
    random_dice: NDArray[np.float64],
    dice_before: float,
    flagged: bool,
) -> None:
    measurements = make(all_cross, random_dice)
    values = {"dice": np.full((1, *random_dice.shape[1:]), dice_before)}
    before = replace(measurements, settings=((),), space=Space(hyperparameters=()), values=values)
    (finding,) = analyse_scopes(measurements, None, [COHORT], SECTION, before=before)
    assert finding.score_unregistered == pytest.approx(dice_before)
    assert (OptimumWarning.NO_BETTER in finding.warnings) == flagged


def test_the_cohort_gains_nothing_over_itself(
    make: Callable[..., Measurements],
    all_cross: list[tuple[str, str]],
    random_dice: NDArray[np.float64],
) -> None:
    (finding,) = analyse_scopes(make(all_cross, random_dice), None, [COHORT], SECTION)
    gained = held_out(finding).over_common
    assert (gained.value, gained.error, gained.p_value) == (0.0, 0.0, 1.0)
    assert np.isnan(gained.interval).all()
    assert finding.score_at_common == finding.full.optimum.score.value


def test_a_subject_is_judged_with_partners_that_did_not_choose(
    make: Callable[..., Measurements], all_cross: list[tuple[str, str]]
) -> None:
    partner_best = {name: place % 2 * 4 for place, name in enumerate("abcdefgh")}
    dice = np.full((5, len(all_cross), 2), 0.5)
    for pair, (moving, fixed) in enumerate(all_cross):
        other = fixed if moving == "a1" else moving
        dice[partner_best[other[0]], pair] = 0.7
    (finding,) = analyse_scopes(
        make(all_cross, dice), None, [Scope(criteria=(("subject", "a"),))], SECTION
    )
    assert finding.full.optimum.score.value == pytest.approx(0.5 + 0.2 * 4 / 7)
    assert held_out(finding).score.value < finding.full.optimum.score.value
    assert len(held_out(finding).pairs) == 14
    assert finding.warnings[-1] is OptimumWarning.FEW_PARTNERS


def test_scopes_without_measurements_are_left_out_and_few_subjects_are_flagged(
    make: Callable[..., Measurements],
    all_cross: list[tuple[str, str]],
    random_dice: NDArray[np.float64],
) -> None:
    random_dice[:, :, 1] = np.nan
    findings = analyse_scopes(make(all_cross, random_dice), None, LABELS, SECTION)
    assert [finding.scope for finding in findings] == [CORTEX]
    assert OptimumWarning.FEW_SUBJECTS in findings[0].warnings


def test_the_table_has_a_row_for_each_scope_with_the_numbers_of_pandas(
    make: Callable[..., Measurements],
    all_cross: list[tuple[str, str]],
    random_dice: NDArray[np.float64],
) -> None:
    measurements = make(all_cross, random_dice, falling(len(all_cross)))
    half = make(all_cross, random_dice[::-1])
    section = SECTION.model_copy(
        update={"scopes": [["cohort"], ["age"], ["label", "age"], ["subject"]]}
    )
    scopes = list_scopes(section, measurements.pairs, measurements.labels)
    table = optima_table(analyse_scopes(measurements, half, scopes, section), loss_scale=2.5)
    assert len(table) == len(scopes)
    required = (
        "scope value label metric regularization score score_held_out score_at_common folding pairs subjects trials "
        "flags regularization_low regularization_high regularization_constrained regularization_half score_at_default "
        "score_unregularized loss_ratio loss_scale"
    )
    assert set(required.split()) <= set(table.columns)
    row = table[(table["scope"] == "label × age") & (table["value"] == "thalamus × old")].iloc[0]
    old = (measurements.pairs["age"] == "old").to_numpy()
    curve = random_dice[:, old, 1].mean(axis=1)
    assert row["score"] == pytest.approx(curve.max())
    assert row["regularization"] == curve.argmax() / 4
    assert row["regularization_half"] == curve[::-1].argmax() / 4
    assert row["score_at_default"] == pytest.approx(curve[2])
    assert row["score_unregularized"] == pytest.approx(curve[0])
    assert row["pairs"] == old.sum()
    assert row["loss_ratio"] == pytest.approx(row["regularization"] / (1 - row["regularization"]))
    assert table.loc[table["scope"] == "cohort", "trials"].item() == 5
