"""Whether a subject's best setting goes with its age, its site, or the noise of its image."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.evidence import LEAST, Evidence, of_interval
from hmopt.analysis.resampling import (
    COVERAGE,
    NOTHING,
    UNKNOWN,
    Estimate,
    Interval,
    Samples,
    draw,
    interval,
)
from hmopt.analysis.source import DRAWS
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import Curves
from hmopt.search.scopes import Scope


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """How subjects' best settings go with a column.

    Parameters
    ----------
    hyperparameter
        Whose best values.
    column
        What they may go with.
    value
        The category that is held against all others; None for a column of numbers.
    effect
        Spearman's correlation, or the category's mean best value less that of the others, with its 95 % interval.
    subjects
        How many have both a best setting and a value.
    evidence
        Whether the interval leaves out 0.
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
    """Give the best measured setting of each subject that has measurements: a row each, a column a hyperparameter.

    Parameters
    ----------
    measurements
        Of one model.
    metric
        Name of a measured metric.
    subjects
        Those with partners enough.
    label
        One of the labels; left out: the mean over them.
    """
    curves, wanted = Curves(measurements, metric), (("label", label),) if label else ()
    found = {
        subject: curves.of(Scope(criteria=(("subject", subject), *wanted))) for subject in subjects
    }
    rows = {
        name: curve.space.setting(curve.settings[curve.best()])
        for name, curve in found.items()
        if curve
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(measurements.space.names))


def find_sensitivities(optima: pd.DataFrame, columns: pd.DataFrame, seed: int) -> list[Sensitivity]:
    """Give how each hyperparameter's best values go with each column: numbers as ranks, others by category.

    Parameters
    ----------
    optima
        As of `subject_optima`.
    columns
        What is known of subjects, by subject: numbers or text.
    seed
        Of the samples of the subjects.
    """
    known = columns.reindex(optima.index)
    return [
        found
        for hyperparameter in optima.columns
        for column in known.columns
        for found in _of_column(optima[hyperparameter], known[column], seed)
    ]


def _of_column(best: pd.Series, column: pd.Series, seed: int) -> list[Sensitivity]:
    both = pd.DataFrame({"best": best, "column": column}).dropna()
    name, values = str(best.name), both["best"].to_numpy(dtype=float)
    if pd.api.types.is_numeric_dtype(column):
        effect = rank_effect(both["column"].to_numpy(dtype=float), values, seed)
        return [_sensitivity(name, str(column.name), None, effect, len(both))]
    text = both["column"].astype(str)
    return [
        _sensitivity(
            name,
            str(column.name),
            value,
            category_effect((text == value).to_numpy(), values, seed),
            len(both),
        )
        for value in sorted(set(text))
        if value
    ]


def _sensitivity(
    hyperparameter: str, column: str, value: str | None, effect: Estimate, subjects: int
) -> Sensitivity:
    return Sensitivity(
        hyperparameter=hyperparameter,
        column=column,
        value=value,
        effect=effect,
        subjects=subjects,
        evidence=of_interval(effect),
    )


def rank_effect(column: NDArray[np.float64], values: NDArray[np.float64], seed: int) -> Estimate:
    """Give Spearman's correlation over subjects, and its interval over samples of them.

    Unknown with few subjects or where either does not vary.

    References
    ----------
    Fisher's transformation makes the samples nearly normal; their spread is widened for few subjects.
    """
    if len(values) < LEAST or not np.ptp(column) or not np.ptp(values):
        return UNKNOWN
    found = float(stats.spearmanr(column, values).statistic)
    if abs(found) > 1 - 1e-12:
        return Estimate(found, found, found)
    drawn = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    ranks = [stats.rankdata(side[drawn], axis=1) for side in (column, values)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    scale = np.sqrt(np.prod([(one**2).sum(axis=1) for one in centred], axis=0))
    varies = scale > 0
    correlations = (centred[0] * centred[1]).sum(axis=1)[varies] / scale[varies]
    return Estimate(found, *_fisher(found, correlations, len(values)))


def _fisher(found: float, drawn: NDArray[np.float64], subjects: int) -> Interval:
    spread = float(np.arctanh(np.clip(drawn, -0.999, 0.999)).std(ddof=1))
    if not spread:
        return NOTHING
    reach = float(stats.t.ppf((1 + COVERAGE) / 2, subjects - 1)) * spread
    centre = np.arctanh(found)
    return Interval(float(np.tanh(centre - reach)), float(np.tanh(centre + reach)))


def category_effect(inside: NDArray[np.bool_], values: NDArray[np.float64], seed: int) -> Estimate:
    """Give the mean of values inside a category less that outside, and its interval over samples of either's subjects.

    Unknown where either has fewer than two subjects.
    """
    if min(inside.sum(), (~inside).sum()) < 2:
        return UNKNOWN
    one, other = (
        _sampled(values[side], seed + number) for number, side in enumerate((inside, ~inside))
    )
    difference = float(values[inside].mean() - values[~inside].mean())
    return Estimate(difference, *interval(one - other))


def _sampled(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    names = np.array([str(place) for place in range(len(values))], dtype=object)
    samples: Samples = draw(names, names, DRAWS, seed)
    return samples.means(values)
