"""Whether choosing a setting for each label, group or subject improves held-out scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from hmopt.analysis.cross_validation import SEPARATOR, CrossValidated, by_kinds
from hmopt.analysis.evidence import Evidence, holm, of_mean
from hmopt.analysis.held_out import HeldOut, with_choices
from hmopt.analysis.jackknife import Mean, jackknife
from hmopt.analysis.resampling import Estimate, Floats

Over = Literal["default", "common"]
"""What a gain is over: the default setting, or the best single setting for all."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Held-out gain of a choice of settings.

    Parameters
    ----------
    name
        The kinds of scopes that each had a setting of its own, joined by ` × `, or the name of a
        single scope.
    over
        What it is compared with.
    mean
        Mean gain over the held-out pairs, with its jackknife standard error.
    unpooled
        The same for settings that each scope chose by its own curve alone.
    p_adjusted
        Two-sided p-value after Holm's correction for the questions that were asked together.
    choosing
        Number of subjects that settings were chosen on: the gain is that of choosing on so many.
    evidence
        What the adjusted test and the interval say together.
    """

    name: str
    over: Over
    mean: Mean
    unpooled: Mean
    p_adjusted: float
    choosing: int
    evidence: Evidence

    @property
    def gain(self) -> Estimate:
        """The mean gain with its 95 % interval."""
        return self.mean.estimate

    @property
    def p_value(self) -> float:
        """Two-sided p-value of this question alone."""
        return self.mean.p_value

    @property
    def subjects(self) -> int:
        """Number of held-out subjects."""
        return self.mean.subjects

    @property
    def improves(self) -> bool:
        """Whether there is evidence of a gain."""
        found = self.evidence is Evidence.FOUND
        return found and self.mean.value > 0

    @property
    def harms(self) -> bool:
        """Whether there is evidence of a loss."""
        found = self.evidence is Evidence.FOUND
        return found and self.mean.value < 0


def gains_of_scopes(
    results: Sequence[CrossValidated], margin: float, over: Over = "common"
) -> list[Gain]:
    """Compute what its own setting gains each scope, tested together.

    Parameters
    ----------
    results
        The scopes of one family, as all labels.
    margin
        Largest gain that is negligible.
    over
        What the gain is over.
    """
    scored = [result for result in results if result.held_out is not None]
    gains = [_of_scope(result, over) for result in scored]
    return adjusted(gains, margin)


def granularities(
    results: Sequence[CrossValidated], pairs: pd.DataFrame, margin: float
) -> list[Gain]:
    """Compute what each granularity gains, tested together.

    The first is one setting for all, over the default. Every other granularity is compared with
    the best single setting, and with the default.

    Parameters
    ----------
    results
        Scopes of any families.
    pairs
        The table of all pairs.
    margin
        Largest gain that is negligible.
    """
    scored = by_kinds(result for result in results if result.held_out is not None)
    gains = [_of_scope(cohort, "default") for cohort in scored.pop((), [])]
    overs: tuple[Over, ...] = ("common", "default")
    for kinds, members in scored.items():
        gains += [_of_family(kinds, members, pairs, over) for over in overs]
    return adjusted(gains, margin)


def family_gain(
    results: Sequence[CrossValidated],
    pairs: pd.DataFrame,
    over: Over = "common",
    pooled: bool = True,
) -> Mean:
    """Compute the mean held-out gain of a setting for each member of a family.

    Each pair counts once: its gain is the mean over the members that it belongs to. The error of a
    gain over the default has the variance over choices, as that of a single scope.

    Parameters
    ----------
    results
        The scopes of one family, at least one of which has held-out scores.
    pairs
        The table of all pairs.
    over
        What the gain is over.
    pooled
        Whether settings are those of pooled curves.
    """
    total = np.zeros(len(pairs))
    count = np.zeros(len(pairs))
    members = []
    for result in results:
        held_out = result.held_out if pooled else result.held_out_unpooled
        if held_out is None:
            continue
        members.append(held_out)
        gains = held_out.gains if over == "common" else held_out.default_gains
        total[held_out.pairs] += gains
        count[held_out.pairs] += 1
    scored = np.flatnonzero(count)
    moving = pairs["moving_subject"].to_numpy(dtype=object)[scored]
    fixed = pairs["fixed_subject"].to_numpy(dtype=object)[scored]
    of_given_choices = jackknife(total[scored] / count[scored], moving, fixed)
    if over == "common":
        return of_given_choices
    of_splits = _default_gains_of_splits(members, count)
    return with_choices(of_given_choices, of_splits, members[0].ratio)


def _default_gains_of_splits(members: Sequence[HeldOut], count: Floats) -> Floats:
    """Compute the mean gain of a family over the default at the settings of each split, shape (r,).

    Where a split has no setting for a member, the member counts with its mean over the other splits.

    Parameters
    ----------
    members
        Those with held-out scores.
    count
        Members that each pair of the table belongs to.
    """
    total = np.zeros(len(members[0].default_gains_of_splits))
    for member in members:
        gains = member.default_gains_of_splits
        known = np.isfinite(gains)
        over_other_splits = gains[known].mean() if known.any() else np.nan
        complete = np.where(known, gains, over_other_splits)
        # of a pair that belongs to k members, each has the k-th part
        weight = (1 / count[member.pairs]).sum()
        total += weight * complete
    return total / np.count_nonzero(count)


def adjusted(gains: Sequence[Gain], margin: float) -> list[Gain]:
    """Correct p-values for all questions together, and judge what each gain shows."""
    p_values = [gain.p_value for gain in gains]
    p_adjusted = holm(p_values).tolist()
    corrected = []
    for gain, p_value in zip(gains, p_adjusted, strict=True):
        evidence = of_mean(gain.mean, p_value, margin)
        tested = replace(gain, p_adjusted=p_value, evidence=evidence)
        corrected.append(tested)
    return corrected


def _of_scope(result: CrossValidated, over: Over) -> Gain:
    """Return the gain of a scope with held-out scores, not yet tested with others."""
    held_out = result.held_out
    unpooled = result.held_out_unpooled
    assert held_out is not None
    assert unpooled is not None
    if over == "common":
        means = held_out.over_common, unpooled.over_common
    else:
        means = held_out.over_default, unpooled.over_default
    return _untested(result.scope.name, over, *means, held_out.choosing)


def _of_family(
    kinds: tuple[str, ...], members: Sequence[CrossValidated], pairs: pd.DataFrame, over: Over
) -> Gain:
    """Return the gain of a family, not yet tested with others."""
    pooled = family_gain(members, pairs, over)
    unpooled = family_gain(members, pairs, over, pooled=False)
    choosing = max(member.held_out.choosing for member in members if member.held_out is not None)
    return _untested(SEPARATOR.join(kinds), over, pooled, unpooled, choosing)


def _untested(name: str, over: Over, mean: Mean, unpooled: Mean, choosing: int) -> Gain:
    return Gain(
        name=name,
        over=over,
        mean=mean,
        unpooled=unpooled,
        p_adjusted=mean.p_value,
        choosing=choosing,
        evidence=Evidence.NONE,
    )
