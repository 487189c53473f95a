"""Whether subjects' best settings are associated with covariates, such as age or site."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from hmopt.analysis.evidence import LEVEL, Evidence, of_interval
from hmopt.analysis.optimum import DRAWS
from hmopt.analysis.resampling import (
    COVERAGE,
    FEWEST_SUBJECTS,
    NOTHING,
    UNKNOWN,
    Estimate,
    Floats,
    Interval,
    Mask,
    draw,
    interval,
)
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curves
from hmopt.search.scopes import Scope


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Association of subjects' best settings with a covariate.

    Parameters
    ----------
    hyperparameter
        Whose best values.
    column
        The covariate.
    value
        The category that is compared with all others; None for a column of numbers.
    effect
        Spearman's correlation, or the category's mean best value less that of the others, with its
        95 % interval; there is none of a correlation of 1 or -1, nor where the category or the others
        are fewer than `FEWEST_SUBJECTS`.
    subjects
        Number of subjects that have both a best setting and a value.
    evidence
        Whether the interval excludes 0; of a correlation of 1 or -1, the permutation test of
        `p_of_same_order`.
    """

    hyperparameter: str
    column: str
    value: str | None
    effect: Estimate
    subjects: int
    evidence: Evidence


def subject_optima(
    measurements: Measurements, metric: str, subjects: Iterable[str], label: str | None = None
) -> pd.DataFrame:
    """Return the best measured setting of each subject that has measurements.

    Parameters
    ----------
    measurements
        Of one model.
    metric
        Name of a measured metric.
    subjects
        Those with enough partners.
    label
        One of the labels; left out: the mean over them.

    Returns
    -------
    table
        A row for each subject, a column for each hyperparameter that is a number; NaN where it is
        inactive.
    """
    curves = Curves(measurements, metric)
    optima = {}
    for subject in subjects:
        criteria = {"subject": subject}
        if label:
            criteria["label"] = label
        scope = Scope(criteria=tuple(criteria.items()))
        curve = curves.of(scope)
        if curve is not None:
            best = curve.settings[curve.best()]
            optima[subject] = curve.space.setting(best)
    names = [one.name for one in measurements.space.hyperparameters if one.is_ordered]
    return pd.DataFrame.from_dict(optima, orient="index", columns=names)


def find_sensitivities(optima: pd.DataFrame, columns: pd.DataFrame, seed: int) -> list[Sensitivity]:
    """Compute how each hyperparameter's best values are associated with each covariate.

    Parameters
    ----------
    optima
        As of `subject_optima`.
    columns
        Covariates by subject: numbers, which are ranked, or text, whose categories are compared
        each with all others.
    seed
        Seed of the bootstrap.
    """
    covariates = columns.reindex(optima.index)
    found = []
    for hyperparameter in optima.columns:
        best = optima[hyperparameter]
        for name in covariates.columns:
            column = covariates[name]
            found += _of_column(best, column, seed)
    return found


def _of_column(best: pd.Series, column: pd.Series, seed: int) -> list[Sensitivity]:
    both = pd.DataFrame({"best": best, "column": column}).dropna()
    values = both["best"].to_numpy(dtype=float)
    effects: dict[str | None, Estimate] = {}
    evidence: dict[str | None, Evidence] = {}
    if pd.api.types.is_numeric_dtype(column):
        numbers = both["column"].to_numpy(dtype=float)
        effects[None] = rank_effect(numbers, values, seed)
        if _is_same_order(effects[None].value):
            is_found = p_of_same_order(numbers, values) <= LEVEL
            evidence[None] = Evidence.FOUND if is_found else Evidence.NONE
    else:
        categories = both["column"].astype(str)
        for category in sorted(set(categories) - {""}):
            inside = (categories == category).to_numpy()
            effects[category] = category_effect(inside, values, seed)
    return [
        Sensitivity(
            hyperparameter=str(best.name),
            column=str(column.name),
            value=value,
            effect=effect,
            subjects=len(both),
            evidence=evidence.get(value, _evidence_of(effect, values)),
        )
        for value, effect in effects.items()
    ]


def _evidence_of(effect: Estimate, values: Floats) -> Evidence:
    """Return what an effect shows; FLAT where enough subjects have one best setting."""
    if len(values) >= FEWEST_SUBJECTS and not np.ptp(values) > 0:
        return Evidence.FLAT
    return of_interval(effect)


def rank_effect(column: Floats, values: Floats, seed: int) -> Estimate:
    """Compute Spearman's correlation over subjects, and its bootstrap interval.

    Unknown with few subjects or where either does not vary. Fisher's transformation, artanh ρ,
    makes bootstrap correlations nearly normal; the interval is tanh(artanh ρ ± t · s), with their
    standard deviation s and t of n - 1 degrees of freedom. There is none where ρ is 1 or -1: all
    bootstrap correlations are the same then.
    """
    subjects = len(values)
    if subjects < FEWEST_SUBJECTS:
        return UNKNOWN
    varies = np.ptp(column) > 0 and np.ptp(values) > 0
    if not varies:
        return UNKNOWN
    test = stats.spearmanr(column, values)
    found = float(test.statistic)
    if _is_same_order(found):
        return Estimate(found, np.nan, np.nan)
    generator = np.random.default_rng(seed)
    resampled = generator.integers(subjects, size=(DRAWS, subjects))
    column_ranks = stats.rankdata(column[resampled], axis=1)
    value_ranks = stats.rankdata(values[resampled], axis=1)
    correlations = _row_correlations(column_ranks, value_ranks)
    low, high = _fisher_interval(found, correlations, subjects)
    return Estimate(found, low, high)


def _is_same_order(correlation: float) -> bool:
    """Check whether a rank correlation is 1 or -1, rounding aside."""
    return abs(correlation) > 1 - 1e-12


def p_of_same_order(column: Floats, values: Floats) -> float:
    """Compute the exact p-value of a rank correlation of 1 or -1: the share of permutations that have it.

    Of the n! orders of n values, k₁! · k₂! · … give the same ranks where k₁, k₂, … values are tied. As
    many give the reversed ranks, if the numbers of ties are the same from either end.

    Parameters
    ----------
    column, values
        Of n subjects, in the same or in the reversed order.

    Examples
    --------
    Two of 5! orders; with four of the five values tied, 4! of them:

    >>> rising = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> round(p_of_same_order(rising, rising), 4)
    0.0167
    >>> tied = np.array([1.0, 1.0, 1.0, 1.0, 2.0])
    >>> p_of_same_order(tied, tied)
    0.2
    """
    _, ties = np.unique(values, return_counts=True)
    _, ties_of_column = np.unique(column, return_counts=True)
    assert sorted(ties) == sorted(ties_of_column)
    same = math.prod(math.factorial(count) for count in ties.tolist())
    sides = 2 if np.array_equal(ties, ties[::-1]) else 1
    return sides * same / math.factorial(len(values))


def _row_correlations(ones: Floats, others: Floats) -> Floats:
    """Compute the correlation of each two rows; rows that do not vary are left out."""
    ones = ones - ones.mean(axis=1, keepdims=True)
    others = others - others.mean(axis=1, keepdims=True)
    products = (ones * others).sum(axis=1)
    of_ones = (ones**2).sum(axis=1)
    of_others = (others**2).sum(axis=1)
    scale = np.sqrt(of_ones * of_others)
    varies = scale > 0
    correlations: Floats = products[varies] / scale[varies]
    return correlations


def _fisher_interval(found: float, correlations: Floats, subjects: int) -> Interval:
    clipped = np.clip(correlations, -0.999, 0.999)
    deviation = float(np.arctanh(clipped).std(ddof=1))
    if not deviation:
        return NOTHING
    level = (1 + COVERAGE) / 2
    freedom = subjects - 1
    reach = stats.t.ppf(level, freedom) * deviation
    centre = np.arctanh(found)
    low = np.tanh(centre - reach)
    high = np.tanh(centre + reach)
    return Interval(float(low), float(high))


def category_effect(inside: Mask, values: Floats, seed: int) -> Estimate:
    """Compute the mean of values inside a category less that outside, and its bootstrap interval.

    Subjects inside and outside are resampled independently. No interval where either are fewer than
    `FEWEST_SUBJECTS`, and no difference where there are fewer than two.
    """
    ones = values[inside]
    others = values[~inside]
    if min(len(ones), len(others)) < 2:
        return UNKNOWN
    difference = float(ones.mean() - others.mean())
    if min(len(ones), len(others)) < FEWEST_SUBJECTS:
        return Estimate(difference, np.nan, np.nan)
    of_ones = _resampled_means(ones, seed)
    of_others = _resampled_means(others, seed + 1)
    low, high = interval(of_ones - of_others)
    return Estimate(difference, low, high)


def _resampled_means(values: Floats, seed: int) -> Floats:
    numbers = np.arange(len(values))
    names = numbers.astype(str).astype(object)
    samples = draw(names, names, DRAWS, seed)
    return samples.means(values)
