"""The table of optima: one row for each scope."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hmopt.analysis.finding import Finding
from hmopt.analysis.optimum import within_range
from hmopt.analysis.resampling import UNKNOWN


def optima_table(findings: Sequence[Finding], loss_scale: float | None = None) -> pd.DataFrame:
    """Give one row for each scope.

    Parameters
    ----------
    findings
        What is known about each scope.
    loss_scale
        What the similarity was multiplied by in the loss.

    Returns
    -------
    table
        First `scope` (its kinds), `value` (theirs) and `label`; then for each hyperparameter, as `regularization`,
        the best value, `_low` and `_high` (95 % interval), `_equal_low` and `_equal_high` (equivalent to the best),
        `_recommended` (pooled with its family), `_constrained` (under the folding limit), `_half` (at half training)
        and `_by_METRIC` (the best one by another metric of labels); then scores, gains on held-out subjects and counts.
        `loss_ratio` is λ / (1 - λ); `flags` are separated by semicolons.
    """
    return pd.DataFrame([_row(finding, loss_scale) for finding in findings])


def _row(finding: Finding, loss_scale: float | None) -> dict[str, object]:
    response, optimum, half = finding.full.response, finding.full.optimum, finding.half
    regularization = optimum.setting.get("regularization", np.nan)
    return {
        "scope": " × ".join(kind for kind, _ in finding.scope.criteria) or "cohort",
        "value": " × ".join(value for _, value in finding.scope.criteria),
        "label": finding.scope.label or "",
        "metric": response.metric.name,
        **{
            key: value
            for name in response.space.names
            for key, value in _columns(name, finding).items()
        },
        "loss_ratio": regularization / (1 - regularization) if regularization < 1 else np.inf,
        "loss_scale": np.nan if loss_scale is None else loss_scale,
        **optimum.score.columns("score"),
        **_held_out(finding),
        "score_at_recommended": finding.score_at_recommended,
        "score_at_common": finding.score_at_common,
        "score_at_default": finding.score_at_default,
        "score_unregularized": finding.score_unregularized,
        "score_constrained": optimum.score_constrained,
        "score_half": np.nan if half is None else half.optimum.score.value,
        "folding": optimum.folding,
        **{
            f"{name}_at_optimum": one.at_optimum
            for name, one in finding.reported.items()
            if name != "folding"
        },
        "pairs": len(response.pairs),
        "subjects": finding.subjects,
        "trials": len(response.settings),
        "flags": "; ".join(flag.value for flag in finding.flags),
    }


def _columns(name: str, finding: Finding) -> dict[str, float]:
    optimum, half = finding.full.optimum, finding.half
    return {
        name: optimum.setting[name],
        f"{name}_low": optimum.intervals[name].low,
        f"{name}_high": optimum.intervals[name].high,
        f"{name}_equal_low": optimum.equals[name].low,
        f"{name}_equal_high": optimum.equals[name].high,
        f"{name}_recommended": finding.recommended[name],
        f"{name}_constrained": np.nan if optimum.constrained is None else optimum.constrained[name],
        f"{name}_half": np.nan if half is None else half.optimum.setting[name],
        **{
            f"{name}_by_{metric}": one.optimum.setting[name]
            for metric, one in finding.reported.items()
            if one.optimum is not None
        },
    }


def _held_out(finding: Finding) -> dict[str, float]:
    held, unpooled, metric = (
        finding.held_out,
        finding.held_out_unpooled,
        finding.full.response.metric,
    )
    score = within_range(metric, held.score.estimate) if held else UNKNOWN
    return {
        **score.columns("score_held_out"),
        **(held.over_common.estimate if held else UNKNOWN).columns("gain_over_common"),
        **(held.over_default.estimate if held else UNKNOWN).columns("gain_over_default"),
        "gain_over_common_unpooled": unpooled.over_common.value if unpooled else np.nan,
        "gain_over_default_unpooled": unpooled.over_default.value if unpooled else np.nan,
    }
