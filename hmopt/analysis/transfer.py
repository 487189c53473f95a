"""Whether a best setting of elsewhere would do here: what it loses on subjects that were held out.

Elsewhere is another cohort of the same model (`find_transfers`), or the same cohort by scores of another model
(`hmopt.analysis.gap`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import pandas as pd

from hmopt.analysis.cross_validation import by_kinds
from hmopt.analysis.evidence import Evidence, holm, of_mean
from hmopt.analysis.held_out import with_choices
from hmopt.analysis.jackknife import Mean, jackknife
from hmopt.analysis.resampling import Estimate, Interval
from hmopt.analysis.scope_result import ScopeResult
from hmopt.search.curve import gain
from hmopt.search.scopes import Scope
from hmopt.space import Setting


class Answer(Enum):
    """Whether a best setting of elsewhere would do; tables and summaries write its value."""

    CARRIES_OVER = "yes"
    """It loses less than the margin, with confidence."""
    DOES_NOT = "no"
    """There is evidence that it loses."""
    OPEN = "inconclusive"
    """Neither."""
    TOO_FEW = "too few subjects"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What a scope loses with the best setting of elsewhere.

    Parameters
    ----------
    scope
        Whom or what settings are for, of the same criteria here and there.
    setting
        The best one of there.
    loss
        How much better the scope's own choice is on held-out subjects, with its error; above 0 the
        setting of there loses.
    p_adjusted
        Two-sided p-value after Holm's correction for the scopes of the family.
    evidence
        NEGLIGIBLE: the two are equivalent. FOUND: they differ. Otherwise it is not known.
    margin
        Largest loss that is negligible.
    """

    scope: Scope
    setting: Setting
    loss: Mean
    p_adjusted: float = math.nan
    evidence: Evidence = Evidence.NONE
    margin: float = math.nan

    @property
    def change(self) -> Estimate:
        """How the score changes with the setting of there: the loss, turned round."""
        loss = self.loss.estimate
        return Estimate(-loss.value, -loss.high, -loss.low)

    @property
    def would_do(self) -> bool:
        """Whether the other setting loses less than the margin, with confidence, whatever it may gain."""
        return self.loss.below(self.margin)

    @property
    def is_same(self) -> bool:
        """Whether nothing changes with the other setting, as every split selects it."""
        return self.loss.known and self.loss.value == self.loss.error == 0

    @property
    def answer(self) -> Answer:
        """Whether the other setting would do."""
        if self.evidence is Evidence.TOO_FEW:
            return Answer.TOO_FEW
        if self.would_do:
            return Answer.CARRIES_OVER
        return Answer.DOES_NOT if self.evidence is Evidence.FOUND else Answer.OPEN


def find_transfers(
    results: Sequence[ScopeResult],
    settings: Mapping[Scope, Setting],
    pairs: pd.DataFrame,
    margin: float,
) -> dict[Scope, Transfer]:
    """Compute what each scope loses with a setting that was chosen on another cohort.

    Per pair it is the score at the setting that other subjects of this cohort chose, minus the
    score at the given setting. The given one was chosen on no subject of this cohort, so that no
    split favours it.

    Parameters
    ----------
    results
        The scopes of this cohort.
    settings
        The best settings of the other cohort, by scope. Scopes of a single subject are left out, as
        are settings that were not measured here.
    pairs
        The table of all pairs.
    margin
        Largest loss that is negligible.
    """
    found = []
    for result in results:
        setting = settings.get(result.scope)
        is_of_subject = any(kind == "subject" for kind, _ in result.scope.criteria)
        if setting is None or is_of_subject:
            continue
        loss = _loss(result, setting, pairs)
        if loss is not None:
            found.append(Transfer(scope=result.scope, setting=setting, loss=loss))
    return judged(found, margin)


def judged(transfers: Iterable[Transfer], margin: float) -> dict[Scope, Transfer]:
    """Correct p-values within each family of scopes, and judge what each transfer shows.

    Parameters
    ----------
    transfers
        Not yet tested with others.
    margin
        Largest loss that is negligible.
    """
    found = {}
    for members in by_kinds(transfers).values():
        p_values = holm([member.loss.p_value for member in members]).tolist()
        for member, p_value in zip(members, p_values, strict=True):
            evidence = of_mean(member.loss, p_value, margin)
            found[member.scope] = replace(
                member, p_adjusted=p_value, evidence=evidence, margin=margin
            )
    return found


def _loss(result: ScopeResult, setting: Setting, pairs: pd.DataFrame) -> Mean | None:
    """Return the mean loss over held-out pairs; None where there is none, or no measurement.

    The setting of there is given and the scope's own is chosen, so that the error has the variance of
    the choice, as that of a gain over the default.
    """
    held_out = result.held_out
    response = result.full.response
    if held_out is None:
        return None
    place = response.place(response.space.index(setting))
    if place < 0:
        return None
    # held-out pairs are some of the response's pairs, in the same order
    among = np.isin(response.pairs, held_out.pairs)
    there = response.scores[place, among]
    losses = gain(response.metric, held_out.scores, there)
    rows = pairs.iloc[held_out.pairs]
    moving = rows["moving_subject"].to_numpy(dtype=object)
    fixed = rows["fixed_subject"].to_numpy(dtype=object)
    of_given_choices = jackknife(losses, moving, fixed)
    of_splits = gain(response.metric, held_out.of_splits, there.mean(keepdims=True))
    return with_choices(of_given_choices, of_splits, held_out.ratio)


def overlap(one: Interval, other: Interval) -> bool | None:
    """Tell whether two intervals share a value; None where one of them is not known.

    Examples
    --------
    >>> overlap(Interval(0.1, 0.3), Interval(0.3, 0.5)), overlap(Interval(0.1, 0.2), Interval(0.3, 0.5))
    (True, False)
    """
    ends = [*one, *other]
    if not np.isfinite(ends).all():
        return None
    return one.low <= other.high and other.low <= one.high
