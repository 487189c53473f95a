"""How much another random initialization changes, and what an ensemble of several gains."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.aligned import Aligned, align
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import COVERAGE, UNKNOWN, Estimate
from hmopt.analysis.starts import over_starts
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import gain
from hmopt.search.scopes import Scope
from hmopt.space import Setting


@dataclass(frozen=True, kw_only=True, eq=False)
class Robustness:
    """Spread over random initializations for one scope.

    Parameters
    ----------
    scope
        Whose pairs.
    models
        How many initializations.
    settings
        The s settings that all of them measured, as values.
    scores
        Mean score of each initialization at each setting, shape (models, s).
    optima
        Best setting of each initialization, as values, shape (models, hyperparameters).
    at
        The best of these by the mean over initializations.
    score_spread
        Standard deviation of the mean score there, with its interval.
    curve_spread
        The same at each setting, shape (s,).
    optimum_spread
        By hyperparameter: the same of each initialization's best setting.
    """

    scope: Scope
    models: int
    settings: tuple[Setting, ...]
    scores: NDArray[np.float64]
    optima: NDArray[np.float64]
    at: Setting
    score_spread: Estimate
    curve_spread: NDArray[np.float64]
    optimum_spread: Mapping[str, Estimate]


def find_robustness(
    models: Mapping[str, Measurements], scope: Scope, metric: str
) -> Robustness | None:
    """Give how much initializations differ; None where they share no measurement.

    Only settings that all of them measured count.

    Parameters
    ----------
    models
        By initialization.
    scope
        Whose pairs.
    metric
        Name of a metric that all of them measured.
    """
    found = align([models], scope, metric)
    if found is None or not found[0].shared:
        return None
    aligned = found[0].at(found[0].shared)
    means, values = aligned.scores.mean(axis=2), aligned.mean.values
    best = aligned.mean.best()
    spreads = [spread(row) for row in means.T]
    optima = values[aligned.mean.best_of(means)]
    return Robustness(
        scope=scope,
        models=len(means),
        settings=tuple(aligned.space.setting(index) for index in aligned.settings),
        scores=means,
        optima=optima,
        at=aligned.space.setting(aligned.settings[best]),
        score_spread=spreads[best],
        curve_spread=np.array([one.value for one in spreads]),
        optimum_spread={name: spread(optima[:, i]) for i, name in enumerate(aligned.space.names)},
    )


def spread(values: NDArray[np.float64]) -> Estimate:
    """Give the standard deviation of normally distributed values and its 95 % interval; NaN of fewer than two.

    Examples
    --------
    >>> [round(number, 2) for number in spread(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))]
    [1.58, 0.95, 4.54]
    """
    freedom = len(values) - 1
    if freedom < 1:
        return UNKNOWN
    deviation = float(values.std(ddof=1))
    ends = np.sqrt(freedom / stats.chi2.ppf([(1 + COVERAGE) / 2, (1 - COVERAGE) / 2], freedom))
    return Estimate(deviation, *(deviation * ends).tolist())


def spread_ratio(
    one: Estimate, models: int, other: Estimate, others: int
) -> tuple[Estimate, Evidence]:
    """Give how many times as large one standard deviation is as another, with its 95 % interval, and what that says.

    Parameters
    ----------
    one, other
        Standard deviations over independent initializations.
    models, others
        How many initializations each.
    """
    if models < 2 or others < 2 or not other.value:
        return UNKNOWN, Evidence.TOO_FEW
    ratio = one.value / other.value
    ends = stats.f.ppf([(1 + COVERAGE) / 2, (1 - COVERAGE) / 2], models - 1, others - 1)
    low, high = (ratio / np.sqrt(ends)).tolist()
    return Estimate(ratio, low, high), Evidence.NONE if low <= 1 <= high else Evidence.FOUND


def ensemble_gain(
    models: Mapping[str, Measurements], ensemble: Measurements, scope: Scope, metric: str
) -> Estimate | None:
    """Give how much better an ensemble is than its members are on average, at the members' best shared setting.

    Parameters
    ----------
    models
        Its members by initialization.
    ensemble
        Of the mean of their velocities.
    scope
        Whose pairs.
    metric
        Name of a metric that all of them measured.

    Returns
    -------
    Estimate or None
        Its interval is over subjects and members.
    """
    both = align([models, {"ensemble": ensemble}], scope, metric)
    if both is None or not set(both[0].shared) & set(both[1].settings):
        return None
    members = both[0].at(both[0].shared).at(both[1].settings)
    together = both[1].at(members.settings)
    return _gain_at_best(members, together)


def _gain_at_best(members: Aligned, together: Aligned) -> Estimate:
    best = members.mean.best()
    gains = gain(members.metric, together.mean.scores[best], members.scores[:, best])
    return over_starts(gains, members.moving, members.fixed).estimate
