"""Scores of several models on the pairs and settings that they share.

Their spread over random initializations, and what an ensemble of them gains.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from hmopt.analysis.evidence import Evidence
from hmopt.analysis.held_out import Sides
from hmopt.analysis.jackknife import FEWEST_INITIALIZATIONS, mean_over_initializations
from hmopt.analysis.optimum import held_out_sides
from hmopt.analysis.resampling import COVERAGE, UNKNOWN, Estimate, Floats, Names
from hmopt.catalogue import Metric
from hmopt.errors import LedgerError
from hmopt.ledger.measurements import Measurements, mean
from hmopt.search.curve import Curve, Curves, gain
from hmopt.search.scopes import Scope
from hmopt.space import Index, Setting, Space

TAILS = ((1 + COVERAGE) / 2, (1 - COVERAGE) / 2)
"""Upper and lower probability of the quantiles that bound an interval."""

ModelsByName = Mapping[str, Measurements]
"""Measurements of models by their names, such as seeds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelScores:
    """Scores of m models on the same n pairs at s settings.

    Parameters
    ----------
    scope, space, metric, settings
        As of a curve.
    moving, fixed
        Subjects of each pair, shape (n,).
    scores
        Shape (m, s, n); NaN where a model was not measured at a setting.
    """

    scope: Scope
    space: Space
    metric: Metric
    settings: tuple[Index, ...]
    moving: Names
    fixed: Names
    scores: Floats

    @property
    def mean(self) -> Curve:
        """The mean curve; at each setting, over the models that were measured there."""
        pairs = np.arange(len(self.moving))
        return Curve(
            scope=self.scope,
            space=self.space,
            metric=self.metric,
            settings=self.settings,
            pairs=pairs,
            ids=tuple(map(str, pairs)),
            scores=mean(self.scores, axis=0),
            folding=np.full(len(self.settings), np.nan),
        )

    @property
    def signed(self) -> Floats:
        """Scores such that more is better, shape (m, s, n)."""
        nothing = np.zeros(1)
        return gain(self.metric, self.scores, nothing)

    @property
    def shared(self) -> tuple[Index, ...]:
        """The settings at which all models were measured."""
        measured = np.isfinite(self.scores)
        whole = measured.all(axis=(0, 2))
        places = np.flatnonzero(whole)
        return tuple(self.settings[place] for place in places)

    @property
    def sides(self) -> Sides:
        """Subjects that must be held out of each pair, as `held_out_sides`."""
        return held_out_sides(self.scope, self.moving, self.fixed)

    def at(self, settings: Iterable[Index]) -> "ModelScores":
        """Return the same at some of the settings only, sorted."""
        common = set(settings) & set(self.settings)
        kept = sorted(common)
        places = [self.settings.index(setting) for setting in kept]
        scores = self.scores[:, places]
        return replace(self, settings=tuple(kept), scores=scores)


def complete_models(scores: Floats) -> Floats:
    """Return the scores of the models that were measured at all settings, shape (k, s, n).

    Where no model was, the mean over models counts as a single one.

    Parameters
    ----------
    scores
        Shape (m, s, n); NaN where a model was not measured at a setting.
    """
    whole = np.isfinite(scores).all(axis=(1, 2))
    if whole.any():
        return scores[whole]
    of_all = mean(scores, axis=0)
    return of_all[None]


def shared_scores(
    groups: Iterable[ModelsByName], scope: Scope, metric: str
) -> list[ModelScores] | None:
    """Return the scores of groups of models on the pairs that all models measured.

    The settings of a group are all that one of its models was measured at. None where the models
    share no pair.

    Parameters
    ----------
    groups
        Such as hypermorphs and separate networks; all of the same hyperparameters.
    scope
        Of the pairs.
    metric
        Name of a metric that all of them measured.

    Raises
    ------
    LedgerError
        If the hyperparameters differ, or a group has no models.
    """
    models = [list(group.values()) for group in groups]
    _check(models)
    curves = []
    for group in models:
        of_group = [Curves(measurements, metric).of(scope) for measurements in group]
        measured = [curve for curve in of_group if curve is not None]
        if len(measured) < len(of_group):
            return None
        curves.append(measured)

    common = set(curves[0][0].ids)
    for measured in curves:
        for curve in measured:
            common &= set(curve.ids)
    if not common:
        return None
    first_model = models[0][0]
    pairs = first_model.pairs.set_index("pair").loc[sorted(common)]
    return [_of_group(of_group, pairs) for of_group in curves]


def _check(models: list[list[Measurements]]) -> None:
    if not all(models):
        raise LedgerError(
            "models", expected="at least one in each group", got="none", advice="Train some."
        )
    spaces = {measurements.space for group in models for measurements in group}
    if len(spaces) > 1:
        raise LedgerError(
            "space",
            expected="one space for all models",
            got=spaces,
            advice="Compare models with the same hyperparameters.",
        )


def _of_group(curves: list[Curve], pairs: pd.DataFrame) -> ModelScores:
    """Stack the curves of a group's models over pairs, whose ids are the index of the table."""
    settings = sorted(set().union(*(curve.settings for curve in curves)))
    scores = np.full((len(curves), len(settings), len(pairs)), np.nan)
    for model, curve in enumerate(curves):
        rows = [settings.index(setting) for setting in curve.settings]
        columns = pd.Index(curve.ids).get_indexer(pairs.index)
        scores[model, rows] = curve.scores[:, columns]
    first = curves[0]
    return ModelScores(
        scope=first.scope,
        space=first.space,
        metric=first.metric,
        settings=tuple(settings),
        moving=pairs["moving_subject"].to_numpy(dtype=object),
        fixed=pairs["fixed_subject"].to_numpy(dtype=object),
        scores=scores,
    )


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
    ratios = np.sqrt(freedom / quantiles)
    ends = deviation * ratios
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
    freedom = models - 1
    other_freedom = others - 1
    quantiles = stats.f.ppf(TAILS, freedom, other_freedom)
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
