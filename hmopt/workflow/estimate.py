"""Estimates of how long a study takes and how much disk it needs, before it is begun."""

import math
import os
from dataclasses import dataclass

from hmopt.declaration import Study
from hmopt.records import CHECKPOINTS

TRAINING_S_PER_VOXEL = 1.0e-6
"""One image voxel of one pair of one step on one core; measured with the default network on a 2-core machine."""
MEASURING_S_PER_VOXEL = 4.0e-7
"""One image voxel of one pair at one setting on one core, the same."""
BYTES_PER_VOXEL = 5
"""A float32 intensity and a uint8 label."""
MODEL_BYTES = 200e6
"""A hypermorph of the default size at each checkpoint, and the state to continue from."""
ROW_BYTES = 2
"""One measured value, compressed."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Rough cost of a study.

    Parameters
    ----------
    training_s, search_s
        Time on this machine's cores.
    disk_bytes
        Prepared images, models and ledger.
    """

    training_s: float
    search_s: float
    disk_bytes: float


def estimate_study(
    study: Study, items: int, pairs: int, labels: int, cores: int | None = None
) -> Estimate:
    """Return the estimated cost of a study.

    Parameters
    ----------
    study
        Its declaration.
    items
        Prepared images or slices.
    pairs
        Pairs that are searched.
    labels
        Structures.
    cores
        Of the processor; None: those of this machine.

    Examples
    --------
    >>> from hmopt.declaration import parse_study
    >>> values = {"name": "x", "preprocessing": {"shape": [100, 100]}, "split": {"train": 4, "tune": 1, "search": 2}}
    >>> study = parse_study({"cohort": {"manifest": "cohort.csv"}, "training": {"steps": 1000}, **values})
    >>> round(estimate_study(study, items=20, pairs=100, labels=10, cores=2).training_s)
    20
    """
    shared = study.training.threads or cores or os.cpu_count() or 1
    voxels = math.prod(study.preprocessing.shape)
    settings = study.search.coarse ** len(study.hyperparameters) + study.search.refinements
    # the model is measured as it was at each checkpoint of its training
    measured = len(CHECKPOINTS) * settings * pairs
    trained = study.training.steps * study.training.batch
    images_bytes = items * voxels * BYTES_PER_VOXEL
    ledger_bytes = measured * 2 * labels * ROW_BYTES
    return Estimate(
        training_s=trained * voxels * TRAINING_S_PER_VOXEL / shared,
        search_s=measured * voxels * MEASURING_S_PER_VOXEL / shared,
        disk_bytes=images_bytes + MODEL_BYTES + ledger_bytes,
    )


def duration(seconds: float) -> str:
    """Return a duration in one unit, as messages show it.

    Examples
    --------
    >>> duration(8), duration(200), duration(7300)
    ('8 s', '3 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
