"""How much of what a setting for each structure gains is left in one field for all of them.

A setting for each structure is a registration for each. One field blends their velocities instead
(`hmopt.oracle.composed`). Three ways are compared on the same held-out pairs:

- *common*: one setting for all structures, one field,
- *separate*: a setting and a field for each structure,
- *one field*: a setting for each structure, and one field composed of them.

In each split of the subjects all settings are chosen on the selection set, for common and separate
as everywhere in a report, and the composed field takes those very settings. As every choice is a
field that must be registered, there are few splits: some random halves, each used both ways.

The share of the gain that one field realizes is the ratio of two means on the same pairs,
ρ = a / b with a = score(one field) - score(common) and b = score(separate) - score(common). Its
interval is Fieller's: the ρ for which a - ρ b could be 0,

    (a - ρ b)² ≤ t² (V_aa - 2 ρ V_ab + ρ² V_bb),

with the variances of `hmopt.analysis.held_out.with_choices`. These are sums of squares of linear
terms, so that V_ab follows from the variance of a - b: 2 V_ab = V_aa + V_bb - V_(a-b)(a-b).

Worked example: a = 0.8, b = 1, V_aa = V_bb = 0.01 and V_ab = 0 at t = 2 give
0.96 ρ² - 1.6 ρ + 0.6 ≤ 0, which is from 0.57 to 1.10.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from hmopt.analysis.beside import Beside, Difference, Entry, Source, make_entries, set_beside
from hmopt.analysis.held_out import Splits, split_subjects
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.optimum import margin_of
from hmopt.analysis.resampling import COVERAGE, FEWEST_SUBJECTS, UNKNOWN, Estimate, Floats, Places
from hmopt.catalogue import find_metric
from hmopt.catalogue.metrics import FOLDING
from hmopt.declaration.search import SearchOptions
from hmopt.errors import LedgerError
from hmopt.ledger.composed import Assignment, ComposedFields
from hmopt.ledger.measurements import Measurements, mean

HALVES = 5
"""Random halves of the subjects, each used both ways: ten splits."""

FEWEST_STRUCTURES = 2
COMMON, SEPARATE, ONE_FIELD = "common", "separate", "one field"
"""Titles of the three ways."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldPlan:
    """The fields that must be registered to judge composed fields.

    Parameters
    ----------
    splits
        Of the subjects.
    common, separate
        Held-out scores with the settings chosen in each split: one for all structures, and one for
        each.
    assignments
        The different fields, in the order of the splits that chose them first.
    chosen
        Place of each split's field among them, shape (r,); -1: nothing was chosen.
    """

    splits: Splits
    common: Entry
    separate: Entry
    assignments: tuple[Assignment, ...]
    chosen: Places


def plan_fields(
    measurements: Measurements, options: SearchOptions, halves: int = HALVES
) -> FieldPlan | None:
    """Choose settings in each split of the subjects, and list the fields that they make.

    Parameters
    ----------
    measurements
        Of the model.
    options
        Metric and seed of the search.
    halves
        Random halves of the subjects; fewer than ten subjects are split in all ways.

    Returns
    -------
    FieldPlan or None
        None where fewer than two structures have scores.
    """
    if len(measurements.labels) < FEWEST_STRUCTURES:
        return None
    pairs = measurements.pairs
    subjects = sorted({*pairs["moving_subject"], *pairs["fixed_subject"]})
    splits = split_subjects(subjects, halves, options.seed)
    source = Source(title="model", measurements=measurements, choices=("tuned", "per_structure"))
    entries = make_entries(source, options.metric, measurements.labels, splits)
    by_choice = {entry.choice: entry for entry in entries}
    if "tuned" not in by_choice or "per_structure" not in by_choice:
        return None
    common = by_choice["tuned"]
    separate = by_choice["per_structure"]

    places: dict[Assignment, int] = {}
    chosen = []
    for of_all, of_structures in zip(common.chosen[:, 0], separate.chosen, strict=True):
        if of_all < 0:
            chosen.append(-1)
            continue
        structures = {}
        for label, place in zip(measurements.labels, of_structures, strict=True):
            if place >= 0:
                structures[label] = measurements.settings[place]
        assignment = Assignment.of(measurements.settings[of_all], structures)
        chosen.append(places.setdefault(assignment, len(places)))
    return FieldPlan(
        splits=splits,
        common=replace(common, source=COMMON, choice=None),
        separate=replace(separate, source=SEPARATE, choice=None),
        assignments=tuple(places),
        chosen=np.array(chosen, dtype=np.intp),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class OneFieldGain:
    """What one field gains, and how much that is of what separate fields gain.

    Parameters
    ----------
    beside
        Scores of the three ways, and their differences.
    share
        Gain of one field over the common setting, as a share of that of separate fields, with its
        95 % interval; NaN where separate fields gain nothing, and ends NaN where that is not sure.
    folding
        By way: mean share of folded voxels on held-out pairs.
    splits
        Splits of the subjects.
    choosing
        Subjects that settings were chosen on.
    """

    beside: Beside
    share: Estimate
    folding: Mapping[str, float]
    splits: int
    choosing: int

    @property
    def over_common(self) -> Difference:
        """What one field gains over the common setting."""
        return self._difference(ONE_FIELD, COMMON)

    @property
    def separate_over_common(self) -> Difference:
        """What separate fields gain over the common setting."""
        return self._difference(SEPARATE, COMMON)

    @property
    def over_separate(self) -> Difference:
        """How much better one field is than separate ones."""
        return self._difference(ONE_FIELD, SEPARATE)

    def _difference(self, first: str, second: str) -> Difference:
        found = self.beside.difference(first, second)
        assert found is not None  # all three have the same pairs
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldGain(OneFieldGain):
    """What one field composed of several gains.

    Parameters
    ----------
    beside, share, folding, splits, choosing
        As in `OneFieldGain`.
    fields
        What was measured.
    """

    fields: ComposedFields

    def __str__(self) -> str:
        """Return a line for a person."""
        one, separate = self.over_common.mean.value, self.separate_over_common.mean.value
        share = "" if math.isnan(self.share.value) else f", {self.share.value:.0%} of it"
        metric = self.beside.metric.name
        return (
            f"Per structure ({self.fields.maps} maps): separate fields gain {separate:+.4f} {metric} on held-out "
            f"subjects, one field {one:+.4f}{share}"
        )


def judge_fields(
    measurements: Measurements,
    fields: ComposedFields,
    composed: Measurements,
    options: SearchOptions,
) -> FieldGain | None:
    """Compare one field with the common setting and with separate fields, on held-out pairs.

    Parameters
    ----------
    measurements
        Of the model.
    fields
        The composed fields that were measured.
    composed
        Their measurements on the same pairs: setting k is the k-th field.
    options
        Metric, margin and seed of the search.

    Returns
    -------
    FieldGain or None
        None where there are too few structures or subjects to choose on.

    Raises
    ------
    LedgerError
        If a field that the splits choose was not measured, as another search chooses others.
    """
    plan = plan_fields(measurements, options, fields.halves)
    if plan is None:
        return None
    numbers = {assignment: number for number, assignment in enumerate(fields.assignments)}
    missing = [one for one in plan.assignments if one not in numbers]
    if missing:
        raise LedgerError(
            "composed.json",
            expected="the fields that the present search chooses",
            got=f"{len(missing)} of {len(plan.assignments)} not among them",
            advice="Run `hmopt search --per-structure` again.",
        )
    # of each assignment its number among the measured ones; -1 stays -1
    table = np.array([*(numbers[one] for one in plan.assignments), -1])
    chosen = table[plan.chosen]

    labels = measurements.labels
    of_labels = [composed.score(options.metric, label) for label in labels]
    one_field = replace(
        plan.common,
        source=ONE_FIELD,
        measured=np.stack(of_labels, axis=2),
        chosen=np.repeat(chosen[:, None], len(labels), axis=1),
        settings={},
    )
    if not np.isfinite(one_field.scores).any():
        return None
    metric = find_metric(options.metric)
    entries = [plan.common, plan.separate, one_field]
    beside = set_beside(entries, metric.name, margin_of(metric, options.margin))
    folding = {}
    for entry, measured in zip(entries, (measurements, measurements, composed), strict=True):
        folding[entry.source] = held_out_folding(entry, measured)
    return FieldGain(
        fields=fields,
        beside=beside,
        share=share_in_one_field(beside),
        folding=folding,
        splits=len(plan.splits.selection),
        choosing=plan.splits.choosing,
    )


def share_in_one_field(beside: Beside) -> Estimate:
    """Return how much of the gain of separate fields one field has, with Fieller's 95 % interval.

    Parameters
    ----------
    beside
        Of the three ways.
    """
    part = beside.difference(ONE_FIELD, COMMON)
    whole = beside.difference(SEPARATE, COMMON)
    difference = beside.difference(ONE_FIELD, SEPARATE)
    if part is None or whole is None or difference is None:
        return UNKNOWN
    return share_of_gain(part.mean, whole.mean, difference.mean)


def held_out_folding(entry: Entry, measured: Measurements) -> float:
    """Return the mean share of folded voxels on held-out pairs, at the settings of each split."""
    values = measured.values.get(FOLDING)
    if values is None:
        return math.nan
    of_labels: Floats = np.repeat(values[:, :, None], len(entry.labels), axis=2)
    folding = replace(entry, measured=of_labels)
    of_pairs = mean(folding.scores, axis=1)
    return float(mean(of_pairs, axis=0))


def share_of_gain(part: Mean, whole: Mean, difference: Mean) -> Estimate:
    """Compute the ratio of two means on the same pairs, with Fieller's 95 % interval.

    Parameters
    ----------
    part, whole
        The means a and b.
    difference
        The mean of a - b.

    Returns
    -------
    Estimate
        NaN where b is not positive, or smaller than its standard error. The interval is NaN where b
        is not known to be positive, so that it would have no end, or of too few subjects.

    References
    ----------
    Fieller, "Some problems in interval estimation", Journal of the Royal Statistical Society B
    1954.

    Examples
    --------
    The example of the module's text, at t = 2.01 of 50 degrees of freedom:

    >>> def made(value, variance):
    ...     return Mean(value=value, error=variance**0.5, freedom=50, subjects=51)
    >>> [round(end, 2) for end in share_of_gain(made(0.8, 0.01), made(1.0, 0.01), made(-0.2, 0.02))]
    [0.8, 0.57, 1.1]
    """
    a, b = part.value, whole.value
    if not b > 0 or b < whole.error:
        return UNKNOWN
    share = a / b
    errors = [part.error, whole.error, difference.error]
    enough = min(part.subjects, whole.subjects) >= FEWEST_SUBJECTS
    if not enough or not np.isfinite(errors).all():
        return Estimate(share, math.nan, math.nan)
    of_part, of_whole, of_difference = (error**2 for error in errors)
    covariance = (of_part + of_whole - of_difference) / 2
    freedom = min(part.freedom, whole.freedom)
    t_squared = float(stats.t.ppf((1 + COVERAGE) / 2, freedom)) ** 2

    # p ρ² - 2 q ρ + r ≤ 0
    p = b**2 - t_squared * of_whole
    q = a * b - t_squared * covariance
    r = a**2 - t_squared * of_part
    if p <= 0:
        return Estimate(share, math.nan, math.nan)
    reach = math.sqrt(max(q**2 - p * r, 0.0))
    return Estimate(share, (q - reach) / p, (q + reach) / p)
