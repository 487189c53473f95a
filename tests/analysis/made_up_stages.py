"""Stages of refinement with known losses and known best settings."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hmopt.analysis.gap import gap_metrics
from hmopt.analysis.resampling import Floats
from hmopt.declaration.search import SearchOptions
from hmopt.ledger.gap import GapRecord, Stage
from hmopt.ledger.measurements import Measurements

ITERATIONS = (0, 25, 200)
EXCESS = (0.2, 0.02, 0.0)
"""Share by which the loss of each stage is above the minimum, in every pair."""
SECONDS = (0.1, 1.5, 6.0)
CONVERGED = (np.nan, 0.25, 1.0)


def make_stages(
    template: Measurements, dice: Sequence[Floats], options: SearchOptions
) -> tuple[GapRecord, tuple[Measurements, ...]]:
    """Return stages with the given Dice, on the pairs and at the settings of a template."""
    generator = np.random.default_rng(0)
    shape = (len(template.settings), len(template.pairs))
    minimum = 1 + 0.1 * generator.random(shape)
    stages = []
    for place, scores in enumerate(dice):
        values = {
            "dice": scores,
            "folding": np.full(shape, 0.001 * place),
            "loss": minimum * (1 + EXCESS[place]),
            "wall_time_s": np.full(shape, SECONDS[place]),
            "converged": np.full(shape, CONVERGED[place]),
        }
        stages.append(replace(template, identity=f"stage {place}", values=values))
    record = GapRecord(
        pairs=tuple(template.pairs["pair"]),
        settings=template.settings,
        metrics=gap_metrics(options),
        stages=tuple(
            Stage(iterations=iterations, identity=f"stage {place}")
            for place, iterations in enumerate(ITERATIONS)
        ),
    )
    return record, tuple(stages)
