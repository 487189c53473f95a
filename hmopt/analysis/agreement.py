"""Whether one amortized model agrees with networks that were trained at one setting each.

Agreement compares the scores of both at each setting. The regret of retraining asks for the
consequence: what separate networks lose at the setting that the amortized model chose, against the
setting that is best for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from hmopt.analysis.evidence import Evidence, of_difference
from hmopt.analysis.held_out import Splits, choose, split_subjects, sums_between, with_choices
from hmopt.analysis.jackknife import (
    FEWEST_INITIALIZATIONS,
    Mean,
    difference_over_initializations,
    mean_over_initializations,
)
from hmopt.analysis.model_scores import (
    ModelsByName,
    ModelScores,
    complete_models,
    shared_scores,
)
from hmopt.analysis.optimum import margin_of
from hmopt.analysis.resampling import Floats, Mask
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.measurements import mean
from hmopt.search.curve import gain
from hmopt.search.scopes import Scope
from hmopt.space import Index, Setting, as_number

FEWEST_RANKED_SETTINGS = 9
"""Settings that a rank correlation needs."""

FEWEST_DISTINCT_SETTINGS = 3
"""Settings that must remain where all scores differ by more than the spread over seeds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """Separately trained networks against the amortized model, for one scope.

    Parameters
    ----------
    scope
        Of the pairs.
    settings
        The s settings at which both were measured, as values.
    amortized, separate
        Mean scores there, shape (s,).
    gaps
        How much better separate networks are at each setting, with the standard error.
    seed_spread, amortized_spread
        Standard deviation of the mean score over seeds at each setting, of the separate networks
        and of the amortized models, shape (s,); NaN of a single one.
    mean_gap
        Mean of the gaps over the settings.
    initializations
        Number of models, measured at all settings, of the side that has fewer. Errors count their
        variance where there are two or more of a side.
    rank_correlation
        Spearman's, over settings none of which is closer in score to another than the spread over
        seeds; NaN where there is none.
    ranked
        Number of these settings.
    ranking
        Whether there is a rank correlation, and if not why.
    shift
        By hyperparameter: best setting of the separate networks less that of the amortized model,
        among these settings.
    """

    scope: Scope
    settings: tuple[Setting, ...]
    amortized: Floats
    separate: Floats
    gaps: tuple[Mean, ...]
    seed_spread: Floats
    amortized_spread: Floats
    mean_gap: Mean
    initializations: int
    rank_correlation: float
    ranked: int
    ranking: Evidence
    shift: dict[str, float]

    @property
    def upper_bound(self) -> float:
        """Upper bound of the mean gap, with 95 % confidence."""
        return self.mean_gap.within(0.95).high

    @property
    def subjects(self) -> int:
        """Number of subjects of the pairs."""
        return self.mean_gap.subjects

    @property
    def evidence(self) -> Evidence:
        """Whether either is better; TOO_FEW of too few subjects or a single model of a side."""
        if self.initializations < FEWEST_INITIALIZATIONS:
            return Evidence.TOO_FEW
        return of_difference(self.mean_gap)

    @property
    def within_two_spreads(self) -> Mask:
        """Whether the gap is at most two standard deviations over seeds, shape (s,)."""
        values = [gap.value for gap in self.gaps]
        gaps = np.abs(values)
        limits = 2 * self.seed_spread
        within: Mask = gaps <= limits
        return within


def find_agreement(
    amortized: ModelsByName, separate: ModelsByName, scope: Scope, metric: str
) -> Agreement | None:
    """Compare separately trained networks with the amortized model.

    Scores are means over the models of each side. Errors are those over subjects, by the jackknife,
    and over initializations together.

    Parameters
    ----------
    amortized
        Hypermorphs by seed.
    separate
        Separate networks by seed: each the whole grid of settings.
    scope
        Of the pairs.
    metric
        Name of a metric that all of them measured.

    Returns
    -------
    Agreement or None
        None where the sides share no measurement.

    Raises
    ------
    LedgerError
        If the hyperparameters of the models differ, or one side has none.
    """
    sides = shared_scores([amortized, separate], scope, metric)
    if sides is None:
        return None
    own, other = sides[0].at(sides[1].settings), sides[1].at(sides[0].settings)
    if not own.settings:
        return None
    spread = seed_spread(other)
    correlation, ranked, ranking = judge_ranking(
        own.mean.signed_means, other.mean.signed_means, spread
    )
    every_setting = range(len(own.settings))
    own_best = _best_setting(own)
    other_best = _best_setting(other)
    models = min(len(complete_models(side.scores)) for side in (own, other))
    return Agreement(
        scope=scope,
        settings=tuple(own.space.setting(index) for index in own.settings),
        amortized=own.mean.means,
        separate=other.mean.means,
        gaps=tuple(_gap(other, own, [place]) for place in every_setting),
        seed_spread=spread,
        amortized_spread=seed_spread(own),
        mean_gap=_gap(other, own, every_setting),
        initializations=models,
        rank_correlation=correlation,
        ranked=ranked,
        ranking=ranking,
        shift={name: as_number(other_best[name]) - as_number(own_best[name]) for name in own_best},
    )


def _best_setting(side: ModelScores) -> Setting:
    best = side.mean.best()
    index = side.settings[best]
    return side.space.setting(index)


def _gap(separate: ModelScores, amortized: ModelScores, places: Sequence[int]) -> Mean:
    """Compute how much better separate networks are on average over some of the settings."""
    some_separate = complete_models(separate.signed[:, places])
    some_amortized = complete_models(amortized.signed[:, places])
    of_separate = mean(some_separate, axis=1)
    of_amortized = mean(some_amortized, axis=1)
    moving, fixed = separate.moving, separate.fixed
    return difference_over_initializations(of_separate, of_amortized, moving, fixed)


def seed_spread(models: ModelScores) -> Floats:
    """Compute the standard deviation of the mean score over models at each setting, shape (s,).

    NaN where fewer than two were measured.
    """
    scores = models.scores.mean(axis=2)
    measured = np.isfinite(scores).sum(axis=0)
    deviations = scores - mean(scores, axis=0)
    squares = mean(deviations**2, axis=0) * measured
    freedom = np.maximum(measured - 1, 1)
    spread = np.sqrt(squares / freedom)
    return np.where(measured > 1, spread, np.nan)


def judge_ranking(one: Floats, other: Floats, spread: Floats) -> tuple[float, int, Evidence]:
    """Compute Spearman's correlation over the settings that the second curve can tell apart.

    From the best score of the second curve downwards, a setting is taken if it lies at least the
    root mean square spread below the one taken before: no larger set has all scores so far apart.
    Scores 1.0, 0.95, 0.9, 0.8 with a spread of 0.09: 1.0, 0.9 and 0.8 are taken.

    Parameters
    ----------
    one, other
        Mean scores, shape (s,).
    spread
        Standard deviation over seeds at each setting, shape (s,); NaN where it is unknown.

    Returns
    -------
    correlation
        NaN where fewer than `FEWEST_RANKED_SETTINGS` settings, or fewer than `FEWEST_DISTINCT_SETTINGS` distinct.
    count
        Number of settings taken.
    evidence
        FOUND where the correlation is positive.

    Examples
    --------
    >>> curve = np.array([0.0, 0.4, 0.7, 0.9, 1.0, 0.95, 0.8, 0.5, 0.1])
    >>> correlation, count, evidence = judge_ranking(curve**3, curve, np.full(9, 0.09))
    >>> correlation, count, evidence.name
    (1.0, 8, 'FOUND')
    """
    if len(one) < FEWEST_RANKED_SETTINGS:
        return np.nan, len(one), Evidence.TOO_FEW
    mean_square = mean(spread**2, axis=0)
    # without a known spread all settings are taken
    threshold = np.sqrt(np.nan_to_num(mean_square))
    downwards = np.argsort(-other, kind="stable").tolist()
    taken = [downwards[0]]
    for place in downwards[1:]:
        below = other[taken[-1]] - other[place]
        if below >= threshold:
            taken.append(place)
    count = len(taken)
    ones = one[taken]
    others = other[taken]
    varies = np.ptp(ones) > 0 and np.ptp(others) > 0
    if count < FEWEST_DISTINCT_SETTINGS or not varies:
        return np.nan, count, Evidence.FLAT
    test = stats.spearmanr(ones, others)
    correlation = float(test.statistic)
    evidence = Evidence.FOUND if correlation > 0 else Evidence.NONE
    return correlation, count, evidence


@dataclass(frozen=True, kw_only=True)
class Regret:
    """Held-out loss of separate networks at a setting; negative where they gain.

    Parameters
    ----------
    scope
        Of the pairs.
    retraining
        At the amortized model's best setting, against the best of the grid: both chosen on the same
        subjects, none of which is held out.
    default
        At the default setting, against the same.
    default_more
        How much more the default loses: `default` less `retraining`, pair by pair.
    initializations
        Number of networks at each setting; errors count their variance where there are two or more.
    trained
        Whether a network was trained at the setting that the amortized model chooses on all pairs:
        if not, scores there are interpolated from the neighbouring ones of the grid.
    evidence
        Whether the default loses more; NEGLIGIBLE where both losses are equivalent to 0; TOO_FEW of
        too few subjects, or of a single initialization.
    pairs
        Number of held-out pairs.
    """

    scope: Scope
    retraining: Mean
    default: Mean
    default_more: Mean
    initializations: int
    trained: bool
    evidence: Evidence
    pairs: int

    @property
    def subjects(self) -> int:
        """Number of held-out subjects."""
        return self.retraining.subjects


def find_regret(
    amortized: ModelsByName, separate: ModelsByName, scope: Scope, options: SearchOptions
) -> Regret | None:
    """Compute what is lost by retraining at the setting that the amortized model chose.

    Errors have the variance over choices, as in `hmopt.analysis.held_out.with_choices`: the default is
    given, and of two choices one may hardly vary.

    Both sides choose by the mean over their seeds that were measured at all settings. A setting
    between those trained for one hyperparameter gets the score on the straight line between its
    neighbours, as curves through single trainings would swing with their noise; beyond the grid,
    and for several hyperparameters, that of the nearest setting.

    Parameters
    ----------
    amortized, separate
        Models by seed.
    scope
        Of the pairs.
    options
        The metric, the margin, and how subjects are split.

    Returns
    -------
    Regret or None
        None where no pair is held out.

    Raises
    ------
    LedgerError
        If the hyperparameters of the models differ, or one side has none.
    """
    sides = shared_scores([amortized, separate], scope, options.metric)
    if sides is None:
        return None
    own, networks = (replace(side, scores=complete_models(side.scores)) for side in sides)
    subjects = sorted({*own.moving, *own.fixed})
    splits = split_subjects(subjects, options.splits, options.seed)

    by_amortized = _chosen(own, splits)
    by_networks = _chosen(networks, splits)
    default_index = networks.space.index(networks.space.default)
    by_default = [default_index] * len(by_amortized)
    both = zip(by_amortized, by_networks, strict=True)
    could_choose = np.array([None not in chosen for chosen in both])
    held_out = splits.held_out_pairs(*own.sides)
    held_out = held_out & could_choose[:, None]
    scored = np.asarray(held_out.any(axis=0))
    if not scored.any():
        return None

    at_best = _held_out_scores(networks, by_networks, held_out)[:, scored]
    at_amortized = _held_out_scores(networks, by_amortized, held_out)[:, scored]
    at_default = _held_out_scores(networks, by_default, held_out)[:, scored]
    lost = gain(networks.metric, at_best, at_amortized)
    lost_by_default = gain(networks.metric, at_best, at_default)
    moving = networks.moving[scored]
    fixed = networks.fixed[scored]
    retraining = mean_over_initializations(lost, moving, fixed)
    default = mean_over_initializations(lost_by_default, moving, fixed)
    default_more = mean_over_initializations(lost_by_default - lost, moving, fixed)

    best_of_splits = _means_of_splits(networks, by_networks, scored)
    amortized_of_splits = _means_of_splits(networks, by_amortized, scored)
    default_of_splits = _means_of_splits(networks, by_default, scored)
    lost_of_splits = gain(networks.metric, best_of_splits, amortized_of_splits)
    default_lost_of_splits = gain(networks.metric, best_of_splits, default_of_splits)
    more_of_splits = default_lost_of_splits - lost_of_splits
    retraining = with_choices(retraining, lost_of_splits, splits.ratio)
    default = with_choices(default, default_lost_of_splits, splits.ratio)
    default_more = with_choices(default_more, more_of_splits, splits.ratio)

    models = len(networks.scores)
    margin = margin_of(networks.metric, options.margin)
    if not default_more.known or models < FEWEST_INITIALIZATIONS:
        evidence = Evidence.TOO_FEW
    elif retraining.equivalent(margin) and default.equivalent(margin):
        evidence = Evidence.NEGLIGIBLE
    else:
        evidence = of_difference(default_more)
    return Regret(
        scope=networks.scope,
        retraining=retraining,
        default=default,
        default_more=default_more,
        initializations=models,
        trained=own.settings[own.mean.best()] in networks.settings,
        evidence=evidence,
        pairs=int(scored.sum()),
    )


def _chosen(models: ModelScores, splits: Splits) -> list[Index | None]:
    """Return the setting that the mean over models chooses in each split; None without pairs."""
    curve = models.mean
    moving, fixed = models.sides
    sums = sums_between(curve, splits, moving, fixed)
    places = choose(sums, splits.selection)
    return [None if place < 0 else curve.settings[place] for place in places]


def _held_out_scores(
    models: ModelScores, settings: Sequence[Index | None], held_out: Mask
) -> Floats:
    """Compute each model's and pair's mean score over the splits that hold it out, shape (m, n).

    Parameters
    ----------
    models
        Scores of m models and n pairs.
    settings
        The setting of each of r splits.
    held_out
        Whether each pair is held out in each split, shape (r, n).
    """
    shape = (len(models.scores), len(models.moving))
    total = np.zeros(shape)
    for setting in dict.fromkeys(settings):
        if setting is None:
            continue
        splits = [place for place, chosen in enumerate(settings) if chosen == setting]
        times = held_out[splits].sum(axis=0)
        scores = scores_at(models, setting)
        total += times * scores
    all_times = held_out.sum(axis=0)
    divisor = np.maximum(all_times, 1)
    means: Floats = total / divisor
    return means


def _means_of_splits(models: ModelScores, settings: Sequence[Index | None], scored: Mask) -> Floats:
    """Compute the mean over models and scored pairs at the setting of each split, shape (r,).

    NaN where nothing was chosen.

    Parameters
    ----------
    models
        Scores of m models and n pairs.
    settings
        The setting of each of r splits.
    scored
        Whether each pair counts, shape (n,).
    """
    means: dict[Index | None, float] = {None: np.nan}
    for setting in dict.fromkeys(settings):
        if setting is not None:
            means[setting] = float(scores_at(models, setting)[:, scored].mean())
    return np.array([means[setting] for setting in settings])


def scores_at(models: ModelScores, setting: Index) -> Floats:
    """Return the score of each model and pair at a setting, trained or not, shape (m, n).

    `find_regret` tells how scores are interpolated.
    """
    scores = models.scores
    measured = np.array(models.settings, dtype=float)
    if measured.shape[1] > 1:
        distances = np.linalg.norm(measured - setting, axis=1)
        return scores[:, distances.argmin()]
    places = measured[:, 0]
    (place,) = setting
    last = len(places) - 1
    above = int(np.searchsorted(places, place))
    if above == 0 or above > last:
        nearest = min(above, last)
        return scores[:, nearest]
    below = above - 1
    width = places[above] - places[below]
    share = (place - places[below]) / width
    scores_below = scores[:, below]
    scores_above = scores[:, above]
    interpolated: Floats = (1 - share) * scores_below + share * scores_above
    return interpolated
