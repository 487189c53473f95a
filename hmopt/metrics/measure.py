"""All metrics that are asked for, of a batch of registered pairs."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hmopt.metric import find_metric
from hmopt.metrics.folding import folding, log_jacobian_sd
from hmopt.metrics.overlap import dice, dice_nearest
from hmopt.metrics.registration import Registration
from hmopt.metrics.similarity import similarity
from hmopt.metrics.surface import hd95_mm


def _dice(of: Registration) -> Tensor:
    return dice(of.positions, of.moving_labels, of.fixed_labels, of.label_count)


def _dice_nearest(of: Registration) -> Tensor:
    return dice_nearest(of.moved_labels, of.moving_labels, of.fixed_labels, of.label_count)


def _hd95_mm(of: Registration) -> Tensor:
    return hd95_mm(of.moved_labels, of.moving_labels, of.fixed_labels, of.label_count, of.spacing_mm)


_COMPUTED: dict[str, Callable[[Registration], Tensor]] = {
    "dice": _dice,
    "dice_nearest": _dice_nearest,
    "hd95_mm": _hd95_mm,
    "folding": lambda of: folding(of.determinant),
    "log_jacobian_sd": lambda of: log_jacobian_sd(of.determinant),
    "similarity": lambda of: similarity(of.moved, of.fixed),
}


def measure(
    metrics: Sequence[str],
    displacement: Tensor,
    moving: Tensor,
    fixed: Tensor,
    moving_labels: Tensor,
    fixed_labels: Tensor,
    label_count: int,
    spacing_mm: tuple[float, ...] | None,
) -> dict[str, NDArray[np.float64]]:
    """Give the values of metrics for n pairs registered by displacements.

    Parameters
    ----------
    metrics
        Names of declared metrics.
    displacement
        (n, d, *shape), in voxels.
    moving, fixed
        (n, 1, *shape).
    moving_labels, fixed_labels
        (n, *shape), whole numbers (int32 or int64): 0 background, 1 to `label_count` the labels.
    label_count
        Number of labels.
    spacing_mm
        Of the grid, along each axis; None where it is unknown: then values in mm are NaN.

    Returns
    -------
    dict
        By metric: (n, label_count) for a metric per label, (n,) for one per pair. NaN says that there is nothing to
        measure, as for a label that is missing in either original image.

    Raises
    ------
    DeclarationError
        If a metric is not declared.
    HmoptError
        If a shape does not fit the displacement's.

    Examples
    --------
    >>> import torch
    >>> image, labels = torch.rand(1, 1, 8, 8), torch.ones(1, 8, 8, dtype=torch.long)
    >>> values = measure(["dice", "folding"], torch.zeros(1, 2, 8, 8), image, image, labels, labels, 2, None)
    >>> values["dice"], values["folding"]
    (array([[ 1., nan]]), array([0.]))
    """
    names = [find_metric(name).name for name in metrics]
    registration = Registration(
        displacement=displacement,
        moving=moving,
        fixed=fixed,
        moving_labels=moving_labels,
        fixed_labels=fixed_labels,
        label_count=label_count,
        spacing_mm=spacing_mm,
    )
    return {name: _COMPUTED[name](registration).double().cpu().numpy() for name in names}
