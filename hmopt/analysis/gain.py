"""Whether choosing a setting for each label, group or subject improves scores of held-out subjects."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.analysis.evidence import Evidence, holm, of_mean
from hmopt.analysis.family import SEPARATOR, Judged, families
from hmopt.analysis.held_out import HeldOut
from hmopt.analysis.jackknife import Mean, jackknife
from hmopt.analysis.resampling import Estimate

Over = Literal["default", "common"]
"""What a gain is over: the default setting, or the best single setting for all."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a choice of settings gains on held-out subjects.

    Parameters
    ----------
    name
        The kinds of scopes that each had a setting of its own, joined by ` × `, or the name of a single scope.
    over
        What it is compared with.
    mean
        Mean gain over the pairs that judged, with its jackknife standard error.
    unpooled
        The same for settings that each scope chose by its own curve alone.
    p_adjusted
        Two-sided p-value after Holm's correction for the questions that were asked together.
    choosing
        How many subjects chose: the gain is that of choosing on so many.
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
        """How many subjects judged."""
        return self.mean.subjects

    @property
    def improves(self) -> bool:
        """Whether there is evidence of a gain."""
        return self.evidence is Evidence.FOUND and self.mean.value > 0

    @property
    def harms(self) -> bool:
        """Whether there is evidence of a loss."""
        return self.evidence is Evidence.FOUND and self.mean.value < 0


def gains_of_scopes(findings: Sequence[Judged], margin: float, over: Over = "common") -> list[Gain]:
    """Compute what its own setting gains each scope, tested together.

    Parameters
    ----------
    findings
        The scopes of one family, as all labels.
    margin
        Gain that is negligible.
    over
        What the gain is over.
    """
    judged = [finding for finding in findings if finding.held_out is not None]
    return adjusted([_of_scope(finding, over) for finding in judged], margin)


def granularities(findings: Sequence[Judged], pairs: pd.DataFrame, margin: float) -> list[Gain]:
    """Compute what each granularity gains, tested together: the first is one setting for all, over the default.

    Every other granularity is compared with the best single setting, and with the default.

    Parameters
    ----------
    findings
        Scopes of any families.
    pairs
        The table of all pairs.
    margin
        Gain that is negligible.
    """
    judged = families(finding for finding in findings if finding.held_out is not None)
    cohort = [_of_scope(finding, "default") for finding in judged.pop((), [])]
    overs: tuple[Over, ...] = ("common", "default")
    gains = [
        _of_family(kinds, members, pairs, over)
        for kinds, members in judged.items()
        for over in overs
    ]
    return adjusted([*cohort, *gains], margin)


def family_gain(
    findings: Sequence[Judged], pairs: pd.DataFrame, over: Over = "common", pooled: bool = True
) -> Mean:
    """Compute the mean held-out gain of a setting for each member of a family.

    Each pair counts once: its gain is the mean over the members that it belongs to.

    Parameters
    ----------
    findings
        The scopes of one family, at least one of which could be judged.
    pairs
        The table of all pairs.
    over
        What the gain is over.
    pooled
        Whether settings are those of pooled curves.
    """
    total, count = np.zeros(len(pairs)), np.zeros(len(pairs))
    for finding in findings:
        held = finding.held_out if pooled else finding.held_out_unpooled
        if held is None:
            continue
        total[held.pairs] += _values(held, over)
        count[held.pairs] += 1
    judged = np.flatnonzero(count)
    moving, fixed = (
        pairs[f"{side}_subject"].to_numpy(dtype=object)[judged] for side in ("moving", "fixed")
    )
    return jackknife(total[judged] / count[judged], moving, fixed)


def adjusted(gains: Sequence[Gain], margin: float) -> list[Gain]:
    """Correct p-values for all questions together, and say what each gain shows."""
    p_values = holm([gain.p_value for gain in gains])
    return [
        replace(gain, p_adjusted=float(p), evidence=of_mean(gain.mean, float(p), margin))
        for gain, p in zip(gains, p_values, strict=True)
    ]


def _of_scope(finding: Judged, over: Over) -> Gain:
    held, unpooled = finding.held_out, finding.held_out_unpooled
    assert held is not None
    assert unpooled is not None
    return _untested(
        finding.scope.name, over, _mean(held, over), _mean(unpooled, over), held.choosing
    )


def _of_family(
    kinds: tuple[str, ...], members: Sequence[Judged], pairs: pd.DataFrame, over: Over
) -> Gain:
    pooled, unpooled = (family_gain(members, pairs, over, pooled) for pooled in (True, False))
    choosing = max(finding.held_out.choosing for finding in members if finding.held_out is not None)
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


def _mean(held: HeldOut, over: Over) -> Mean:
    return held.over_common if over == "common" else held.over_default


def _values(held: HeldOut, over: Over) -> NDArray[np.float64]:
    return held.gains if over == "common" else held.default_gains
