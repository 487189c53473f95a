"""Partial pooling: the curves of a family of scopes shrink towards the family's mean curve.

A scope with few subjects has a noisy curve, and its highest point is partly chance. Structures,
groups or subjects are however alike. Empirical Bayes estimates from the family itself how alike
they are, and weighs both:

    pooled_k(λ) = family(λ) + w_k(λ) · d_k(λ),    w_k(λ) = τ²(λ) / (τ²(λ) + v_k(λ))

d_k
    Difference: how much more scope k gains from λ, over the family's best λ, than the family does.
v_k
    Its variance over samples of the subjects, by the delete-one-group jackknife.
τ²
    Variance of the true differences within the family: what the v_k leave of the observed ones,
    Σ_k (d_k² - v_k) / (K - 1), at least 0.

Limited translation: the weight is at least 1 - v_k / d_k², so that a scope that differs from its
family by far more than its own noise keeps its curve.

Worked example at one λ: three scopes with d = (-0.01, -0.01, 0.02) and v = 0.0001 each. Then
τ² = (0.0006 - 0.0003) / 2 = 0.00015, and w = 0.00015 / 0.00025 = 0.6. The third scope has
1 - 0.0001 / 0.0004 = 0.75, which is more: its difference becomes 0.015, those of the others -0.006.

Shapes: K scopes, r splits of the subjects, g groups of subjects, s settings. Splits come last, so
that the inner loops of numpy are long.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hmopt.analysis.held_out import Sums
from hmopt.analysis.resampling import Floats, Mask, Places

FEWEST_SCOPES = 2
"""Scopes that a family must have for their differences to be estimated."""

AT_ONCE = 2**21
"""Numbers that an array holds, at most: scopes or groups × settings × splits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One scope of a family.

    Parameters
    ----------
    sums
        Of its scores between groups of subjects, at the family's settings.
    group
        Group of the subject that it is about, whose scores may not be used where it is held out;
        None where it is about none.
    """

    sums: Sums
    group: int | None


def pooled_places(members: Sequence[Member], selection: Mask) -> Places:
    """Choose a setting for every scope of a family by its pooled curve, in each split.

    Parameters
    ----------
    members
        K scopes.
    selection
        Whether each group of subjects is in the selection set of each split, shape (r, g).

    Returns
    -------
    array
        Places among the settings, shape (K, r); -1 where a scope has no pair in the selection set,
        or the subject that it is about is held out.
    """
    splits, groups = selection.shape
    settings = members[0].sums.total.shape[-1]
    of_split = max(len(members), groups) * settings
    splits_at_once = max(1, AT_ONCE // of_split)
    parts = []
    for start in range(0, splits, splits_at_once):
        some = selection[start : start + splits_at_once]
        family = _Family(members, some.T.astype(float))
        variance = family.variance()
        pooled = shrink(family.means, variance, family.known)
        best = pooled.argmax(axis=1)
        places = np.where(family.known, best, -1)
        parts.append(places)
    return np.concatenate(parts, axis=1)


def shrink(means: Floats, variance: Floats, known: Mask) -> Floats:
    """Compute the pooled curves of K scopes in each of r splits, up to a constant of the split.

    Parameters
    ----------
    means
        Mean scores such that more is better, shape (K, s, r).
    variance
        Of the differences from the family, v of the module's text, shape (K, s, r).
    known
        Whether each scope has scores in each split, shape (K, r).

    Returns
    -------
    array
        Shape (K, s, r); unknown scopes have the family's curve.

    References
    ----------
    Efron and Morris, "Stein's estimation rule and its competitors", JASA 1973, for the weights;
    "Limiting the risk of Bayes and empirical Bayes estimators, part II", JASA 1972, for limited
    translation.

    Examples
    --------
    Two scopes without noise keep their curves, relative to the family's best setting, the second:

    >>> means = np.array([[[0.0], [2.0], [1.0]], [[0.0], [1.0], [2.0]]])
    >>> pooled = shrink(means, np.zeros(means.shape), np.ones((2, 1), bool))[:, :, 0]
    >>> (pooled - pooled[:, [1]]).tolist()
    [[-2.0, 0.0, -1.0], [-1.0, 0.0, 1.0]]
    """
    family = _mean_of_known(means, known)
    best = family.argmax(axis=0)
    splits = np.arange(len(best))
    family_gain = family - family[best, splits]
    gain = means - means[:, best, splits][:, None]
    difference = gain - family_gain

    # of K differences from their own mean, K - 1 are free
    square = difference**2
    scopes = known.sum(axis=0)
    freedom = np.maximum(scopes - 1, 1)
    is_known = known.astype(float)
    excess = np.einsum("kr,ksr->sr", is_known, square - variance)
    true_variance = np.maximum(excess / freedom, 0)

    by_family = _ratio(true_variance, true_variance + variance)
    noise = _ratio(variance, square)
    by_itself = np.maximum(1 - noise, 0)
    by_itself = np.where(difference == 0, 0, by_itself)
    weight = np.maximum(by_family, by_itself)
    enough = scopes >= FEWEST_SCOPES
    is_pooled = known & enough
    weight = np.where(is_pooled[:, None], weight, 0)
    pooled: Floats = family_gain + weight * difference
    return pooled


class _Family:
    """Mean curves of a family's scopes on the selection sets, and the variance of differences.

    Parameters
    ----------
    members
        K scopes.
    selected
        1 where a group is in the selection set of a split, else 0, shape (g, r).

    Attributes
    ----------
    means, known
        As of `shrink`.
    """

    def __init__(self, members: Sequence[Member], selected: Floats) -> None:
        self._members = members
        self._selected = selected
        settings = members[0].sums.total.shape[-1]
        splits = selected.shape[1]
        self.means = np.empty((len(members), settings, splits))
        self.known = np.empty((len(members), splits), dtype=bool)
        self._counts = np.empty((len(members), splits))
        for place, member in enumerate(members):
            total, count = member.sums.among(selected)
            known = count > 0
            if member.group is not None:
                known &= selected[member.group] > 0
            self.means[place] = total / np.maximum(count, 1)
            self.known[place] = known
            self._counts[place] = count

    def variance(self) -> Floats:
        """Compute the delete-one-group jackknife variance of each scope's difference, (K, s, r).

        Leaving out group h changes the gain of scope k by δ_kh, 0 where it has no pairs of that
        group, and that of the family by their mean δ̄_h over scopes. With a_kh = δ_kh - δ̄_h, over
        the n groups that take part,

            v_k = (n - 1) / n · [Σ_h a_kh² - (Σ_h a_kh)² / n].

        A scope of one subject meets few groups. For the others a_kh = -δ̄_h, so that only the
        groups it meets are visited: Σ_h a_kh² = Σ_h δ̄_h² + Σ_met [a_kh² - δ̄_h²].
        """
        groups, splits = self._selected.shape
        settings = self.means.shape[1]
        scopes = np.maximum(self.known.sum(axis=0), 1)
        share = self.known / scopes
        takes_part = np.zeros((groups, splits), dtype=bool)
        family_change = np.zeros((groups, settings, splits))
        for place, met, change, has_pairs in self._changes():
            family_change[met] += share[place] * change
            takes_part[met] |= has_pairs & self.known[place]

        taking_part = takes_part.sum(axis=0)
        number = np.maximum(taking_part, 1)
        family_sum = family_change.sum(axis=0)
        family_squares = family_change**2
        family_square_sum = family_squares.sum(axis=0)
        variance = np.empty(self.means.shape)
        for place, met, change, _ in self._changes():
            deviations = change - family_change[met]
            squares_met = (deviations**2).sum(axis=0)
            family_met = family_squares[met].sum(axis=0)
            squares_not_met = family_square_sum - family_met
            total = change.sum(axis=0) - family_sum
            about_mean = squares_met + squares_not_met - total**2 / number
            about_mean = np.maximum(about_mean, 0)
            variance[place] = (number - 1) / number * about_mean
        return variance

    def _changes(self) -> Iterator[tuple[int, Places, Floats, Mask]]:
        """Yield for each scope: its place; the t groups it meets; δ, (t, s, r); met there, (t, r).

        δ is 0 where a group has no pairs with selected ones, and where it has all of them, so that
        it cannot be left out.
        """
        family = _mean_of_known(self.means, self.known)
        best = family.argmax(axis=0)
        splits = np.arange(len(best))
        for place, member in enumerate(self._members):
            sums, counts = member.sums.touching(self._selected)
            rest = self._counts[place] - counts
            has_pairs = counts > 0
            can_be_left_out = has_pairs & (rest > 0)
            divisor = np.maximum(rest, 1)
            # the mean of n pairs without n_h whose sum is S_h differs by (mean · n_h - S_h) / (n - n_h)
            change = self.means[place] * counts[:, None] - sums
            change /= divisor[:, None]
            at_best = change[:, best, splits]
            change -= at_best[:, None]
            change *= can_be_left_out[:, None]
            yield place, member.sums.touched, change, has_pairs


def _mean_of_known(means: Floats, known: Mask) -> Floats:
    """Compute the family's curve, the mean over the scopes that have scores, shape (s, r)."""
    scopes = np.maximum(known.sum(axis=0), 1)
    curve = np.einsum("kr,ksr->sr", known / scopes, means)
    return np.asarray(curve)


def _ratio(part: Floats, whole: Floats) -> Floats:
    positive = whole > 0
    divisor = np.where(positive, whole, 1)
    return np.where(positive, part / divisor, 0)
