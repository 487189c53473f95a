from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.finding import Finding, find_all
from hmopt.analysis.gain import gain_table, gains_of_scopes, granularities, subject_differences
from hmopt.declaration.search import SearchSection
from hmopt.ledger.measurements import Measurements
from hmopt.search.scopes import Scope, list_scopes

SECTION = SearchSection(
    metric="dice", repeats=4, minimum_partners=5, scopes=[["cohort"], ["label"], ["age"], ["subject"]]
)
Make = Callable[..., Measurements]


def find(measurements: Measurements) -> list[Finding]:
    return find_all(measurements, None, list_scopes(SECTION, measurements.pairs, measurements.labels), SECTION)


def of_kind(findings: list[Finding], kind: str) -> list[Finding]:
    return [finding for finding in findings if [k for k, _ in finding.scope.criteria] == [kind]]


@pytest.fixture
def found(make: Make, all_cross: list[tuple[str, str]], random_dice: NDArray[np.float64]) -> list[Finding]:
    return find(make(all_cross, random_dice))


def test_a_subjects_difference_is_the_mean_gain_over_its_pairs_in_either_role(
    make: Make, all_cross: list[tuple[str, str]], random_dice: NDArray[np.float64], found: list[Finding]
) -> None:
    pairs = make(all_cross, random_dice).pairs
    (thalamus,) = [finding for finding in found if finding.scope.label == "thalamus"]
    held = thalamus.held_out
    mine = [g for p, g in zip(held.pairs, held.gains, strict=True) if "c1" in all_cross[p]]
    assert subject_differences([thalamus], pairs)["c"] == pytest.approx(np.mean(mine))
    (own,) = [finding for finding in found if finding.scope == Scope(criteria=(("subject", "c"),))]
    assert subject_differences([own], pairs).to_dict() == {"c": pytest.approx(own.held_out.gains.mean())}


def test_labels_with_different_optima_are_evidence_and_groups_without_difference_are_not(
    make: Make, all_cross: list[tuple[str, str]], random_dice: NDArray[np.float64], found: list[Finding]
) -> None:
    pairs = make(all_cross, random_dice).pairs
    gains = {gain.name: gain for gain in granularities(found, pairs, seed=0)}
    assert set(gains) == {"cohort", "label", "age", "subject"}
    assert gains["label"].evidence is Evidence.FOUND
    assert gains["age"].evidence is not Evidence.FOUND
    assert gains["label"].p_value == pytest.approx(2.0**-8)
    assert gains["cohort"].over == "default"


def test_p_values_of_labels_are_scipys_and_are_raised_together(
    make: Make, all_cross: list[tuple[str, str]], random_dice: NDArray[np.float64], found: list[Finding]
) -> None:
    pairs = make(all_cross, random_dice).pairs
    labels = of_kind(found, "label")
    gains = gains_of_scopes(labels, pairs)
    raw = [stats.wilcoxon(subject_differences([f], pairs), alternative="greater").pvalue for f in labels]
    assert [gain.p_value for gain in gains] == pytest.approx(raw)
    assert min(gain.p_adjusted for gain in gains) == pytest.approx(2 * min(raw))
    table = gain_table(gains)
    assert table["evidence"].tolist() == [gain.evidence.value for gain in gains]
    assert table["gain"].tolist() == [finding.held_out.over_common.value for finding in labels]


def test_noise_alone_is_seldom_taken_for_a_gain(make: Make, all_cross: list[tuple[str, str]]) -> None:
    section = SECTION.model_copy(update={"scopes": [["label"]], "repeats": 2})
    alarms = []
    for seed in range(20):
        measurements = make(all_cross, np.random.default_rng(seed).normal(0.6, 0.02, (5, len(all_cross), 2)))
        scopes = list_scopes(section, measurements.pairs, measurements.labels)
        gains = gains_of_scopes(find_all(measurements, None, scopes, section), measurements.pairs)
        alarms.append(any(gain.evidence is Evidence.FOUND for gain in gains))
    assert np.mean(alarms) <= 0.1


def test_among_more_questions_than_the_smallest_p_value_can_bear_subjects_are_too_few(
    make: Make, all_cross: list[tuple[str, str]]
) -> None:
    few = [(a, b) for a, b in all_cross if a[0] in "abcde" and b[0] in "abcde"]
    values = np.linspace(0, 1, 5)[:, None, None]
    measurements = make(few, np.repeat(0.7 - 0.2 * (values - np.array([0.0, 1.0])) ** 2, len(few), axis=1))
    both = of_kind(find(measurements), "label")
    together, alone = (gains_of_scopes(asked, measurements.pairs) for asked in (both, both[:1]))
    assert [gain.p_value for gain in together] == pytest.approx([0.5**5, 0.5**5])
    assert {gain.evidence for gain in together} == {Evidence.TOO_FEW}
    assert [gain.evidence for gain in alone] == [Evidence.FOUND]
