"""Registrations that metrics ask for besides the pairs themselves."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hmopt.data.prepared import PreparedCohort
from hmopt.ledger import Ledger, Recorded
from hmopt.metrics import Originals
from hmopt.oracle.registered import RegisteringOracle, third_image
from hmopt.records import Block, Pair
from hmopt.space import Index, Space

NAMES = "abcd"
SHIFT = {"a": 0.0, "b": 1.0, "c": 3.0, "d": -2.0}
"""Where the image of each subject lies along x."""


class Shifting(RegisteringOracle):
    """Registers by the distance of the images, of which the reversed pair is short by a tenth."""

    space = Space(hyperparameters=())
    identity = "shifting"

    def register(self, index: Index, pairs: Sequence[Pair], images: Originals) -> torch.Tensor:
        displacement = torch.zeros(len(pairs), 2, 16, 16)
        for row, pair in enumerate(pairs):
            distance = SHIFT[pair.moving] - SHIFT[pair.fixed]
            share = 1.0 if pair.moving < pair.fixed else 0.9
            displacement[row, 0] = share * distance
        return displacement


@pytest.fixture
def grouped(flat_cohort: PreparedCohort) -> PreparedCohort:
    images = flat_cohort.images.assign(site=["x", "x", "x", "y"])
    return replace(flat_cohort, images=images, spacing_mm=(2.0, 1.0))


def pair(moving: str, fixed: str) -> Pair:
    return Pair(moving=moving, fixed=fixed, moving_subject=moving, fixed_subject=fixed)


def measured(cohort: PreparedCohort, pairs: Sequence[Pair], metric: str) -> list[float]:
    blocks = Shifting(cohort, batch=2).measure([()], pairs, [metric])
    values = np.concatenate([block.values[metric] for block in blocks])
    return [float(value) for value in values]


def test_the_reversed_pair_is_registered_too(grouped: PreparedCohort) -> None:
    pairs = [pair("a", "b"), pair("c", "a"), pair("b", "d")]
    found = measured(grouped, pairs, "inverse_consistency_mm")
    # a tenth of the distance is left, of voxels of 2 mm
    assert found == pytest.approx([0.2, 0.6, 0.6], rel=1e-5)


def test_a_cycle_leads_over_the_third_subject(grouped: PreparedCohort) -> None:
    """Of a->b, by way of c: -1 to a, 0.9 · 3 from there to c, and -2 back to b."""
    cohort = replace(grouped, same=("site",))
    assert third_image(cohort, pair("a", "b")) == "c"
    found = measured(cohort, [pair("a", "b")], "cycle_inconsistency_mm")
    assert found == pytest.approx([2 * abs(-1 + 0.9 * 3 - 2)], rel=1e-5)


def test_the_third_image_agrees_and_does_not_depend_on_other_pairs(grouped: PreparedCohort) -> None:
    assert third_image(grouped, pair("a", "b")) in ("c", "d")
    turned = replace(grouped, images=grouped.images.iloc[::-1])
    for moving, fixed in ("ab", "ca", "db"):
        assert third_image(turned, pair(moving, fixed)) == third_image(grouped, pair(moving, fixed))
    in_training = grouped.images.assign(split=["search", "search", "train", "train"])
    assert third_image(replace(grouped, images=in_training), pair("a", "b")) is None


def test_without_a_third_subject_nothing_is_measured(grouped: PreparedCohort) -> None:
    in_training = grouped.images.assign(split=["search", "search", "train", "train"])
    cohort = replace(grouped, images=in_training)
    assert np.isnan(measured(cohort, [pair("a", "b")], "cycle_inconsistency_mm")).all()


def test_two_third_subjects_do_not_share_an_entry_of_the_ledger(
    grouped: PreparedCohort, tmp_path: Path
) -> None:
    """Neither a column of pairs.same nor a split is in the identity of a cohort, but both choose the third."""
    a_to_b, ledger = pair("a", "b"), Ledger(tmp_path)
    by_site = replace(grouped, same=("site",))
    in_training = grouped.images.assign(split=["search", "search", "train", "search"])
    by_split = replace(grouped, images=in_training)
    assert third_image(by_site, a_to_b) == "c"
    assert third_image(by_split, a_to_b) == "d"
    metrics = ["cycle_inconsistency_mm", "folding"]
    of_c = recorded(by_site, ledger, metrics)
    assert of_c == pytest.approx([2 * abs(-1 + 0.9 * 3 - 2), 0.0], rel=1e-5)
    of_d = recorded(by_split, ledger, metrics)
    # -1 to a, 0.9 · -2 from there to d, and 3 back to b
    assert of_d == pytest.approx([2 * abs(-1 + 0.9 * -2 + 3), 0.0], rel=1e-5)
    assert recorded(by_site, ledger, metrics) == pytest.approx(of_c)


def test_a_ledger_of_an_earlier_version_keeps_its_cycles(
    grouped: PreparedCohort, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    block = Block(
        index=(),
        pairs=(pair("a", "b").id,),
        labels=grouped.labels,
        values={"cycle_inconsistency_mm": np.array([0.75])},
    )
    ledger.write(Shifting.identity, Shifting.space, [block])
    assert recorded(grouped, ledger, ["cycle_inconsistency_mm"]) == [0.75]
    changed = replace(grouped, same=("site",))
    assert recorded(changed, ledger, ["cycle_inconsistency_mm"]) != [0.75]


def test_other_metrics_stay_where_the_third_subject_changes(
    grouped: PreparedCohort, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    recorded(grouped, ledger, ["cycle_inconsistency_mm", "folding"])
    Recorded(Shifting(replace(grouped, same=("site",))), ledger).fill(
        [()], [pair("a", "b")], ["cycle_inconsistency_mm"]
    )
    kept = ledger.block(
        Shifting.identity, Shifting.space, (), [pair("a", "b").id], ["folding"], grouped.labels
    )
    assert kept.values["folding"].tolist() == [0.0]


def recorded(cohort: PreparedCohort, ledger: Ledger, metrics: list[str]) -> list[float]:
    oracle = Recorded(Shifting(cohort), ledger)
    (block,) = oracle.measure([()], [pair("a", "b")], metrics)
    return [float(block.values[metric][0]) for metric in metrics]


@pytest.mark.parametrize("unknown", [np.nan, None, "", "n/a", "NA"])
def test_an_image_of_an_unknown_value_closes_no_cycle(
    grouped: PreparedCohort, unknown: object
) -> None:
    """Of b, c and d, only c is known to be of the site of a; b itself, whose site is unknown, has no third."""
    sites = grouped.images.assign(
        site=pd.Series(["x", "x", "x", unknown], list(NAMES), dtype=object)
    )
    by_site = replace(grouped, images=sites, same=("site",))
    assert third_image(by_site, pair("a", "b")) == "c"
    known_of_two = pd.Series(["x", "x", unknown, unknown], list(NAMES), dtype=object)
    two_unknown = grouped.images.assign(site=known_of_two)
    assert third_image(replace(by_site, images=two_unknown), pair("c", "a")) == "b"
    assert third_image(replace(by_site, images=two_unknown), pair("a", "d")) is None


def test_where_values_are_unknown_the_third_is_chosen_by_what_is_known(
    grouped: PreparedCohort,
) -> None:
    """The context by which cycles are kept knows no two spellings of an unknown value, and is else as it was."""
    contexts = []
    for value in (np.nan, "n/a", ""):
        sites = grouped.images.assign(site=["x", "x", "x", value])
        oracle = Shifting(replace(grouped, images=sites, same=("site",)))
        contexts.append(oracle.context_of("cycle_inconsistency_mm"))
    assert len(set(contexts)) == 1
    whole = Shifting(replace(grouped, same=("site",))).context_of("cycle_inconsistency_mm")
    assert whole not in contexts
