"""Whether one amortized model answers as networks trained for each setting do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.aligned import Aligned, align
from hmopt.analysis.evidence import Evidence
from hmopt.analysis.resampling import Estimate, estimate
from hmopt.ledger.measurements import Measurements, mean
from hmopt.search.curve import gain
from hmopt.search.scopes import Scope
from hmopt.space import Setting

LEAST = 9
"""Settings that a rank correlation needs."""

APART = 3
"""Settings that must remain when none is closer in score to another than the spread over seeds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """Separately trained networks against the amortized model, for one scope.

    Parameters
    ----------
    scope
        Whose pairs.
    settings
        The s settings at which both were measured, as values.
    amortized, separate
        Mean scores there, shape (s,).
    gaps
        How much better separate networks are at each setting, with its interval over samples of the subjects.
    seed_spread, amortized_spread
        Standard deviation of the mean score over the seeds at each setting, of the separate networks and of the
        amortized models, shape (s,); NaN of a single one.
    mean_gap
        Mean of the gaps over the settings, with its interval.
    upper_bound
        What the mean gap stays below with 95 % confidence.
    rank_correlation
        Spearman's, over settings none of which is closer in score to another than the spread over seeds; NaN where
        there is none.
    ranked
        How many settings that are.
    ranking
        Whether there is a rank correlation, and if not why.
    shift
        By hyperparameter: best setting of the separate networks less that of the amortized model, among these settings.
    subjects
        How many.
    """

    scope: Scope
    settings: tuple[Setting, ...]
    amortized: NDArray[np.float64]
    separate: NDArray[np.float64]
    gaps: tuple[Estimate, ...]
    seed_spread: NDArray[np.float64]
    amortized_spread: NDArray[np.float64]
    mean_gap: Estimate
    upper_bound: float
    rank_correlation: float
    ranked: int
    ranking: Evidence
    shift: Setting
    subjects: int

    @property
    def within_two_spreads(self) -> NDArray[np.bool_]:
        """At which settings the gap is at most two standard deviations over seeds, shape (s,)."""
        return np.asarray(np.abs([gap.value for gap in self.gaps]) <= 2 * self.seed_spread)


def find_agreement(
    amortized: Mapping[str, Measurements], separate: Mapping[str, Measurements], scope: Scope, metric: str, seed: int
) -> Agreement | None:
    """Give how separately trained networks differ from the amortized model; None where they share no measurement.

    Scores are means over the seeds of each side. Intervals are over samples of the subjects; how much training anew
    would change is told beside them, by the spreads over seeds.

    Parameters
    ----------
    amortized
        Of hypermorphs by seed.
    separate
        Of separate networks by seed: each the whole grid of settings.
    scope
        Whose pairs.
    metric
        Name of a metric that all of them measured.
    seed
        Of the samples of the subjects.

    Raises
    ------
    LedgerError
        If the hyperparameters of the models differ, or one side has none.
    """
    both = align([amortized, separate], scope, metric)
    if both is None or not set(both[0].settings) & set(both[1].settings):
        return None
    one, many = both[0].at(both[1].settings), both[1].at(both[0].settings)
    gaps = gain(one.metric, many.mean.scores, one.mean.scores)
    samples = many.samples(seed)
    spread = seed_spread(many)
    correlation, ranked, ranking = rank_correlation(one.mean.gains, many.mean.gains, spread)
    best, theirs = (side.space.setting(side.settings[side.mean.best()]) for side in (one, many))
    return Agreement(
        scope=scope,
        settings=tuple(one.space.setting(index) for index in one.settings),
        amortized=one.mean.means,
        separate=many.mean.means,
        gaps=tuple(estimate(samples, row) for row in gaps),
        seed_spread=spread,
        amortized_spread=seed_spread(one),
        mean_gap=estimate(samples, gaps.mean(axis=0)),
        upper_bound=float(np.quantile(samples.means(gaps.mean(axis=0)), 0.95)),
        rank_correlation=correlation,
        ranked=ranked,
        ranking=ranking,
        shift={name: theirs[name] - best[name] for name in best},
        subjects=one.subjects,
    )


def seed_spread(aligned: Aligned) -> NDArray[np.float64]:
    """Give the standard deviation of the mean score over models at each setting, shape (s,); NaN of a single one."""
    scores = aligned.scores.mean(axis=2)
    measured = np.isfinite(scores).sum(axis=0)
    squares = mean((scores - mean(scores, axis=0)) ** 2, axis=0) * measured
    return np.asarray(np.where(measured > 1, np.sqrt(squares / np.maximum(measured - 1, 1)), np.nan))


def rank_correlation(
    one: NDArray[np.float64], other: NDArray[np.float64], spread: NDArray[np.float64]
) -> tuple[float, int, Evidence]:
    """Give Spearman's correlation over settings that the second curve can tell apart, how many, and what that says.

    From the best score of the second curve downwards, each setting that lies at least the root mean square spread below
    the one taken before is taken: no larger set has all its scores so far apart.

    Parameters
    ----------
    one, other
        Mean scores, shape (s,).
    spread
        Standard deviation over seeds at each setting, shape (s,); NaN where it is not known.

    Examples
    --------
    >>> curve = np.array([0.0, 0.4, 0.7, 0.9, 1.0, 0.95, 0.8, 0.5, 0.1])
    >>> rank_correlation(curve**3, curve, np.full(9, 0.09))
    (1.0, 8, <Evidence.FOUND: 'evidence'>)
    """
    if len(one) < LEAST:
        return np.nan, len(one), Evidence.TOO_FEW
    threshold = float(np.sqrt(np.nan_to_num(mean(spread**2, axis=0))))
    taken: list[int] = []
    for place in np.argsort(-other, kind="stable").tolist():
        if not taken or other[taken[-1]] - other[place] >= threshold:
            taken.append(place)
    if len(taken) < APART or not np.ptp(one[taken]) or not np.ptp(other[taken]):
        return np.nan, len(taken), Evidence.FLAT
    correlation = float(stats.spearmanr(one[taken], other[taken]).statistic)
    return correlation, len(taken), Evidence.FOUND if correlation > 0 else Evidence.NONE


def agreement_table(agreements: Sequence[Agreement]) -> pd.DataFrame:
    """Give one row for each scope and setting."""
    return pd.DataFrame(
        [
            {
                "scope": found.scope.name,
                "label": found.scope.label or "",
                **setting,
                "amortized": found.amortized[place],
                "separate": found.separate[place],
                **found.gaps[place].columns("gap"),
                "seed_spread": found.seed_spread[place],
                "amortized_spread": found.amortized_spread[place],
            }
            for found in agreements
            for place, setting in enumerate(found.settings)
        ]
    )
