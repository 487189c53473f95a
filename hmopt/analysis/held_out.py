"""How good a chosen setting is on subjects that did not choose it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.analysis.resampling import Estimate, Samples, estimate
from hmopt.search.curve import Curve, gain
from hmopt.space import Index


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Which pairs choose and which judge, in each of k rounds.

    Parameters
    ----------
    choose, judge
        Shape (k, pairs); no pair does both in a round, and some do neither.
    """

    choose: NDArray[np.bool_]
    judge: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Dealing:
    """Subjects dealt into folds, several times over.

    Parameters
    ----------
    subjects
        Their names, n of them.
    fold
        The fold of each subject in each repeat, shape (repeats, n), from 0.
    """

    subjects: pd.Index
    fold: NDArray[np.int64]

    def parts(self, moving: NDArray[np.object_], fixed: NDArray[np.object_]) -> Parts:
        """Give a round for each repeat and fold: pairs wholly inside the fold judge, pairs wholly outside choose.

        Parameters
        ----------
        moving, fixed
            The subjects of each pair; for the scope of one subject, its partner twice.
        """
        first, second = (
            np.take(self.fold, self.subjects.get_indexer(pd.Index(side)), axis=1)[:, None] for side in (moving, fixed)
        )
        judged = np.arange(self.fold.max() + 1)[None, :, None]
        return Parts(
            choose=((first != judged) & (second != judged)).reshape(-1, len(moving)),
            judge=((first == judged) & (second == judged)).reshape(-1, len(moving)),
        )


def deal(subjects: Sequence[str], folds: int, repeats: int, seed: int) -> Dealing:
    """Deal subjects into folds whose sizes differ by at most one, `repeats` times.

    Examples
    --------
    >>> deal(["a", "b", "c", "d"], folds=2, repeats=3, seed=0).fold.sum(axis=1).tolist()
    [2, 2, 2]
    """
    generator = np.random.default_rng(seed)
    in_order = np.tile(np.arange(len(subjects)) % folds, (repeats, 1))
    return Dealing(subjects=pd.Index(subjects), fold=generator.permuted(in_order, axis=1))


def choose(response: Curve, choosing: NDArray[np.bool_]) -> list[Index | None]:
    """Give the best setting on the choosing pairs of each round, None where a round has none.

    Parameters
    ----------
    response
        Scores of n pairs.
    choosing
        Shape (k, n).
    """
    total = choosing.sum(axis=1)
    means = (choosing @ response.scores.T) / np.maximum(total, 1)[:, None]
    best = response.best_of(means)
    return [response.settings[place] if count else None for place, count in zip(best, total, strict=True)]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Scores on pairs that did not choose, each pair's mean over the rounds in which it judged.

    Parameters
    ----------
    score
        With the setting chosen for the scope.
    at_common
        With the setting chosen for all pairs and labels together, by the same subjects.
    at_default
        With the default setting; NaN where it was not measured.
    over_common, over_default
        How much better the scope's own setting is than either; positive is better.
    pairs
        Positions of the pairs that judged in the table of all pairs, shape (m,).
    gains, default_gains
        How much better the scope's own setting is than the common one, and than the default, for each of them, shape
        (m,).
    """

    score: Estimate
    at_common: Estimate
    at_default: Estimate
    over_common: Estimate
    over_default: Estimate
    pairs: NDArray[np.intp]
    gains: NDArray[np.float64]
    default_gains: NDArray[np.float64]


def judge(
    response: Curve,
    parts: Parts,
    common: Sequence[Index | None],
    default: Index,
    samples: Samples,
) -> HeldOut | None:
    """Give the held-out scores of a scope, or None where no pair could judge.

    Parameters
    ----------
    response
        Scores of n pairs.
    parts
        Which of these pairs choose and judge, shape (k, n) each.
    common
        The setting that all pairs and labels together chose in each round, k of them.
    default
        The setting of a user who does not search.
    samples
        Of the subjects of these n pairs.

    References
    ----------
    Cross-fitting: Chernozhukov et al., "Double/debiased machine learning", Econometrics Journal 2018, section 3.
    """
    own = choose(response, parts.choose)
    usable = np.array([a is not None and b in response.settings for a, b in zip(own, common, strict=True)])
    judging = parts.judge & usable[:, None]
    judged = judging.any(axis=0)
    if not judged.any():
        return None
    rounds, samples = judging[:, judged], samples.of(judged)
    mine, theirs, plain = (
        _held(response, settings, rounds, judged) for settings in (own, common, [default] * len(own))
    )
    gains, default_gains = gain(response.metric, mine, theirs), gain(response.metric, mine, plain)
    return HeldOut(
        score=estimate(samples, mine),
        at_common=estimate(samples, theirs),
        at_default=estimate(samples, plain),
        over_common=estimate(samples, gains),
        over_default=estimate(samples, default_gains),
        pairs=response.pairs[judged],
        gains=gains,
        default_gains=default_gains,
    )


def _held(
    response: Curve, settings: Sequence[Index | None], rounds: NDArray[np.bool_], judged: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean of each judged pair's score over the rounds in which it judged, each with that round's setting."""
    unknown = np.full((1, judged.sum()), np.nan)
    scores = np.vstack([response.scores[:, judged], unknown])
    places = [-1 if setting is None else response.place(setting) for setting in settings]
    return np.asarray(np.where(rounds, scores[places], 0).sum(axis=0) / rounds.sum(axis=0))
