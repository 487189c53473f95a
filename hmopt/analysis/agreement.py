"""Whether one amortized model answers as networks trained for each setting do."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hmopt.analysis.aligned import Aligned, align, complete
from hmopt.analysis.evidence import Evidence, of_difference
from hmopt.analysis.jackknife import Mean
from hmopt.analysis.starts import FEWEST_STARTS, difference_over_starts
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
    starts
        Random starts, measured at all settings, of the side that has fewer. Errors count them where there are two or
        more of a side.
    rank_correlation
        Spearman's, over settings none of which is closer in score to another than the spread over seeds; NaN where
        there is none.
    ranked
        How many settings that are.
    ranking
        Whether there is a rank correlation, and if not why.
    shift
        By hyperparameter: best setting of the separate networks less that of the amortized model, among these settings.
    """

    scope: Scope
    settings: tuple[Setting, ...]
    amortized: NDArray[np.float64]
    separate: NDArray[np.float64]
    gaps: tuple[Mean, ...]
    seed_spread: NDArray[np.float64]
    amortized_spread: NDArray[np.float64]
    mean_gap: Mean
    starts: int
    rank_correlation: float
    ranked: int
    ranking: Evidence
    shift: Setting

    @property
    def upper_bound(self) -> float:
        """What the mean gap stays below with 95 % confidence."""
        return self.mean_gap.within(0.95).high

    @property
    def subjects(self) -> int:
        """How many subjects the pairs are of."""
        return self.mean_gap.subjects

    @property
    def evidence(self) -> Evidence:
        """Whether either is better; TOO_FEW of too few subjects, or of a single random start of a side."""
        return Evidence.TOO_FEW if self.starts < FEWEST_STARTS else of_difference(self.mean_gap)

    @property
    def within_two_spreads(self) -> NDArray[np.bool_]:
        """At which settings the gap is at most two standard deviations over seeds, shape (s,)."""
        return np.asarray(np.abs([gap.value for gap in self.gaps]) <= 2 * self.seed_spread)


def find_agreement(
    amortized: Mapping[str, Measurements],
    separate: Mapping[str, Measurements],
    scope: Scope,
    metric: str,
) -> Agreement | None:
    """Give how separately trained networks differ from the amortized model; None where they share no measurement.

    Scores are means over the random starts of each side. Errors are those over subjects, by the jackknife, and over
    starts together.

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

    Raises
    ------
    LedgerError
        If the hyperparameters of the models differ, or one side has none.
    """
    both = align([amortized, separate], scope, metric)
    if both is None or not set(both[0].settings) & set(both[1].settings):
        return None
    one, many = both[0].at(both[1].settings), both[1].at(both[0].settings)
    sides = one.moving, one.fixed
    spread = seed_spread(many)
    correlation, ranked, ranking = rank_correlation(
        one.mean.signed_means, many.mean.signed_means, spread
    )
    best, theirs = (side.space.setting(side.settings[side.mean.best()]) for side in (one, many))
    theirs_signed, own_signed = _signed(many), _signed(one)
    return Agreement(
        scope=scope,
        settings=tuple(one.space.setting(index) for index in one.settings),
        amortized=one.mean.means,
        separate=many.mean.means,
        gaps=tuple(
            _gap(theirs_signed[:, [place]], own_signed[:, [place]], *sides)
            for place in range(len(one.settings))
        ),
        seed_spread=spread,
        amortized_spread=seed_spread(one),
        mean_gap=_gap(theirs_signed, own_signed, *sides),
        starts=min(len(complete(one.scores)), len(complete(many.scores))),
        rank_correlation=correlation,
        ranked=ranked,
        ranking=ranking,
        shift={name: theirs[name] - best[name] for name in best},
    )


def _signed(aligned: Aligned) -> NDArray[np.float64]:
    """Return scores such that more is better, shape (m, s, n)."""
    return gain(aligned.metric, aligned.scores, np.zeros(1))


def _gap(
    separate: NDArray[np.float64],
    amortized: NDArray[np.float64],
    moving: NDArray[np.object_],
    fixed: NDArray[np.object_],
) -> Mean:
    """Return how much better separate networks are on average over settings; scores of shape (m, s, n)."""
    ones, others = (mean(complete(side), axis=1) for side in (separate, amortized))
    return difference_over_starts(ones, others, moving, fixed)


def seed_spread(aligned: Aligned) -> NDArray[np.float64]:
    """Give the standard deviation of the mean score over models at each setting, shape (s,); NaN of a single one."""
    scores = aligned.scores.mean(axis=2)
    measured = np.isfinite(scores).sum(axis=0)
    squares = mean((scores - mean(scores, axis=0)) ** 2, axis=0) * measured
    return np.asarray(
        np.where(measured > 1, np.sqrt(squares / np.maximum(measured - 1, 1)), np.nan)
    )


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
