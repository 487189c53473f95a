"""Whether it pays to choose a setting for each label, group or subject, tested with one difference per subject."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmopt.analysis.evidence import LEVEL, Evidence, holm, of_test, signed_rank
from hmopt.analysis.family import SEPARATOR, family, family_gain
from hmopt.analysis.finding import Finding
from hmopt.analysis.resampling import Estimate
from hmopt.analysis.source import subject_of


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a choice of settings gains on subjects that did not choose them.

    Parameters
    ----------
    name
        The kinds of scopes that each had a setting of its own, joined by ` × `, or the name of a single scope.
    over
        What it is compared with: `default`, or `common`, the best single setting for all.
    gain
        Mean gain over the pairs that judged, and its 95 % interval.
    subjects
        How many subjects judged, each with one difference.
    p_value, p_adjusted
        One-sided, by itself and by Holm over the questions that were asked together.
    evidence
        What the adjusted test says.
    """

    name: str
    over: str
    gain: Estimate
    subjects: int
    p_value: float
    p_adjusted: float
    evidence: Evidence


def subject_differences(findings: Sequence[Finding], pairs: pd.DataFrame, over: str = "common") -> pd.Series:
    """Give the mean held-out gain of each subject over its pairs, by subject.

    A pair counts for both its subjects; in the scope of one subject for this one only.

    Parameters
    ----------
    findings
        One scope, or those of one family.
    pairs
        The table of all pairs.
    over
        `common` or `default`.
    """
    parts = [part for finding in findings for part in _differences(finding, pairs, over)]
    if not parts:
        return pd.Series(dtype=float)
    means: pd.Series = pd.concat(parts).dropna().groupby(level=0).mean()
    return means


def _differences(finding: Finding, pairs: pd.DataFrame, over: str) -> list[pd.Series]:
    held = finding.held_out
    if held is None:
        return []
    gains = held.gains if over == "common" else held.default_gains
    subject = subject_of(finding.scope)
    if subject is not None:
        return [pd.Series(gains, index=[subject] * len(gains))]
    moving, fixed = (pairs[f"{side}_subject"].to_numpy()[held.pairs] for side in ("moving", "fixed"))
    within = moving == fixed
    return [pd.Series(gains, index=moving), pd.Series(gains[~within], index=fixed[~within])]


def gains_of_scopes(findings: Sequence[Finding], pairs: pd.DataFrame) -> list[Gain]:
    """Give what a setting of its own gains each scope over the common one, tested together.

    Parameters
    ----------
    findings
        The scopes of one family, as all labels.
    pairs
        The table of all pairs.
    """
    judged = [finding for finding in findings if finding.held_out is not None]
    return _adjusted([_of_scope(finding, pairs) for finding in judged])


def _of_scope(finding: Finding, pairs: pd.DataFrame, over: str = "common") -> Gain:
    held = finding.held_out
    assert held is not None
    gain = held.over_common if over == "common" else held.over_default
    return _gain(finding.scope.name, over, gain, subject_differences([finding], pairs, over))


def granularities(findings: Sequence[Finding], pairs: pd.DataFrame, seed: int) -> list[Gain]:
    """Give what each granularity gains, tested together: the first is one setting for all, over the default.

    Parameters
    ----------
    findings
        Scopes of any families.
    pairs
        The table of all pairs.
    seed
        Of the samples of the subjects.
    """
    members: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        if finding.held_out is not None:
            members.setdefault(family(finding), []).append(finding)
    cohort = [_of_scope(finding, pairs, "default") for finding in members.pop((), [])]
    return _adjusted([*cohort, *(_of_family(kinds, them, pairs, seed) for kinds, them in members.items())])


def _of_family(kinds: tuple[str, ...], members: Sequence[Finding], pairs: pd.DataFrame, seed: int) -> Gain:
    gain = family_gain(members, pairs, seed)
    assert gain is not None
    return _gain(SEPARATOR.join(kinds), "common", gain, subject_differences(members, pairs))


def _gain(name: str, over: str, gain: Estimate, differences: pd.Series) -> Gain:
    values: NDArray[np.float64] = differences.to_numpy(dtype=float)
    p_value = signed_rank(values)
    return Gain(
        name=name,
        over=over,
        gain=gain,
        subjects=len(values),
        p_value=p_value,
        p_adjusted=p_value,
        evidence=of_test(p_value, len(values)),
    )


def _adjusted(gains: Sequence[Gain]) -> list[Gain]:
    """Correct p-values; where not even the smallest possible one would pass among so many, subjects are too few."""
    adjusted = holm([gain.p_value for gain in gains])
    enough = any(len(gains) * 0.5**gain.subjects <= LEVEL for gain in gains)
    return [
        replace(gain, p_adjusted=float(p), evidence=of_test(float(p), gain.subjects) if enough else Evidence.TOO_FEW)
        for gain, p in zip(gains, adjusted, strict=True)
    ]


def gain_table(gains: Sequence[Gain]) -> pd.DataFrame:
    """Give one row for each gain."""
    return pd.DataFrame(
        [
            {
                "name": gain.name,
                "over": gain.over,
                **gain.gain.columns("gain"),
                "subjects": gain.subjects,
                "p_value": gain.p_value,
                "p_adjusted": gain.p_adjusted,
                "evidence": gain.evidence.value,
            }
            for gain in gains
        ]
    )
