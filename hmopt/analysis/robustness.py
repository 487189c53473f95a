"""Sensitivity to random initialization, and what an ensemble of several trainings gains."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hmopt.analysis.arrays import Floats
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.jackknife import FEWEST_INITIALIZATIONS, mean_over_initializations
from hmopt.analysis.model_scores import ModelsByName, shared_scores
from hmopt.analysis.resampling import COVERAGE, UNKNOWN, Estimate
from hmopt.ledger.measurements import Measurements
from hmopt.search.curve import gain
from hmopt.search.scopes import Scope
from hmopt.space import Setting

TAILS = ((1 + COVERAGE) / 2, (1 - COVERAGE) / 2)
"""Upper and lower probability of the quantiles that bound an interval."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Robustness:
    """Spread over random initializations for one scope.

    Parameters
    ----------
    scope
        Of the pairs.
    models
        Number of initializations.
    settings
        The s settings that all of them measured, as values.
    scores
        Mean score of each initialization at each setting, shape (models, s).
    optima
        Best setting of each initialization, as values, shape (models, hyperparameters).
    at
        The best of these settings by the mean over initializations.
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
    scores: Floats
    optima: Floats
    at: Setting
    score_spread: Estimate
    curve_spread: Floats
    optimum_spread: Mapping[str, Estimate]


def find_robustness(models: ModelsByName, scope: Scope, metric: str) -> Robustness | None:
    """Compute how much initializations differ, at the settings that all of them measured.

    Parameters
    ----------
    models
        By initialization.
    scope
        Of the pairs.
    metric
        Name of a metric that all of them measured.

    Returns
    -------
    Robustness or None
        None where they share no measurement.
    """
    found = shared_scores([models], scope, metric)
    if found is None:
        return None
    (scores,) = found
    if not scores.shared:
        return None
    shared = scores.at(scores.shared)
    curve = shared.mean
    best = curve.best()
    means = shared.scores.mean(axis=2)
    spreads = [spread(at_setting) for at_setting in means.T]
    best_places = curve.best_of(means)
    optima = curve.values[best_places]
    optimum_spread = {}
    for column, name in enumerate(shared.space.names):
        optimum_spread[name] = spread(optima[:, column])
    return Robustness(
        scope=scope,
        models=len(means),
        settings=tuple(shared.space.setting(index) for index in shared.settings),
        scores=means,
        optima=optima,
        at=shared.space.setting(shared.settings[best]),
        score_spread=spreads[best],
        curve_spread=np.array([one.value for one in spreads]),
        optimum_spread=optimum_spread,
    )


def spread(values: Floats) -> Estimate:
    """Compute the standard deviation s of n normal values and its 95 % interval; NaN of fewer than 2.

    The interval is s √(f / χ²), with the quantiles of χ² of f = n - 1 degrees of freedom.

    Examples
    --------
    >>> [round(number, 2) for number in spread(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))]
    [1.58, 0.95, 4.54]
    """
    freedom = len(values) - 1
    if freedom < 1:
        return UNKNOWN
    deviation = float(values.std(ddof=1))
    # from the upper to the lower quantile: from the lower to the upper end
    quantiles = stats.chi2.ppf(TAILS, freedom)
    ends = deviation * np.sqrt(freedom / quantiles)
    low, high = ends.tolist()
    return Estimate(deviation, low, high)


def spread_ratio(
    one: Estimate, models: int, other: Estimate, others: int
) -> tuple[Estimate, Evidence]:
    """Compute the ratio of two standard deviations, its 95 % interval, and whether it is not 1.

    The interval of the ratio s / t is (s / t) / √F, with the quantiles of the F distribution.

    Parameters
    ----------
    one, other
        Standard deviations over independent initializations.
    models, others
        Number of initializations of each.
    """
    if min(models, others) < FEWEST_INITIALIZATIONS or not other.value:
        return UNKNOWN, Evidence.TOO_FEW
    ratio = one.value / other.value
    quantiles = stats.f.ppf(TAILS, models - 1, others - 1)
    ends = ratio / np.sqrt(quantiles)
    low, high = ends.tolist()
    evidence = Evidence.NONE if low <= 1 <= high else Evidence.FOUND
    return Estimate(ratio, low, high), evidence


def ensemble_gain(
    models: ModelsByName, ensemble: Measurements, scope: Scope, metric: str
) -> Estimate | None:
    """Compute how much better an ensemble is than its members, at the members' best shared setting.

    Parameters
    ----------
    models
        Its members by initialization.
    ensemble
        Of the mean of their velocities.
    scope
        Of the pairs.
    metric
        Name of a metric that all of them measured.

    Returns
    -------
    Estimate or None
        Gain over the members' mean, with an interval over subjects and members; None where they
        share no measurement.
    """
    both = shared_scores([models, {"ensemble": ensemble}], scope, metric)
    if both is None:
        return None
    members, together = both
    shared = set(members.shared) & set(together.settings)
    if not shared:
        return None
    members = members.at(shared)
    together = together.at(shared)
    best = members.mean.best()
    of_members = members.scores[:, best]
    of_ensemble = together.mean.scores[best]
    gains = gain(members.metric, of_ensemble, of_members)
    mean = mean_over_initializations(gains, members.moving, members.fixed)
    return mean.estimate
