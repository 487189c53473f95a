"""Cross-validation over subjects: settings are chosen on some subjects and scored on the others.

The subjects are split into a selection set and a held-out set, many times. In each split, the best
setting is chosen on pairs whose subjects are both in the selection set, and scored on pairs whose
subjects are both held out. A pair's held-out score is its mean over the splits in which it was held
out (repeated split halves, or all pairs of subjects left out).

Shapes: r splits, g groups of subjects that are held out together, s settings, n pairs.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from hmopt.analysis.jackknife import Mean, jackknife_rows
from hmopt.analysis.resampling import Floats, Mask, Names, Places
from hmopt.ledger.measurements import mean
from hmopt.search.curve import Curve, gain

HALF_FROM = 10
"""Subjects from which one half is held out; of fewer, two are."""

MOST_GROUPS = 60
"""Subjects that are held out one by one; more are held out in so many groups."""

Sides = tuple[Names, Names]
"""Moving and fixed subject of each pair, shape (n,) each."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Splits of the subjects into a selection set and a held-out set.

    Parameters
    ----------
    subjects
        Their names.
    group
        Group of each subject, from 0; subjects of a group are held out together.
    selection
        Whether each group is in the selection set of each split, shape (r, g); the others are held
        out.
    exhaustive
        Whether these are all possible splits, so that no random number enters.
    """

    subjects: pd.Index
    group: Places
    selection: Mask
    exhaustive: bool

    @cached_property
    def choosing(self) -> int:
        """Number of subjects in a selection set, on average."""
        _, groups = self.selection.shape
        sizes = np.bincount(self.group, minlength=groups)
        subjects = self.selection @ sizes
        mean = float(subjects.mean())
        return round(mean)

    @cached_property
    def ratio(self) -> float:
        """Number of groups in a selection set for each one that is held out; NaN for no group."""
        choosing = float(self.selection.sum())
        held_out = self.selection.size - choosing
        return choosing / held_out if held_out else math.nan

    def groups_of(self, names: Names) -> Places:
        """Return the group of each of the named subjects."""
        asked = pd.Index(names, dtype=object)
        places = self.subjects.get_indexer(asked)
        return self.group[places]

    def held_out_pairs(self, moving: Names, fixed: Names) -> Mask:
        """Return whether both subjects of each pair are held out in each split, shape (r, n)."""
        held_out = ~self.selection
        of_moving = held_out[:, self.groups_of(moving)]
        of_fixed = held_out[:, self.groups_of(fixed)]
        return of_moving & of_fixed


def split_subjects(subjects: Sequence[str], splits: int, seed: int) -> Splits:
    """Split subjects into selection sets and held-out sets.

    Of fewer than `HALF_FROM` subjects, every two are held out once: half of them would be too few
    to choose on. Of more, one half is held out and then the other: in all ways where these are at
    most `2 * splits`, otherwise in `splits` random ones.

    Parameters
    ----------
    subjects
        Names, each once; their order does not matter.
    splits
        Number of random halves; each gives two splits.
    seed
        Seed of the random halves.

    Examples
    --------
    >>> found = split_subjects(["a", "b", "c", "d"], splits=500, seed=0)
    >>> found.selection.astype(int).tolist()[:2]
    [[0, 0, 1, 1], [0, 1, 0, 1]]
    >>> many = [str(name) for name in range(40)]
    >>> split_subjects(many, splits=500, seed=0).selection.shape
    (1000, 40)
    """
    names = pd.Index(sorted(subjects), dtype=object)
    groups = min(len(names), MOST_GROUPS)
    group = np.arange(len(names)) % max(groups, 1)
    held_out = groups // 2
    if groups < HALF_FROM:
        held_out = min(2, groups)
    possible = math.comb(groups, held_out)
    exhaustive = held_out <= 2 or possible <= 2 * splits
    selection = _all_ways(groups, held_out) if exhaustive else _random_halves(groups, splits, seed)
    return Splits(
        subjects=names,
        group=group,
        selection=selection,
        exhaustive=exhaustive,
    )


def _all_ways(groups: int, held_out: int) -> Mask:
    """Return the selection sets that remain of all ways to hold out some groups."""
    numbers = range(groups)
    ways = list(itertools.combinations(numbers, held_out))
    selection = np.ones((len(ways), groups), dtype=bool)
    for split, members in enumerate(ways):
        selection[split, list(members)] = False
    return selection


def _random_halves(groups: int, splits: int, seed: int) -> Mask:
    """Draw halves of the groups; each is a selection set, and so is the other half."""
    generator = np.random.default_rng(seed)
    is_first = np.arange(groups) < groups // 2
    in_order = np.tile(is_first, (splits, 1))
    half = generator.permuted(in_order, axis=1)
    return np.concatenate([half, ~half])


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Sums of a scope's scores between groups of subjects.

    Means over any groups follow from them without going through the pairs again. For a scope of
    one subject, who is in all its pairs, pairs are summed by the group of the partner alone.

    Parameters
    ----------
    total
        Sum over the pairs between each two groups, shape (g, g, s), symmetric; shape (g, s) for a
        scope of one subject.
    count
        Number of these pairs, shape (g, g) or (g,).
    """

    total: Floats
    count: Floats

    @cached_property
    def touched(self) -> Places:
        """Groups that have pairs, t of them, rising."""
        by_group = self.count.reshape(len(self.count), -1)
        has_pairs = by_group.any(axis=1)
        return np.flatnonzero(has_pairs)

    def at(self, places: Sequence[int]) -> "Sums":
        """Return the same at some of the settings."""
        total = self.total[..., places]
        return Sums(total=total, count=self.count)

    def touching(self, selected: Floats) -> tuple[Floats, Floats]:
        """Compute sum and number of the pairs of each touched group with selected groups.

        Parameters
        ----------
        selected
            1 where a group is in the selection set of a split, else 0, shape (g, r).

        Returns
        -------
        array
            Sums, shape (t, s, r); 0 where the group itself is not selected.
        array
            Numbers, shape (t, r).
        """
        of_group = selected[self.touched]
        total = self.total[self.touched]
        count = self.count[self.touched]
        if count.ndim == 1:
            sums = total[:, :, None] * of_group[:, None, :]
            counts = count[:, None] * of_group
            return sums, counts
        touched, groups, settings = total.shape
        by_partner = total.transpose(0, 2, 1)
        rows = by_partner.reshape(touched * settings, groups)
        sums = (rows @ selected).reshape(touched, settings, -1)
        sums *= of_group[:, None, :]
        counts = (count @ selected) * of_group
        return sums, counts

    def among(self, selected: Floats) -> tuple[Floats, Floats]:
        """Compute sum and number of all pairs among selected groups, shape (s, r) and (r,).

        A pair of two groups touches both, a pair within a group touches it once. Hence the sum is
        half of what all groups touch and of what lies within them.
        """
        if self.count.ndim == 1:
            total = self.total.T @ selected
            count = self.count @ selected
            return total, count
        sums, counts = self.touching(selected)
        group = np.arange(len(self.count))
        within = self.total[group, group]
        count_within = self.count[group, group]
        twice = sums.sum(axis=0) + within.T @ selected
        count_twice = counts.sum(axis=0) + count_within @ selected
        return twice / 2, count_twice / 2


def sums_between(response: Curve, splits: Splits, moving: Names, fixed: Names) -> Sums:
    """Sum a scope's scores between groups of subjects.

    Parameters
    ----------
    response
        Scores of n pairs.
    splits
        Groups of the subjects.
    moving, fixed
        Subjects that must be held out of each pair, shape (n,): of `held_out_sides`, where the same
        array twice stands for a scope of one subject.
    """
    groups = splits.selection.shape[1]
    settings = len(response.settings)
    first = splits.groups_of(moving)
    scores = response.signed.T
    if moving is fixed:
        total = np.zeros((groups, settings))
        count = np.zeros(groups)
        np.add.at(total, first, scores)
        np.add.at(count, first, 1)
        return Sums(total=total, count=count)
    second = splits.groups_of(fixed)
    total = np.zeros((groups, groups, settings))
    count = np.zeros((groups, groups))
    np.add.at(total, (first, second), scores)
    np.add.at(count, (first, second), 1)
    within = np.arange(groups)
    inner = total[within, within].copy()
    inner_count = count[within, within].copy()
    total = total + total.transpose(1, 0, 2)
    count = count + count.T
    total[within, within] = inner
    count[within, within] = inner_count
    return Sums(total=total, count=count)


def choose(sums: Sums, selection: Mask) -> Places:
    """Choose the best setting on the selection set of each split.

    Parameters
    ----------
    sums
        Of a scope's scores, such that more is better.
    selection
        Whether each group is in the selection set, shape (r, g).

    Returns
    -------
    array
        Places among the settings, shape (r,); -1 where the selection set has no pair.
    """
    selected = selection.T.astype(float)
    total, count = sums.among(selected)
    means = total / np.maximum(count, 1)
    best = means.argmax(axis=0)
    return np.where(count > 0, best, -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """Settings chosen in each split, as places among a scope's settings, shape (r,); -1: none.

    Parameters
    ----------
    own
        For the scope itself.
    common
        For all pairs and labels together.
    default
        The default setting.
    """

    own: Places
    common: Places
    default: Places


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Cross-validated scores of the setting chosen for a scope.

    Parameters
    ----------
    score
        Mean held-out score.
    over_common, over_default
        How much better it is than that of the setting chosen for all pairs and labels by the same
        subjects, and than that of the default setting (NaN where that was not measured).
    pairs
        Positions of the m pairs that were held out in some split in the table of all pairs.
    scores
        Held-out score of each of them, shape (m,).
    gains, default_gains
        How much better each of them is than with the common and the default setting, shape (m,).
    of_splits, default_gains_of_splits
        Mean over these pairs of the score at the setting of each split, and of how much better it
        is than the default one, shape (r,): what `with_choices` takes. NaN where nothing was chosen.
    ratio
        Subjects that choose in a split for each one that is held out.
    choosing
        Number of subjects that settings were chosen on.
    """

    score: Mean
    over_common: Mean
    over_default: Mean
    pairs: Places
    scores: Floats
    gains: Floats
    default_gains: Floats
    of_splits: Floats
    default_gains_of_splits: Floats
    ratio: float
    choosing: int


def evaluate(
    response: Curve, held_out: Mask, chosen: Chosen, sides: Sides, splits: Splits
) -> HeldOut | None:
    """Score chosen settings on held-out pairs; None where no pair is held out.

    Parameters
    ----------
    response
        Scores of n pairs at s settings.
    held_out
        Whether each pair is held out in each split, shape (r, n).
    chosen
        The settings of each split.
    sides
        Subjects of each pair.
    splits
        Of the subjects.

    References
    ----------
    Cross-fitting: Chernozhukov et al., "Double/debiased machine learning", Econometrics Journal
    2018, section 3.
    """
    could_choose = (chosen.own >= 0) & (chosen.common >= 0)
    used = held_out & could_choose[:, None]
    scored = np.asarray(used.any(axis=0))
    if not scored.any():
        return None
    used = used[:, scored]
    scores = response.scores[:, scored]
    own = _mean_over_splits(scores, chosen.own, used)
    common = _mean_over_splits(scores, chosen.common, used)
    default = _mean_over_splits(scores, chosen.default, used)
    gains = gain(response.metric, own, common)
    default_gains = gain(response.metric, own, default)
    moving, fixed = sides
    rows = np.array([own, gains, default_gains])
    score, over_common, over_default = jackknife_rows(rows, moving[scored], fixed[scored])
    # Of a score and of a gain over a given setting, most of the error may be which setting was
    # chosen. Tests of a gain over the common setting, which the same subjects choose, raise no more
    # false alarms than their level as they are.
    own_of_splits = _at_chosen(scores, chosen.own)
    default_of_splits = _at_chosen(scores, chosen.default)
    gain_of_splits = gain(response.metric, own_of_splits, default_of_splits)
    return HeldOut(
        score=with_choices(score, own_of_splits, splits.ratio),
        over_common=over_common,
        over_default=with_choices(over_default, gain_of_splits, splits.ratio),
        pairs=response.pairs[scored],
        scores=own,
        gains=gains,
        default_gains=default_gains,
        of_splits=own_of_splits,
        default_gains_of_splits=gain_of_splits,
        ratio=splits.ratio,
        choosing=splits.choosing,
    )


def with_choices(found: Mean, over_splits: Floats, ratio: float) -> Mean:
    """Return a mean with the variance over choices added to its own.

    The jackknife has the error of a mean for given choices. Other subjects would choose other
    settings, and where two settings are about equally good, this is most of what varies. With
    n subjects, d of whom are held out in each split, the delete-d jackknife tells that part:

        SE² = SE²_given + (n - d) / d · Var_r(g_r),

    g_r being the mean over all pairs at the settings that were chosen in split r. Both variances come
    from the same n subjects, so that the degrees of freedom stay those of the jackknife.

    Parameters
    ----------
    found
        With the standard error for given choices.
    over_splits
        g_r, shape (r,); NaN where nothing was chosen.
    ratio
        (n - d) / d: 1 where half of the subjects are held out.

    References
    ----------
    Shao and Wu, "A general theory for jackknife variance estimation", Annals of Statistics 1989,
    equation 2.1.

    Examples
    --------
    Half of the splits choose a setting that is 0.002 better:

    >>> found = Mean(value=0.001, error=0.001, freedom=19, subjects=20)
    >>> round(with_choices(found, np.array([0.0, 0.002]), ratio=1).error, 5)
    0.00141
    """
    known = over_splits[np.isfinite(over_splits)]
    if not len(known) or np.ptp(known) == 0:
        return found
    variance = ratio * float(known.var())
    error = math.sqrt(found.error**2 + variance)
    return replace(found, error=error)


def _at_chosen(scores: Floats, places: Places) -> Floats:
    """Return the mean over pairs at the setting of each split, shape (r,); NaN where there is none."""
    means = mean(scores, axis=1)
    at_places: Floats = np.where(places >= 0, means[places], np.nan)
    return at_places


def _mean_over_splits(scores: Floats, places: Places, splits: Mask) -> Floats:
    """Compute each pair's mean over the splits in which it is held out, each at its own setting.

    Parameters
    ----------
    scores
        Shape (s, m).
    places
        Setting of each split, shape (r,); -1 stands for one that was not measured.
    splits
        Whether each pair is held out in each split, shape (r, m).
    """
    settings, pairs = scores.shape
    known = np.flatnonzero(places >= 0)
    if not len(known):
        return np.full(pairs, np.nan)
    picked = np.zeros((len(places), settings))
    picked[known, places[known]] = 1
    # in how many splits each setting was chosen while the pair was held out, shape (s, m)
    times = picked.T @ splits
    total = (times * scores).sum(axis=0)
    means: Floats = total / times.sum(axis=0)
    return means
