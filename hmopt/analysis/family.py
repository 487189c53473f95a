"""What it gains to choose a setting for each label, group or subject rather than one for all."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from hmopt.analysis.finding import Finding
from hmopt.analysis.resampling import Estimate, draw, estimate
from hmopt.analysis.source import DRAWS

SEPARATOR = " × "
"""Between the kinds in the name of a family."""


def family(finding: Finding) -> tuple[str, ...]:
    """Give the kinds of a scope's criteria: scopes of one family divide the pairs or labels between them."""
    return tuple(kind for kind, _ in finding.scope.criteria)


def families(findings: Iterable[Finding]) -> dict[tuple[str, ...], list[Finding]]:
    """Give findings by the kinds of their scopes, in the order in which those were declared."""
    gathered: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        gathered.setdefault(family(finding), []).append(finding)
    return gathered


def family_gain(findings: Sequence[Finding], pairs: pd.DataFrame, seed: int) -> Estimate | None:
    """Give the mean held-out gain of a setting for each member over one for all, or None where nothing judged.

    Each pair counts once: its gain is the mean over the members that it belongs to.

    Parameters
    ----------
    findings
        The scopes of one family.
    pairs
        The table of all pairs.
    seed
        Of the samples of the subjects.
    """
    gains = np.full((len(findings), len(pairs)), np.nan)
    for row, finding in enumerate(findings):
        if finding.held_out is not None:
            gains[row, finding.held_out.pairs] = finding.held_out.gains
    judged = np.flatnonzero(np.isfinite(gains).any(axis=0))
    if not len(judged):
        return None
    moving, fixed = (pairs[f"{side}_subject"].to_numpy(dtype=object)[judged] for side in ("moving", "fixed"))
    return estimate(draw(moving, fixed, DRAWS, seed), np.nanmean(gains[:, judged], axis=0))
