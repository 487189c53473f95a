"""Partial pooling: the curves of a family of scopes shrink towards the family's by as much as their noise says.

A scope with few subjects has a noisy curve, and its highest point is partly chance. Its structures, groups or subjects
are however alike. Empirical Bayes learns from the family itself how alike, and weighs both:

    pooled(λ) = family(λ) + w(λ) · difference(λ),    w(λ) = τ²(λ) / (τ²(λ) + v(λ))

where `difference` is how much more a scope gains from λ, over the family's best λ, than the family does; v its
variance over samples of the subjects (jackknife); and τ² the variance of true differences within the family, which is
what v leaves of the observed ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmopt.analysis.held_out import Sums

FEWEST_SCOPES = 2
"""Scopes that a family must have for their differences to be told."""

AT_ONCE = 2**22
"""Numbers that are held at a time, at most: rounds × scopes × groups of subjects × settings."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One scope of a family.

    Parameters
    ----------
    sums
        Of its scores between groups of subjects, at the family's settings.
    group
        The group of the subject that it is about, whose scores may not be used where it is held out; None where it is
        about none.
    """

    sums: Sums
    group: int | None


def shrink(
    means: NDArray[np.float64],
    without: NDArray[np.float64],
    known: NDArray[np.bool_],
    counted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the pooled curves of K scopes in each of r rounds, up to a constant of the round.

    Parameters
    ----------
    means
        Mean scores such that more is better, shape (K, r, s).
    without
        The same without the pairs of each of g groups of subjects, shape (K, r, g, s).
    known
        Which scopes have scores in each round, shape (K, r).
    counted
        Which groups take part in each round, shape (r, g).

    Returns
    -------
    array
        Shape (K, r, s); unknown scopes have the family's curve.

    References
    ----------
    Efron and Morris, "Stein's estimation rule and its competitors", JASA 1973, for the weights; "Limiting the risk of
    Bayes and empirical Bayes estimators, part II", JASA 1972, for giving a scope that differs from its family by far
    more than its own noise no smaller a weight than it would have by itself, 1 - v / difference².

    Examples
    --------
    Two scopes whose curves have no noise keep them, relative to the family's best setting, which is the second:

    >>> means = np.array([[[0.0, 2.0, 1.0]], [[0.0, 1.0, 2.0]]])
    >>> without = np.repeat(means[:, :, None], 3, axis=2)
    >>> pooled = shrink(means, without, np.ones((2, 1), bool), np.ones((1, 3), bool))
    >>> (pooled - pooled[:, :, [1]]).tolist()
    [[[-2.0, 0.0, -1.0]], [[-1.0, 0.0, 1.0]]]
    """
    scopes = known.sum(axis=0)
    share = np.where(known, 1 / np.maximum(scopes, 1), 0.0)
    family = np.einsum("kr,krs->rs", share, means)
    best = family.argmax(axis=1)
    rounds = np.arange(len(best))

    gained = means - means[:, rounds, best][:, :, None]
    family_gained = family - family[rounds, best][:, None]
    difference = gained - family_gained

    gained_without = without - without[:, rounds, :, best].transpose(1, 0, 2)[:, :, :, None]
    family_without = np.einsum("kr,krgs->rgs", share, gained_without)
    varied = gained_without - family_without
    noise = _jackknife_variance(varied, counted)

    # of K differences from their own mean, K - 1 are free
    excess = np.einsum("kr,krs->rs", known.astype(float), difference**2 - noise)
    spread = np.maximum(excess / np.maximum(scopes - 1, 1)[:, None], 0)
    by_family = _ratio(spread, spread + noise)
    by_itself = np.maximum(1 - _ratio(noise, difference**2), 0)
    weight = np.maximum(by_family, np.where(difference == 0, 0, by_itself))
    weight = np.where((known & (scopes >= FEWEST_SCOPES))[:, :, None], weight, 0)
    return np.asarray(family_gained + weight * difference)


def pooled_places(members: Sequence[Member], chooses: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Choose a setting for every scope of a family by its pooled curve, in each round.

    Parameters
    ----------
    members
        K scopes.
    chooses
        Which groups of subjects choose in each round, shape (r, g).

    Returns
    -------
    array
        Places among the settings, shape (K, r); -1 where a scope has no pair among those who choose, or the subject
        that it is about does not choose.
    """
    settings, groups = members[0].sums.total.shape[-1], chooses.shape[1]
    rounds_at_once = max(1, AT_ONCE // (len(members) * groups * settings))
    parts = [
        _pooled_places(members, chooses[start : start + rounds_at_once])
        for start in range(0, len(chooses), rounds_at_once)
    ]
    return np.concatenate(parts, axis=1)


def _pooled_places(members: Sequence[Member], chooses: NDArray[np.bool_]) -> NDArray[np.intp]:
    means, without, known, counted = [], [], [], np.zeros(chooses.shape, dtype=bool)
    for member in members:
        sums, counts = member.sums.touching(chooses)
        total, count = member.sums.all_of(chooses, sums, counts)
        mean = total / np.maximum(count, 1)[:, None]
        rest = count[:, None] - counts
        left = (total[:, None] - sums) / np.maximum(rest, 1)[:, :, None]
        means.append(mean)
        # a group without pairs changes nothing; one with all of them cannot be left out
        without.append(np.where(((counts > 0) & (rest > 0))[:, :, None], left, mean[:, None]))
        takes_part = count > 0
        if member.group is not None:
            takes_part &= chooses[:, member.group]
        known.append(takes_part)
        counted |= (counts > 0) & takes_part[:, None]
    pooled = shrink(np.array(means), np.array(without), np.array(known), counted)
    return np.where(np.array(known), pooled.argmax(axis=2), -1)


def _jackknife_variance(
    without: NDArray[np.float64], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the delete-one-group variance, shape (K, r, s), of replicates of shape (K, r, g, s)."""
    number = np.maximum(counted.sum(axis=1), 1)[:, None]
    inside = counted.astype(float)
    centre = np.einsum("krgs,rg->krs", without, inside) / number
    squares = np.einsum("krgs,rg->krs", (without - centre[:, :, None]) ** 2, inside)
    return np.asarray((number - 1) / number * squares)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0)
