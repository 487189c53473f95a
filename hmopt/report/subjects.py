"""The figure of subjects' own settings: how far apart they are, and what they gain."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from hmopt.analysis.scope_result import ScopeResult
from hmopt.report.figure import MUTED, OWN, PAPER, new_figure, unit_axis
from hmopt.report.words import metric_name, symbol
from hmopt.space import Hyperparameter


def subjects_figure(
    findings: Sequence[ScopeResult], hyperparameter: Hyperparameter, common: float | None
) -> Figure:
    """Give a histogram of subjects' best values over a strip of what each gains.

    All subjects look alike: among so many, some intervals leave out 0 by chance, and none is corrected for that.

    Parameters
    ----------
    findings
        The scopes of one family of subjects.
    hyperparameter
        Whose values.
    common
        The best single value for all, if there is one.
    """
    name = hyperparameter.name
    figure = new_figure(5.4, 4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.4))
    best = np.array([finding.full.optimum.setting[name] for finding in findings])
    upper.hist(
        best,
        bins=np.linspace(hyperparameter.low, hyperparameter.high, 21).tolist(),
        color=OWN,
        edgecolor=PAPER,
    )
    upper.set(title=f"{symbol(name)}* of {len(findings)} subjects", ylabel="subjects")
    for finding in findings:
        if finding.held_out is not None:
            gained = finding.held_out.over_common.value
            lower.plot(
                finding.full.optimum.setting[name],
                gained,
                "o",
                color=OWN,
                markerfacecolor=PAPER,
                markersize=5,
            )
    lower.axhline(0, color=MUTED, linewidth=1)
    for axes in (upper, lower):
        if common is not None:
            axes.axvline(common, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    lower.set_ylabel(f"held-out gain,\n{metric_name(findings[0].full.response.metric.name)}")
    unit_axis(
        lower,
        f"{symbol(name)}* (dashed: best single one for all)",
        hyperparameter.low,
        hyperparameter.high,
    )
    return figure
