"""The training curve."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hmopt.report.figure import GRID, OTHER, OWN, new_figure

POINTS = 400
"""Most rows of a training log that are drawn or kept with the results."""


def thinned(training: pd.DataFrame) -> pd.DataFrame:
    """Give at most about `POINTS` rows: means of consecutive steps, and every checkpoint of the tuning subjects.

    Examples
    --------
    >>> len(thinned(pd.DataFrame({"step": range(10_000), "loss": 1.0})))
    400
    """
    if len(training) <= POINTS:
        return training
    part = np.arange(len(training)) * POINTS // len(training)
    thin = training.groupby(part).mean(numeric_only=True)
    for clock in [name for name in ("step", "minutes") if name in training]:
        thin[clock] = training.groupby(part)[clock].max()
    return thin.reset_index(drop=True)


def training_figure(training: pd.DataFrame) -> Figure | None:
    """Give the loss over steps, and the tuning subjects' Dice where it was measured; None without a loss."""
    if "loss" not in training or training["loss"].isna().all():
        return None
    tune = training.dropna(subset=["tune_dice"]) if "tune_dice" in training else training.iloc[:0]
    figure = new_figure(9.6 if len(tune) else 5.4, 2.9)
    axes = figure.subplots(1, 2 if len(tune) else 1, squeeze=False)[0]
    smooth = training["loss"].ewm(span=max(2, len(training) // 25)).mean()
    axes[0].plot(training["step"], training["loss"], color=GRID, linewidth=0.8, label="each step")
    axes[0].plot(training["step"], smooth, color=OWN, linewidth=1.8, label="running mean")
    low, high = np.nanquantile(training["loss"], [0.005, 0.995])
    if low < high:  # a log of a single row has no range
        axes[0].set_ylim(low, high)
    axes[0].set(title="Loss", xlabel="step")
    axes[0].legend()
    if len(tune):
        axes[1].plot(tune["step"], tune["tune_dice"], "o-", color=OTHER, markersize=4)
        axes[1].set(title="Dice of the tuning subjects", xlabel="step")
    return figure
