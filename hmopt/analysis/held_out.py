"""How good a chosen setting is on subjects that did not choose it."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.analysis.jackknife import Mean, jackknife_rows
from hmopt.search.curve import Curve, gain

HALF_FROM = 10
"""Subjects from which one half chooses and the other judges; with fewer, all but two choose."""

MOST_GROUPS = 60
"""Subjects that are held out one by one; more are held out in so many groups."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Who chooses and who judges, in each of r rounds.

    Parameters
    ----------
    subjects
        Their names.
    group
        The group of each subject, from 0; subjects of a group are held out together.
    chooses
        Whether each group chooses, shape (r, groups); the others judge.
    exhaustive
        Whether these are all ways to divide the groups, so that no random number enters.
    """

    subjects: pd.Index
    group: NDArray[np.intp]
    chooses: NDArray[np.bool_]
    exhaustive: bool

    @property
    def choosing(self) -> int:
        """How many subjects choose in a round, on average."""
        return round(float(self.chooses[:, self.group].sum(axis=1).mean()))

    def groups_of(self, names: NDArray[np.object_]) -> NDArray[np.intp]:
        """Return the group of each of the named subjects."""
        return np.asarray(self.group[self.subjects.get_indexer(pd.Index(names))])

    def judges(self, moving: NDArray[np.object_], fixed: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Return in which rounds both subjects of each pair judge, shape (r, n)."""
        first, second = self.groups_of(moving), self.groups_of(fixed)
        return np.asarray(~self.chooses[:, first] & ~self.chooses[:, second])


def divide(subjects: Sequence[str], splits: int, seed: int) -> Splits:
    """Divide subjects into those who choose and those who judge.

    With fewer than `HALF_FROM` subjects, every two of them judge in turn and all others choose: half of them would be
    too few to choose on. Otherwise one half chooses and the other judges, then the other way round: in all ways where
    these are at most `2 * splits` rounds, else in `splits` random ones.

    Parameters
    ----------
    subjects
        Names, each once; their order does not matter.
    splits
        Random divisions, each used both ways.
    seed
        Of the random divisions.

    Examples
    --------
    >>> divide(["a", "b", "c", "d"], splits=500, seed=0).chooses.astype(int).tolist()[:2]
    [[0, 0, 1, 1], [0, 1, 0, 1]]
    >>> divide([str(name) for name in range(40)], splits=500, seed=0).chooses.shape
    (1000, 40)
    """
    names = pd.Index(sorted(subjects))
    groups = min(len(names), MOST_GROUPS)
    group = np.arange(len(names)) % max(groups, 1)
    judging = 2 if groups < HALF_FROM else groups // 2
    rounds = math.comb(groups, judging)
    exhaustive = judging == 2 or rounds <= 2 * splits
    if exhaustive:
        judges = list(itertools.combinations(range(groups), min(judging, groups)))
        chooses = np.ones((len(judges), groups), dtype=bool)
        for row, held_out in enumerate(judges):
            chooses[row, list(held_out)] = False
    else:
        generator = np.random.default_rng(seed)
        in_order = np.tile(np.arange(groups) < judging, (splits, 1))
        half = generator.permuted(in_order, axis=1)
        chooses = np.concatenate([half, ~half])
    return Splits(subjects=names, group=group, chooses=chooses, exhaustive=exhaustive)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Sums of a scope's scores between groups of subjects, from which means over any of the groups follow.

    Parameters
    ----------
    total
        Sum over the pairs of each two groups, shape (groups, groups, s), symmetric; shape (groups, s) for a scope of
        one subject, whose pairs go by their partner alone.
    count
        Number of these pairs, shape (groups, groups) or (groups,).
    """

    total: NDArray[np.float64]
    count: NDArray[np.float64]

    def touching(
        self, chooses: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sums and numbers of each group's pairs with choosing groups, (r, groups, s) and (r, groups)."""
        weights = chooses.astype(float)
        if self.count.ndim == 1:
            return weights[:, :, None] * self.total, weights * self.count
        groups, _, settings = self.total.shape
        sums = (weights @ self.total.reshape(groups, -1)).reshape(-1, groups, settings)
        return weights[:, :, None] * sums, weights * (weights @ self.count)

    def all_of(
        self, chooses: NDArray[np.bool_], sums: NDArray[np.float64], counts: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return sum and number of all pairs among choosing groups, (r, s) and (r,), from what `touching` returned.

        A pair of two groups touches both, one within a group touches it once.
        """
        if self.count.ndim == 1:
            return sums.sum(axis=1), counts.sum(axis=1)
        weights = chooses.astype(float)
        within = np.arange(len(self.count))
        inner, inner_count = (
            weights @ self.total[within, within],
            weights @ self.count[within, within],
        )
        return (sums.sum(axis=1) + inner) / 2, (counts.sum(axis=1) + inner_count) / 2


def sums_between(
    response: Curve, splits: Splits, moving: NDArray[np.object_], fixed: NDArray[np.object_]
) -> Sums:
    """Add up a scope's scores between groups of subjects; parameters as of `Sums` and `held_out_sides`."""
    groups, settings = splits.chooses.shape[1], len(response.settings)
    first, second = splits.groups_of(moving), splits.groups_of(fixed)
    scores = response.signed.T
    if moving is fixed:
        total, count = np.zeros((groups, settings)), np.zeros(groups)
        np.add.at(total, first, scores)
        np.add.at(count, first, 1)
        return Sums(total=total, count=count)
    total, count = np.zeros((groups, groups, settings)), np.zeros((groups, groups))
    np.add.at(total, (first, second), scores)
    np.add.at(count, (first, second), 1)
    within = np.arange(groups)
    inner, inner_count = total[within, within].copy(), count[within, within].copy()
    total, count = total + total.transpose(1, 0, 2), count + count.T
    total[within, within], count[within, within] = inner, inner_count
    return Sums(total=total, count=count)


def choose(sums: Sums, chooses: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the place of the best setting on the choosing pairs of each round, -1 where there are none, shape (r,)."""
    total, count = sums.all_of(chooses, *sums.touching(chooses))
    means = total / np.maximum(count, 1)[:, None]
    return np.where(count > 0, means.argmax(axis=1), -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Scores on pairs whose subjects did not choose, each pair's mean over the rounds in which it judged.

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
    scores
        Of each of them with the scope's own setting, shape (m,).
    gains, default_gains
        How much better the scope's own setting is than the common one, and than the default, for each of them, shape
        (m,).
    choosing
        How many subjects chose.
    """

    score: Mean
    at_common: Mean
    at_default: Mean
    over_common: Mean
    over_default: Mean
    pairs: NDArray[np.intp]
    scores: NDArray[np.float64]
    gains: NDArray[np.float64]
    default_gains: NDArray[np.float64]
    choosing: int


def judge(
    response: Curve,
    judging: NDArray[np.bool_],
    chosen: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]],
    sides: tuple[NDArray[np.object_], NDArray[np.object_]],
    choosing: int,
    always: str | None = None,
) -> HeldOut | None:
    """Score a scope on held-out pairs; None where no pair could judge.

    Parameters
    ----------
    response
        Scores of n pairs at s settings.
    judging
        Which pairs judge in each round, shape (r, n).
    chosen
        Places among the settings, shape (r,) each, -1 where none could be chosen: of the scope's own setting, of the
        setting chosen for all together, and of the default.
    sides
        The subjects of each pair, shape (n,) each.
    choosing
        How many subjects choose.
    always
        The subject that the scope is about.

    References
    ----------
    Cross-fitting: Chernozhukov et al., "Double/debiased machine learning", Econometrics Journal 2018, section 3.
    """
    own, common, default = chosen
    used = judging & ((own >= 0) & (common >= 0))[:, None]
    judged = np.asarray(used.any(axis=0))
    if not judged.any():
        return None
    rounds, scores = used[:, judged], response.scores[:, judged]
    mine, theirs, plain = (
        _mean_over_rounds(scores, places, rounds) for places in (own, common, default)
    )
    gains, default_gains = gain(response.metric, mine, theirs), gain(response.metric, mine, plain)
    moving, fixed = (side[judged] for side in sides)
    means = jackknife_rows(
        np.array([mine, theirs, plain, gains, default_gains]), moving, fixed, always
    )
    return HeldOut(
        score=means[0],
        at_common=means[1],
        at_default=means[2],
        over_common=means[3],
        over_default=means[4],
        pairs=response.pairs[judged],
        scores=mine,
        gains=gains,
        default_gains=default_gains,
        choosing=choosing,
    )


def _mean_over_rounds(
    scores: NDArray[np.float64], places: NDArray[np.intp], rounds: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return each pair's mean score over the rounds in which it judged, each with that round's setting.

    Parameters
    ----------
    scores
        Shape (s, m).
    places
        Shape (r,); -1 stands for a setting that was not measured.
    rounds
        Shape (r, m).
    """
    if (places < 0).all():
        return np.full(scores.shape[1], np.nan)
    picked = np.zeros((len(places), len(scores)))
    known = places >= 0
    picked[np.flatnonzero(known), places[known]] = 1
    # how often each setting was the chosen one in a round that the pair judged, shape (s, m)
    times = picked.T @ rounds
    return np.asarray((times * scores).sum(axis=0) / times.sum(axis=0))
