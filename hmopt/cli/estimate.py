"""How long a study will take and how much disk it will need, told before it is begun."""

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
    """What a study will take, roughly.

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
    """Give what a study will take.

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
        That compute; left out: those of this machine.

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
    measured = (
        len(CHECKPOINTS) * settings * pairs
    )  # by the model at each checkpoint of its training
    steps = study.training.steps * study.training.batch
    return Estimate(
        training_s=steps * voxels * TRAINING_S_PER_VOXEL / shared,
        search_s=measured * voxels * MEASURING_S_PER_VOXEL / shared,
        disk_bytes=items * voxels * BYTES_PER_VOXEL
        + MODEL_BYTES
        + measured * 2 * labels * ROW_BYTES,
    )
